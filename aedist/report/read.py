"""What a run has left in its directory, as plain values.

Only ``config.yaml`` makes a folder a run; every other file may be missing or damaged, since a run can be
read while it trains or after it was killed, and what is amiss is told in ``Run.problems``. Interrupted and
continued, a run trains the steps after its checkpoint again: of a step that was recorded twice, the later
attempt's record is the one that led to the weights, so the earlier one is dropped.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from aedist.configfile import read_yaml
from aedist.errors import UserError

Record: TypeAlias = dict[str, Any]
_KINDS = ("train", "epoch", "evaluation", "skipped")
EVALUATION_FORMAT = 2
"""Of records of an evaluation with intervals, baselines and verdicts."""


@dataclass(frozen=True)
class Run:
    """A run directory, read once. Records are in the order of their steps, superseded ones left out."""

    folder: Path
    config: dict[str, Any]
    """The sections of config.yaml."""
    environment: dict[str, Any]
    """environment.json, or empty."""
    train: tuple[Record, ...]
    epochs: tuple[Record, ...]
    evaluations: tuple[Record, ...]
    skipped: tuple[Record, ...]
    """One for each number that was not finite, so that its step was skipped."""
    evaluation: dict[str, Any]
    """evaluation/comprehensive_evaluation.json, or empty."""
    num_superseded: int
    """Records of steps that a later attempt trained again."""
    problems: tuple[str, ...]
    """A sentence for each file that is missing or damaged."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def attempts(self) -> list[Record]:
        """The times the run was started, in order."""
        return list(self.environment.get("attempts") or [])

    @property
    def last(self) -> Record:
        """The record of the last step, or an empty one."""
        return max((*self.train, *self.epochs, *self.evaluations), key=lambda record: record["step"], default={})


def read_run(folder: Path) -> Run:
    """The run in ``folder``.

    Raises:
        UserError: if it is no run directory, or its config.yaml cannot be read.
    """
    config = _read_config(folder)
    problems: list[str] = []
    environment = _read_object(folder / "environment.json", "what the run ran on is not known", problems)
    evaluation = _read_object(
        folder / "evaluation" / "comprehensive_evaluation.json",
        "the full evaluation has not been run; 'aedist evaluate' writes it",
        problems,
    )
    if evaluation and evaluation.get("format", 1) != EVALUATION_FORMAT:
        problems.append(
            "The full evaluation was written by another version of aedist, and parts of it are not shown here; "
            "'aedist evaluate' writes it anew."
        )
    records, num_unreadable = read_records(folder / "metrics.jsonl")
    if not records:
        problems.append("metrics.jsonl holds no record: nothing was trained yet.")
    if num_unreadable:
        lines = "1 line" if num_unreadable == 1 else f"{num_unreadable} lines"
        problems.append(f"metrics.jsonl: {lines} could not be read and are left out, as a kill while writing leaves.")
    attempts = environment.get("attempts") or []
    kept = surviving(records, {attempt["attempt"]: attempt["step"] for attempt in attempts})
    train, epochs, evaluations, skipped = (tuple(r for r in kept if r["kind"] == kind) for kind in _KINDS)
    num_superseded = len(records) - len(kept)
    return Run(
        folder,
        config,
        environment,
        train,
        epochs,
        evaluations,
        skipped,
        evaluation,
        num_superseded,
        tuple(problems),
    )


def read_records(path: Path) -> tuple[list[Record], int]:
    """(the records of a metrics file in the order written, how many lines are no record); none if it is missing."""
    if not path.is_file():
        return [], 0
    records: list[Record] = []
    num_unreadable = 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and isinstance(record.get("kind"), str) and type(record.get("step")) is int:
            records.append(record)
        else:
            num_unreadable += 1
    return records, num_unreadable


def surviving(records: Iterable[Record], first_steps: Mapping[int, int]) -> list[Record]:
    """The records that led to the final weights, by step.

    Args:
        records: any, each with a step and the attempt that wrote it (1 if it does not say).
        first_steps: the step at which each attempt began. A record of an earlier attempt with a greater step
            was trained again.
    """
    kept = [
        record
        for record in records
        if not any(
            attempt > record.get("attempt", 1) and record["step"] > first for attempt, first in first_steps.items()
        )
    ]
    return sorted(kept, key=lambda record: record["step"])


def number(record: Mapping[str, Any], *names: str) -> float:
    """The number at a path of keys, NaN where there is none (a loss that is not finite may be written as null)."""
    value: Any = record
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else math.nan


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    if not path.is_file():
        why = "no such folder" if not folder.is_dir() else "not a run directory, it holds no config.yaml"
        raise UserError(f"{folder}: {why}; name a folder that 'aedist train' wrote")
    config = read_yaml(path.read_text(encoding="utf-8", errors="replace"), str(path))
    if not isinstance(config, dict) or not all(isinstance(section, dict) for section in config.values()):
        raise UserError(f"{path}: must hold sections of keys; copy the run's config.yaml again")
    return config


def _read_object(path: Path, without: str, problems: list[str]) -> dict[str, Any]:
    """A JSON object, or an empty one and a sentence in ``problems``."""
    if not path.is_file():
        problems.append(f"{path.name} is missing: {without}.")
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        problems.append(f"{path.name} is damaged ({error}): {without}.")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{path.name} is damaged (not an object): {without}.")
        return {}
    return value
