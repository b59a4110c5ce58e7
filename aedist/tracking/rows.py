"""A run as one row a step, as Weights & Biases wants it, made from the files of the run alone.

``metrics.jsonl`` has several records of a step; here they are one row, whose steps strictly increase. A row is whole
when a record of a later step comes. Names are grouped as W&B groups them, by what stands before the slash.
"""

import json
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from aedist.tracking.tracker import Record
from aedist.tracking.words import HIGHER_IS_BETTER, is_number

_MOST_PROCESSES = 16
"""Of so many processes each has its own curves; of more, the slowest and the one that waited longest."""
_CLOCK = ("kind", "step", "images", "epoch", "attempt")
_CLOCKED = frozenset({"kind", "step", "images", "epoch"})
_SPEED = ("images_per_second", "data_wait", "memory_bytes")


@dataclass
class Row:
    """What a step has to tell."""

    step: int
    values: dict[str, float] = field(default_factory=dict[str, float])
    histograms: dict[str, Record] = field(default_factory=dict[str, Record])
    """Each with ``low``, ``high`` and ``counts`` of bins of equal width."""
    pictures: dict[str, Path] = field(default_factory=dict[str, Path])
    is_evaluation: bool = False
    is_made_up_for: bool = False
    """Whether an attempt begins with the evaluation that the one before left out."""


class Rows:
    """Records to rows, from the first record of a run on."""

    def __init__(self, folder: Path) -> None:
        """``folder``: the run's."""
        self._folder = folder
        self._row: Row | None = None
        self._best: dict[str, float] = {}
        self._skipped = 0

    def add(self, record: Record) -> Row | None:
        """Take a record. Returns the row that is whole now, if one is."""
        done = None
        if self._row is None or record["step"] > self._row.step:
            done, self._row = self.rest(), Row(record["step"])
        row, kind = self._row, record["kind"]
        row.is_made_up_for |= row.values.get("attempt", record.get("attempt")) != record.get("attempt")
        row.values |= {name: record[name] for name in ("images", "step", "epoch", "attempt") if name in record}
        if kind == "evaluation":
            row.is_evaluation = True
            row.values |= self._evaluation(record)
            row.histograms |= {f"histograms/{name}": one for name, one in record.get("histograms", {}).items()}
        elif kind == "train":
            row.values |= _train(record)
        elif kind == "skipped":
            self._skipped += 1
            row.values["train/steps_not_taken"] = self._skipped
        else:
            row.values |= flat({name: value for name, value in record.items() if name not in _CLOCK}, kind)
        return done

    def rest(self) -> Row | None:
        """The row that no later record made whole, with its pictures."""
        row, self._row = self._row, None
        if row is not None and row.is_evaluation:
            row.pictures = pictures_of(self._folder / "images", row.step)
        return row

    def _evaluation(self, record: Record) -> dict[str, float]:
        """The metrics, and the best of each until now."""
        values = flat(record["metrics"], "evaluation")
        for name, value in values.items():
            metric = name.removeprefix("evaluation/")
            known = self._best.get(metric, value)
            self._best[metric] = max(known, value) if metric in HIGHER_IS_BETTER else min(known, value)
        return values | {f"best/{metric}": self._best[metric] for metric in record["metrics"] if metric in self._best}


def read_rows(folder: Path) -> Iterator[Row]:
    """All rows of a run that is not being trained."""
    rows, tail = Rows(folder), Tail(folder / "metrics.jsonl")
    for record in tail.new():
        row = rows.add(record)
        if row is not None:
            yield row
    row = rows.rest()
    if row is not None:
        yield row


class Tail:
    """Reads the records that came to a file since it was last asked."""

    def __init__(self, path: Path, names: Set[str] = _CLOCKED) -> None:
        """``names``: what a record has."""
        self._path, self._names, self._offset = path, names, 0

    def new(self) -> Iterator[Record]:
        """The new records, whole lines only; what is no record is passed over, as the next attempt takes it out."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self._offset += len(line)
                    record = _parse(line, self._names)
                    if record is not None:
                        yield record
        except FileNotFoundError:
            return


def pictures_of(images: Path, step: int) -> dict[str, Path]:
    """The pictures that were drawn in training at a step, by name."""
    return {path.parent.name: path for path in sorted(images.glob(f"*/step-{step:09d}.png"))}


def flat(values: Record, prefix: str) -> dict[str, float]:
    """The numbers in ``values``, nested names joined by a slash."""
    found = dict[str, float]()
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}/{name}")
        elif is_number(value):
            found[f"{prefix}/{name}"] = value
    return found


def _train(record: Record) -> dict[str, float]:
    numbers = {name: value for name, value in record.items() if name not in (*_CLOCK, *_SPEED, "ranks")}
    values = flat(numbers, "train") | flat({name: record.get(name) for name in _SPEED}, "speed")
    by_rank: dict[str, list[float | None]] = record.get("ranks", {})
    for name, all_values in by_rank.items():
        known = [value for value in all_values if value is not None and isfinite(value)]
        if len(all_values) > _MOST_PROCESSES and known:
            values |= {f"speed/lowest/{name}": min(known), f"speed/highest/{name}": max(known)}
        elif len(all_values) > 1:
            values |= flat({f"process_{rank}": value for rank, value in enumerate(all_values)}, f"speed/{name}")
    return values


def _parse(line: bytes, names: Set[str]) -> Record | None:
    try:
        record: Any = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and names <= record.keys() else None
