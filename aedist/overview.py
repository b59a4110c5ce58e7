"""Many runs at a glance: what each is, how far it is, how it ended, what is its best.

Read from the runs' files, as they are while a run trains or after it was killed, and only as much of them as a row
needs: of the records the end. What is amiss with a run is told in its row.
"""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml

from aedist.lease import holder
from aedist.tracking.tail import read_end
from aedist.tracking.tracker import Record
from aedist.tracking.words import is_number

State = Literal["running", "finished", "interrupted", "failed", "killed", "untrained", "broken"]
STATES: Mapping[State, str] = {
    "running": "a process holds it now",
    "finished": "trained to its last step",
    "interrupted": "asked to stop, and checkpointed; the same command goes on",
    "failed": "ended by a mistake or a fault",
    "killed": "ended without a word; the same command goes on from its last checkpoint",
    "untrained": "no step is recorded",
    "broken": "its files cannot be read",
}
_MARKS = ("config.yaml", "environment.json", "metrics.jsonl", "checkpoints")
"""Whatever has one of these is a run, or what is left of one."""
_LARGEST_BYTES = 2**22
_DEEPEST = 8
_READERS = 16
_INTERRUPTED = 75


@dataclass(frozen=True)
class Row:
    """A run, in one line."""

    folder: Path
    state: State
    problem: str = ""
    """What is wrong with it."""
    model: str = ""
    data: str = ""
    step: int = 0
    last_step: int | None = None
    epoch: float = 0.0
    images: int = 0
    processes: int | None = None
    interruptions: int = 0
    """How often it was started again."""
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    """Of the evaluation in training with the lowest mean squared error, which the best checkpoint goes by."""
    best_epoch: float | None = None
    started: datetime | None = None
    """When it was started first."""
    touched: datetime | None = None
    """When it told of itself last."""

    @property
    def share(self) -> float | None:
        """How much of it is done, from 0 to 1."""
        return None if not self.last_step else min(1.0, self.step / self.last_step)

    @property
    def seconds(self) -> float | None:
        """From its first start to when it told of itself last, pauses included."""
        if self.started is None or self.touched is None:
            return None
        return max(0.0, (self.touched - self.started).total_seconds())

    def record(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "run": str(self.folder),
            "state": self.state,
            "problem": self.problem or None,
            "model": self.model,
            "data": self.data,
            "step": self.step,
            "last_step": self.last_step,
            "epoch": self.epoch,
            "images": self.images,
            "share": self.share,
            "processes": self.processes,
            "interruptions": self.interruptions,
            "metrics": dict(self.metrics),
            "best_epoch": self.best_epoch,
            "started": self.started.isoformat() if self.started else None,
            "touched": self.touched.isoformat() if self.touched else None,
            "seconds": self.seconds,
        }


def find_runs(folder: Path) -> Iterator[Path]:
    """The run in ``folder``, or those below it; what lies inside a run is not looked at."""
    yield from _below(folder, set(), _DEEPEST)


def _below(folder: Path, seen: set[Path], depth: int) -> Iterator[Path]:
    try:
        real = folder.resolve()
        if real in seen or not folder.is_dir():
            return
        seen.add(real)
        entries = {entry.name: entry for entry in folder.iterdir()}
    except OSError:  # a folder of another's, a link in a circle
        return
    if any(mark in entries for mark in _MARKS):
        yield folder
    elif depth:
        for name in sorted(entries):
            if not name.startswith("."):
                yield from _below(entries[name], seen, depth - 1)


def read_rows(folders: list[Path]) -> list[Row]:
    """A row a run, those that told of themselves last in the end."""
    with ThreadPoolExecutor(_READERS) as readers:  # on a file system of a cluster, it is waiting that takes long
        rows = list(readers.map(read_row, folders))
    return sorted(rows, key=lambda row: (row.touched or row.started or datetime.min.replace(tzinfo=UTC), row.folder))


def read_row(folder: Path) -> Row:
    """A run's row; it never fails, since what is wrong is part of it."""
    touched = _touched(folder)
    try:
        return _read(folder, touched)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        words = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
        told = words.splitlines()[0] if words else type(error).__name__
        return Row(folder, "broken", told.replace(f"{folder}/", ""), touched=touched)


def _read(folder: Path, touched: datetime | None) -> Row:
    config = _config(folder / "config.yaml")
    environment = _object(folder / "environment.json")
    attempts = environment.get("attempts") or []
    end = read_end(folder / "metrics.jsonl")
    step = int(end.last.get("step", 0))
    images_per_step = int(config["batch"]["micro"]) * int(config["batch"]["num_micro"])
    steps_per_epoch = environment["data"]["num_samples"] // images_per_step if environment else 0
    last_step = config["train"].get("steps")
    if last_step is None and steps_per_epoch:
        last_step = int(config["train"]["epochs"]) * steps_per_epoch
    data = Path(config["data"]["shards"]).name if not environment else environment["data"]["name"]
    best, best_epoch = end.best.get("metrics", {}), end.best.get("epoch")
    if not best:
        best, best_epoch = _best_of_checkpoint(folder / "checkpoints"), None
    return Row(
        folder,
        _state(folder, step, last_step, attempts),
        "",
        str(config["model"]["kind"]),
        str(data),
        step,
        last_step,
        step / steps_per_epoch if steps_per_epoch else 0.0,
        step * images_per_step,
        int(attempts[-1]["world"]) if attempts else None,
        max(0, len(attempts) - 1),
        {name: float(value) for name, value in best.items() if is_number(value)},
        float(best_epoch) if best_epoch is not None and is_number(best_epoch) else None,
        datetime.fromisoformat(attempts[0]["started"]) if attempts else None,
        touched,
    )


def _state(folder: Path, step: int, last_step: int | None, attempts: list[Record]) -> State:
    exported = _object(folder / "model" / "config.json").get("step")
    is_trained = last_step is not None and step >= last_step
    if is_trained and exported == step:
        return "finished"
    if holder(folder / ".lock") is not None:
        return "running"
    ending = _object(folder / "ending.json")
    if attempts and ending.get("attempt") == len(attempts):
        return "interrupted" if ending["exit_code"] == _INTERRUPTED else "killed" if is_trained else "failed"
    return "killed" if step or len(attempts) > 1 else "untrained"


def _best_of_checkpoint(folder: Path) -> dict[str, Any]:
    """The lowest mean squared error that the newest checkpoint knows of."""
    names = sorted(path.name for path in folder.glob("step-*")) if folder.is_dir() else []
    progress = _object(folder / names[-1] / "state.json").get("progress", {}) if names else {}
    return {"mse": progress.get("best_value")}


def _config(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes()[:_LARGEST_BYTES]
    except FileNotFoundError:
        raise ValueError("config.yaml is missing") from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        found = yaml.load(text, Loader=loader)  # noqa: S506 (one of the two safe loaders)
    except yaml.YAMLError as error:
        raise ValueError(f"config.yaml is not YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(found, dict) or not all(isinstance(found.get(name), dict) for name in _SECTIONS):
        raise ValueError(f"config.yaml lacks one of the sections {', '.join(_SECTIONS)}")
    return found


_SECTIONS = ("batch", "data", "model", "train")


def _object(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is no file."""
    try:
        found = json.loads(path.read_bytes()[:_LARGEST_BYTES])
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} is no JSON object")
    return found


def _touched(folder: Path) -> datetime | None:
    """When the records were written last, or the folder, where there are none."""
    for path in (folder / "metrics.jsonl", folder):
        try:
            return datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except OSError:
            continue
    return None
