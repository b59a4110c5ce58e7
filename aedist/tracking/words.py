"""Records and their numbers in words, for terminals and logs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from aedist.tracking.tracker import Record

HIGHER_IS_BETTER = frozenset({"psnr", "ssim"})
"""Of the metrics of an evaluation in training; of the others lower is better, or neither."""
NEITHER_IS_BETTER = frozenset({"rate"})
"""What a posterior tells of an image is a price, that of its reconstruction."""
_BLOCKS, _PLAIN_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
_KIB, _UNITS = 1024, ("bytes", "KiB", "MiB", "GiB", "TiB")


def spell(name: str) -> str:
    """A name in a record, as words."""
    return name.replace("_", " ")


def in_words(record: Record, total_epochs: float, left: str) -> str:
    """A record in one line.

    Args:
        record: any.
        total_epochs: how many the run has.
        left: how long it still takes, in words.
    """
    kind = record["kind"]
    if kind == "train":
        return (
            f"epoch {record['epoch']:.2f} of {total_epochs:.4g}, step {record['step']:,}, {record['images']:,} images  "
            f"{terms(record)}  {speed(record)}  {left} left"
        )
    if kind == "epoch":
        sums = ", ".join(f"{spell(name)} {value:,.0f}" for name, value in record["sums"].items())
        return f"epoch {record['epoch']} done: sum of {sums} over its images, in {record['seconds']:.1f} s"
    if kind == "evaluation":
        best = "  (the best so far)" if record.get("best") else ""
        return f"evaluated {record['num_images']:,} images: {metrics(record['metrics'])}{best}"
    if kind == "skipped":
        where = "" if record["slot"] is None else f" in micro-batch {record['slot']} on process {record['rank']}"
        return f"step {record['step']} was not taken: {record['term']} is {record['value']}{where}"
    return str(record)


def terms(record: Record) -> str:
    """The loss terms of a record of training."""
    return "  ".join(f"{spell(name)} {number(value)}" for name, value in record["terms"].items())


def speed(record: Record) -> str:
    """How fast, and how much of the time went into waiting."""
    return f"{record['images_per_second']:,.0f} images/s, {record['data_wait']:.0%} of the time waiting for data"


def metrics(values: Mapping[str, float | None]) -> str:
    """Metrics that have a value."""
    return "  ".join(f"{name} {number(value)}" for name, value in values.items() if value is not None)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a record's value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: float | None) -> str:
    """A number with five digits that tell; very small and very large ones as they are best read."""
    if value is None or not math.isfinite(value):
        return "nan" if value is None or math.isnan(value) else str(value)
    if value == 0 or 0.001 <= abs(value) < 10_000:
        return f"{value:#.5g}"
    return f"{value:.3e}" if abs(value) < 1 else f"{value:,.0f}"


def duration(seconds: float) -> str:
    """A time such as ``0:12:05``, or ``3 d 04:10:00``."""
    whole = int(seconds)
    days, clock = divmod(whole, 86_400)
    hours, minutes, rest = clock // 3600, clock // 60 % 60, clock % 60
    return f"{days} d {hours:02d}:{minutes:02d}:{rest:02d}" if days else f"{hours}:{minutes:02d}:{rest:02d}"


def rough(seconds: float) -> str:
    """A time in its largest unit, such as ``12 min``."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def size(count: float) -> str:
    """A number of bytes, such as ``1.2 GiB``."""
    for unit in _UNITS[:-1]:
        if count < _KIB:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= _KIB
    return f"{count:.1f} {_UNITS[-1]}"


def sparkline(values: Iterable[float], width: int, *, ascii_only: bool = False) -> str:
    """The last ``width`` values as a row of blocks between their least and greatest; ``?`` where one is not finite."""
    shown: Sequence[float] = list(values)[-width:] if width > 0 else []
    finite = [value for value in shown if math.isfinite(value)]
    blocks = _PLAIN_BLOCKS if ascii_only else _BLOCKS
    if not finite:
        return "?" * len(shown)
    least, span = min(finite), max(finite) - min(finite)

    def block(value: float) -> str:
        if not math.isfinite(value):
            return "?"
        return blocks[int((value - least) / span * (len(blocks) - 1) + 0.5)] if span > 0 else blocks[0]

    return "".join(map(block, shown))
