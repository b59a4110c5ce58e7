"""How often a run was started, where each start went on, and what each interruption cost.

A start goes on from a checkpoint. What an earlier one had trained beyond that step is trained again: those steps are
the cost. They are counted by the ledger, whose last few records a kill may have taken with it, so a cost is a lower
bound; after a stop that was asked for it is nought.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from aedist.errors import UserError
from aedist.verify.statement import Statement

_SHOWN = 10


@dataclass(frozen=True)
class Attempt:
    """One start of a run: its number from 1, the step it went on from, its processes, when and where."""

    number: int
    first_step: int
    world: int
    started: str
    host: str


def parse_attempts(record: dict[str, Any]) -> list[Attempt]:
    """The attempts in a run's environment.

    Raises:
        UserError: if they are not a list of attempts, numbered from 1.
    """
    try:
        found = [
            Attempt(entry["attempt"], entry["step"], entry["world"], str(entry["started"]), str(entry["host"]))
            for entry in record["attempts"]
        ]
    except (KeyError, TypeError) as error:
        raise UserError(f"environment.json: attempts: is not a list of starts ({error}), so it was damaged") from error
    for number, attempt in enumerate(found, 1):
        values = (attempt.number, attempt.first_step, attempt.world)
        if not all(type(value) is int and value >= 0 for value in values) or attempt.number != number:
            raise UserError(f"environment.json: attempts: entry {number} is not a start, so it was damaged")
    return found


def standing_until(attempts: list[Attempt], number: int) -> int | None:
    """The step at which a later attempt took over from attempt ``number``; None if none did."""
    return min((later.first_step for later in attempts if later.number > number), default=None)


def standing_at(attempts: list[Attempt], step: int) -> int:
    """The number of the attempt whose ``step`` (counted from 1) led to the weights; 0 if none did."""
    return max((attempt.number for attempt in attempts if attempt.first_step < step), default=0)


def interruptions(attempts: list[Attempt], noted: dict[int, int], images_per_step: int) -> Statement:
    """What each start but the first found, and what it cost.

    Args:
        attempts: all of them.
        noted: by attempt, the steps that its ledger has come to.
        images_per_step: B.
    """
    told, facts = list[str](), list[dict[str, Any]]()
    for before, attempt in pairwise(attempts):
        reached = max(noted.get(before.number, 0), before.first_step)
        again = max(0, reached - attempt.first_step)
        facts.append(
            {
                "attempt": attempt.number,
                "stopped_after_step": reached,
                "went_on_from_step": attempt.first_step,
                "world_before": before.world,
                "world": attempt.world,
                "steps_again": again,
                "images_again": again * images_per_step,
            }
        )
        cost = f"{_count(again, 'step')} ({again * images_per_step:,} images) again" if again else "nothing lost"
        told.append(
            f"after step {reached:,} on {before.world}, on from {attempt.first_step:,} on {attempt.world}: {cost}"
        )
    worlds = [attempt.world for attempt in attempts]
    if not told:
        text = f"none; one start, {_count(worlds[0], 'process', 'processes')}" if worlds else "never started"
    else:
        total = sum(fact["steps_again"] for fact in facts)
        lost = f"{_count(total, 'step')} ({total * images_per_step:,} images) trained again"
        more = f"; and {len(told) - _SHOWN:,} more, which --json tells" if len(told) > _SHOWN else ""
        text = f"{_count(len(told), 'interruption')}, {lost}: {'; '.join(told[:_SHOWN])}{more}"
    return Statement("interruptions", "proven", text, {"worlds": worlds, "interruptions": facts})


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
