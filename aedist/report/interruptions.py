"""Every start of a run, and what each interruption cost.

A start goes on from a checkpoint. What the one before it had trained beyond that step is trained again: that is the
cost. How far it had come stands in the ledger, of which a kill may have taken the last few records, so the cost is a
lower bound; after a stop that was asked for it is nought. The time is what so many images take at the run's own speed.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from aedist.report import words
from aedist.report.read import Record, Run, number

_STEP_AND_SLOT_BYTES, _ID_BYTES = 16, 8


@dataclass(frozen=True)
class Start:
    """One start, in words: its number, where it went on, on what, when, and what the interruption before it cost."""

    attempt: str
    step: str
    place: str
    started: str
    cost: str


def starts(run: Run) -> list[Start]:
    """Each start of the run in order."""
    costs = dict(zip((after.get("attempt") for after in run.attempts[1:]), _costs(run), strict=True))
    return [
        Start(
            str(attempt.get("attempt")),
            words.count(number(attempt, "step")),
            placed(attempt),
            words.moment(attempt.get("started", "")),
            _cost(run, costs.get(attempt.get("attempt"))),
        )
        for attempt in run.attempts
    ]


def told(run: Run) -> str:
    """The paragraph above the table: how often the run was interrupted, and what that cost in all."""
    if len(run.attempts) == 1:
        return "The run was started once and never interrupted."
    costs = [cost for cost in _costs(run) if math.isfinite(cost)]
    head = (
        f"The run was started {len(run.attempts)} times; each start went on from the step it names, with the data and "
        "random numbers that an uninterrupted run would have used."
    )
    if len(costs) < len(run.attempts) - 1:
        return head
    if not sum(costs):
        return f"{head} Nothing was lost: each went on where the one before it had stopped."
    return f"{head} Trained again: {_again(run, sum(costs))}."


def _costs(run: Run) -> list[float]:
    """The steps trained again after each interruption; NaN where the ledger does not tell."""
    costs = list[float]()
    for before, after in pairwise(run.attempts):
        reached, first = _reached(run, before), number(after, "step")
        costs.append(max(0.0, max(reached, number(before, "step")) - first) if math.isfinite(reached) else math.nan)
    return costs


def _reached(run: Run, attempt: Record) -> float:
    """The steps that an attempt's ledger has come to, NaN without a ledger."""
    size = _STEP_AND_SLOT_BYTES + _ID_BYTES * number(run.config, "batch", "micro")
    if not math.isfinite(size):
        return math.nan
    steps = list[int]()
    for path in (run.folder / "ledger").glob(f"attempt-{attempt.get('attempt', 0):04d}-rank-*.bin"):
        with path.open("rb") as file:
            records = path.stat().st_size // int(size)
            if records:
                file.seek((records - 1) * int(size))
                steps.append(int.from_bytes(file.read(8), "little", signed=True) + 1)
            else:  # it was killed before it wrote a step
                steps.append(0)
    return max(steps, default=math.nan)


def _cost(run: Run, steps: float | None) -> str:
    if steps is None:
        return ""
    if not math.isfinite(steps):
        return "not known: its ledger is missing"
    return _again(run, steps) if steps else "nothing"


def _again(run: Run, steps: float) -> str:
    images = steps * words.images_per_step(run)
    text = f"{words.plural(steps, 'step')}, {words.plural(images, 'image')}"
    speed = words.median([number(record, "images_per_second") for record in run.train])
    return f"{text}, about {words.duration(images / speed)}" if speed > 0 else text


def placed(attempt: Record) -> str:
    """What an attempt ran on, in words."""
    told = f"{words.plural(number(attempt, 'world'), 'process', 'processes')} ({attempt.get('device')})"
    job = attempt.get("slurm")
    name = job.get("id") if isinstance(job, dict) else None
    return f"{told}, {attempt.get('host')}" + (f", SLURM job {name}" if name else "")
