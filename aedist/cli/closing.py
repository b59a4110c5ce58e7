"""What a run is told with when it has ended: what was trained, how well, where it lies, and what comes next."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote

from aedist.overview import Row
from aedist.tracking.words import duration, metrics

_LABEL_WIDTH = 10


def next_commands(folder: Path, *, is_unsynced: bool) -> list[str]:
    """The commands that make something of a run that is trained."""
    verbs = ["evaluate", "report", *(["sync"] if is_unsynced else [])]
    return [f"aedist {verb} {quote(str(folder))}" for verb in verbs]


def closing_lines(row: Row, commands: Sequence[str]) -> Iterator[str]:
    """A run that is trained, in a few lines."""
    took = "" if row.seconds is None else f", {duration(row.seconds)} from its first start to its end"
    times = "" if not row.interruptions else f", interrupted {_times(row.interruptions)}"
    processes = f" on {row.processes} process{'' if row.processes == 1 else 'es'}" if row.processes else ""
    yield f"{row.folder}: trained {row.epoch:.4g} epochs, {row.images:,} images{processes}{took}{times}"
    if row.metrics:
        when = "" if row.best_epoch is None else f"  (epoch {row.best_epoch:.4g})"
        yield f"{'best':{_LABEL_WIDTH}}{metrics(row.metrics)}{when}"
    yield f"{'left':{_LABEL_WIDTH}}{_left(row.folder)}"
    for label, command in zip(("next", *[""] * len(commands)), commands, strict=False):
        yield f"{label:{_LABEL_WIDTH}}{command}"


def _left(folder: Path) -> str:
    """The files of a run that are there, as a list."""
    names = ("model/", "metrics.jsonl", "images/", "checkpoints/")
    return f"in {folder}: " + ", ".join(name for name in names if (folder / name).exists())


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
