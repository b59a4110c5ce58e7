"""``metrics.jsonl`` against the run's cadence: no record missing, none twice, none of an attempt that was superseded.

A ``train`` record says how many steps it tells of, so these must follow upon each other without a gap, whatever the
cadence was. Each whole epoch must have its record, each evaluation that the configuration asks for its own, and as
many steps must be told as skipped as the ``train`` records count. Lines are read one at a time.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from aedist.cadence import Cadence
from aedist.data.plan import Plan
from aedist.verify.attempts import Attempt, standing_at
from aedist.verify.statement import Faults

_ONCE = ("train", "epoch", "evaluation")
_LINE_BYTES = 2**20


@dataclass
class Recorded:
    """What the records came to."""

    faults: Faults = field(default_factory=Faults)
    counts: dict[str, int] = field(default_factory=dict[str, int])
    """Records that stand, by kind."""
    num_superseded: int = 0
    """Records of steps that a later attempt trained again."""
    is_cut: bool = False
    """Whether the last line was cut short, as a kill leaves it."""


def check_records(
    path: Path,
    attempts: list[Attempt],
    plan: Plan,
    cadence: Cadence,
    last_step: int,
    *,
    owes_evaluation: bool = False,
) -> Recorded:
    """Check the records up to ``last_step``, the newest checkpoint, which vouches for them; later ones may be torn.

    Args:
        path: the file.
        attempts: the run's.
        plan: the run's, as far as numbers of steps and images go.
        cadence: the run's.
        last_step: how far all must be there.
        owes_evaluation: whether the evaluation of ``last_step`` need not be, since a stop left it out.
    """
    recorded = Recorded()
    faults, last = recorded.faults, dict.fromkeys(_ONCE, 0)
    skipped, num_skipped = set[int](), 0
    with path.open("rb") as file:
        for number, record in _standing(file, attempts, recorded):
            kind, step = record["kind"], record["step"]
            if record.get("images") != step * plan.images_per_step:
                faults.add(f"line {number}: {kind} of step {step} tells of {record.get('images')!r:.20} images")
            if kind == "skipped" and step <= last_step:
                skipped.add(step)
            if kind not in _ONCE:
                continue
            if step <= last[kind]:
                faults.add(f"line {number}: {kind} of step {step} comes after that of step {last[kind]}")
                continue
            if kind == "train":
                _follows(record, last[kind], number, faults)
                num_skipped = record.get("skipped_steps") if step <= last_step else num_skipped
            else:
                _add_missing(kind, _due(kind, last[kind], min(step, last_step + 1), plan, cadence), faults)
            last[kind] = step
    evaluated_until = last_step - owes_evaluation
    _add_missing("epoch", _due("epoch", last["epoch"], last_step + 1, plan, cadence), faults)
    _add_missing("evaluation", _due("evaluation", last["evaluation"], evaluated_until + 1, plan, cadence), faults)
    if evaluated_until == cadence.last_step and last["evaluation"] < last_step and last_step % cadence.evaluate_steps:
        faults.add(f"the evaluation record of step {last_step}, the last one, is missing")
    if last["train"] < last_step:
        faults.add(f"steps {last['train'] + 1} to {last_step} have no train record")
    if num_skipped != len(skipped):
        faults.add(f"{num_skipped} steps were skipped, but {len(skipped)} are told of")
    return recorded


def _standing(file: IO[bytes], attempts: list[Attempt], recorded: Recorded) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of the line, record) of all that no later attempt superseded; what is no record is noted."""
    for number, line in enumerate(iter(lambda: file.readline(_LINE_BYTES), b""), 1):
        record = _parse(line)
        if record is None:
            recorded.is_cut = not line.endswith(b"\n") and len(line) < _LINE_BYTES
            if not recorded.is_cut:
                recorded.faults.add(f"line {number} is no record")
            continue
        attempt, standing = record.get("attempt"), standing_at(attempts, record["step"])
        if attempt == standing or _is_made_up_for(record, attempts):
            recorded.counts[record["kind"]] = recorded.counts.get(record["kind"], 0) + 1
            yield number, record
        elif type(attempt) is int and 0 < attempt < standing:
            recorded.num_superseded += 1
        else:
            what = f"{record['kind']} of step {record['step']}"
            recorded.faults.add(f"line {number}: {what} is of attempt {attempt!r:.20}, not {standing}")


def _is_made_up_for(record: dict[str, Any], attempts: list[Attempt]) -> bool:
    """Whether it is of an evaluation that a stop left out, with which the next attempt then began."""
    began = [attempt for attempt in attempts if attempt.first_step == record["step"]]
    return record["kind"] == "evaluation" and any(attempt.number == record.get("attempt") for attempt in began)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_record = isinstance(record, dict) and isinstance(record.get("kind"), str) and type(record.get("step")) is int
    return record if is_record else None


def _follows(record: dict[str, Any], before: int, number: int, faults: Faults) -> None:
    """The steps that a train record tells of begin where the one before ended."""
    step, window = record["step"], record.get("window_steps")
    if type(window) is not int:
        faults.add(f"line {number}: train of step {step} does not say of how many steps it tells")
    elif step - window > before:
        faults.add(f"steps {before + 1} to {step - window} have no train record (line {number} comes too early)")
    elif step - window < before:
        faults.add(f"line {number}: train of step {step} tells again of steps after {step - window}")


def _due(kind: str, after: int, before: int, plan: Plan, cadence: Cadence) -> range:
    """The steps greater than ``after`` and less than ``before`` at which a record of this kind must be."""
    every = plan.steps_per_epoch if kind == "epoch" else cadence.evaluate_steps
    return range((after // every + 1) * every, before, every)


def _add_missing(kind: str, due: range, faults: Faults) -> None:
    if due:
        more = f" and {len(due) - 1:,} more" if len(due) > 1 else ""
        faults.add(f"the {kind} record of step {due[0]}{more} is missing", len(due))
