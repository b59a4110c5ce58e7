"""Numbers and what they mean, in words a reader takes in at once."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from aedist.report.read import Run, number

_KEYS = re.compile(
    r"\b((?:batch|data|evaluate|model|objective|optim|train)\.[a-z_]+(?:=[\w.-]*\w)?|configs/\w+\.yaml"
    r"|aedist fetch \w+|aedist sample RUN --from \w+)"
)
NOTHING = "\N{EN DASH}"
SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Metric:
    """How a metric is written: its label, its unit, the decimals that mean something, and which way is better."""

    label: str
    unit: str
    decimals: int
    better: str


_LOWER, _HIGHER = "lower is better", "higher is better"
_METRICS = {
    "mse": Metric("MSE", "squared intensity, 0 to 1", 5, _LOWER),
    "mae": Metric("MAE", "intensity, 0 to 1", 5, _LOWER),
    "psnr": Metric("PSNR", "dB", 2, _HIGHER),
    "ssim": Metric("SSIM", "no unit, at most 1", 4, _HIGHER),
    "lpips": Metric("LPIPS", "no unit, from 0", 4, _LOWER),
    "rate": Metric("Rate", "nats an image", 2, "the information in an encoding"),
    "fid": Metric("FID", "", 2, _LOWER),
    "kid": Metric("KID", "", 5, _LOWER),
    "precision": Metric("Precision", "", 3, _HIGHER),
    "recall": Metric("Recall", "", 3, _HIGHER),
}


def metric(name: str) -> Metric:
    """How to write the metric ``name``; one that is not known keeps its name."""
    return _METRICS.get(name, Metric(name, "", 4, ""))


def significant(value: float, digits: int = 3) -> str:
    """A number with so many digits that mean something, never with an exponent unless it is tiny."""
    if not math.isfinite(value):
        return NOTHING
    place = math.floor(math.log10(abs(value))) if value else 0
    if place < -digits:
        return f"{value:.{digits - 1}e}".replace("-", "\N{MINUS SIGN}")
    return decimal(value, max(0, digits - 1 - place))


def with_keys(text: str) -> Markup:
    """Text whose keys of the configuration and files stand as code."""
    return Markup(_KEYS.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704


def count(value: float) -> str:
    """A whole number with separated thousands."""
    return f"{value:,.0f}" if math.isfinite(value) else NOTHING


def short(value: float) -> str:
    """A great number as an axis has it: ``1.2m`` images, ``60k``, ``500``."""
    for size, letter in ((1e9, "b"), (1e6, "m"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def decimal(value: float, decimals: int) -> str:
    """A number with fixed decimals, so that a column lines up."""
    return f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}") if math.isfinite(value) else NOTHING


def percent(share: float) -> str:
    """A share of 1 as per cent."""
    return f"{100 * share:.1f}{SPACE}%" if math.isfinite(share) else NOTHING


def data_name(data: Mapping[str, Any], num_images: float) -> str:
    """A split of a data set: ``mnist (test), N = 10,000 images``."""
    return f"{data.get('name')} ({data.get('split')}), N{SPACE}={SPACE}{count(num_images)} images"


def plural(value: float, noun: str, nouns: str | None = None) -> str:
    """``1 epoch``, ``10 epochs``."""
    return f"{count(value)} {noun if value == 1 else nouns or noun + 's'}"


def duration(seconds: float) -> str:
    """A time in its two greatest units."""
    if not math.isfinite(seconds):
        return NOTHING
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def images_per_step(run: Run) -> float:
    """B, from the configuration."""
    return number(run.config, "batch", "micro") * number(run.config, "batch", "num_micro")


def planned_steps(run: Run) -> float:
    """The step at which the run is finished, NaN where its files do not tell."""
    steps = number(run.config, "train", "steps")
    if math.isfinite(steps):
        return steps
    num_samples = number(run.environment, "data", "num_samples")
    whole = num_samples // images_per_step(run)
    return number(run.config, "train", "epochs") * whole


def training_seconds(run: Run) -> float:
    """Seconds of the epochs that are finished, NaN if none is."""
    return sum(number(record, "seconds") for record in run.epochs) if run.epochs else math.nan


def skipped(run: Run) -> str:
    """What was not finite, where it first was, and that it was skipped; empty if all was finite."""
    if not run.skipped:
        return ""
    first, steps = run.skipped[0], {record["step"] for record in run.skipped}
    where = (
        f"step {count(first['step'])}, {first.get('term')} was {first.get('value')} in micro-batch {first.get('slot')}"
    )
    return f"{plural(len(steps), 'step')} skipped, as a loss was not finite; the first: {where}."


def median(values: list[float]) -> float:
    """The median of the finite values, NaN if there is none."""
    finite = sorted(value for value in values if math.isfinite(value))
    middle = len(finite) // 2
    if not finite:
        return math.nan
    return finite[middle] if len(finite) % 2 else (finite[middle - 1] + finite[middle]) / 2


def moment(text: str) -> str:
    """An ISO 8601 time as ``2026-01-02 03:04 UTC``; anything else as it is."""
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return str(text)
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if time.tzinfo else text


def with_unit(name: str, value: float) -> str:
    """A metric's value as running text has it: with its unit where that is short."""
    unit = metric(name).unit
    text = decimal(value, metric(name).decimals)
    return f"{text}{SPACE}{unit}" if unit and " " not in unit else text


def listed(parts: list[str]) -> str:
    """``a, b and c``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
