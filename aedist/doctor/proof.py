"""The proof that processes work together: all train small models, and compare what they got.

Shown are: that there are as many processes as were asked for; that every parameter gets its gradient on each; that all
processes end with the same parameters, whose sha256 they compare; that the exact reduction gives the bits that one
process alone gets; and that the fast one gives its gradient, up to rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from aedist.doctor.exercise import EXERCISES, STEPS, Exercise, Trained, train_small
from aedist.doctor.finding import Finding
from aedist.place import Place

_TOLERANCE = 1e-4
"""Relative, of a gradient in single precision; rounding gives about 1e-7."""
_MOST_NAMED = 3


@dataclass(frozen=True)
class Result:
    """What one process got of one exercise."""

    exact_sha256: str
    fast_sha256: str
    alone_sha256: str
    """Under the exact reduction, without the others."""
    difference: float
    """Of the fast reduction's first gradient from that of this process alone, as a part of its norm."""
    troubles: tuple[str, ...]


def prove(group: str, place: Place, asked_world: int) -> list[Finding]:
    """Do it; the findings are the same on every process.

    Args:
        group: what the findings are to stand under.
        place: this process among the others.
        asked_world: how many processes there should be.
    """
    found = [judge_world(group, asked_world, place.world, _count(place), place.device.type)]
    for exercise in EXERCISES:
        place.watch.doing(f"trains the {exercise.name}")
        found += judge_results(group, exercise.name, place.share(_train(exercise, place)))
    return found


def judge_world(group: str, asked: int, world: int, came: int, device: str) -> Finding:
    """Whether there are as many processes as asked for, both by their own word and by a sum over them."""
    name, value = "number of processes", f"{world} on {device}"
    if asked == world == came:
        return Finding(group, name, value)
    fix = "each would train the whole run by itself: start them with accelerate launch, torchrun or slurm/train.sbatch"
    return Finding(group, name, f"{asked} were asked for, {world} know of each other, {came} add up", "broken", fix)


def judge_results(group: str, name: str, results: Sequence[Result]) -> list[Finding]:
    """The verdicts on an exercise, from every process's result by rank."""
    troubles = {rank: result.troubles[0] for rank, result in enumerate(results) if result.troubles}
    if troubles:
        value = "; ".join(f"process {rank}: {trouble}" for rank, trouble in list(troubles.items())[:_MOST_NAMED])
        fix = "the model trains only in part: see that all machines have one version of torch and of aedist"
        return [Finding(group, f"{name}: gradients", value, "broken", fix)]
    found = [Finding(group, f"{name}: gradients", "there for every parameter, none zero")]
    for reduce, sums in (
        ("fast", [result.fast_sha256 for result in results]),
        ("exact", [result.exact_sha256 for result in results]),
    ):
        others = [rank for rank, one in enumerate(sums) if one != sums[0]]
        if others:
            fix = "compare versions, processors and GPUs of their machines; a machine that computes wrong must go"
            value = f"after {STEPS} steps {_name(others)} has other parameters than process 0"
            found.append(Finding(group, f"{name}: parameters, {reduce}", value, "broken", fix))
        else:
            value = f"the same everywhere, sha256 {sums[0][:8]}"
            found.append(Finding(group, f"{name}: parameters, {reduce}", value))
    differ = [rank for rank, one in enumerate(results) if one.alone_sha256 != one.exact_sha256]
    if differ:
        fix = "processors or GPUs of several kinds do not compute the same bits: choose like ones, or train.reduce=fast"
        value = f"{_name(differ)} gets other bits by itself"
        found.append(Finding(group, f"{name}: exact against one alone", value, "broken", fix))
    else:
        found.append(Finding(group, f"{name}: exact against one alone", "the same bits"))
    largest = max(result.difference for result in results)
    if largest < _TOLERANCE:
        found.append(Finding(group, f"{name}: fast against one alone", f"the same gradient to {largest:.0e}"))
    else:
        fix = "DDP's sum is not the sum: see that all have one version of torch, and try train.reduce=exact"
        value = f"gradients differ by {largest:.1e} of their norm"
        found.append(Finding(group, f"{name}: fast against one alone", value, "broken", fix))
    return found


def _train(exercise: Exercise, place: Place) -> Result:
    num_micro = place.world + 1  # so that the processes have different numbers of micro-batches
    exact = train_small(exercise, place, "exact", num_micro)
    fast = train_small(exercise, place, "fast", num_micro) if not _any(place, exact) else exact
    alone = train_small(exercise, replace(place, rank=0, world=1, host_group=None), "exact", num_micro)
    norm = torch.linalg.vector_norm(alone.gradient).item()
    apart = torch.linalg.vector_norm(fast.gradient - alone.gradient).item()
    return Result(exact.sha256, fast.sha256, alone.sha256, apart / max(norm, 1e-30), exact.troubles or fast.troubles)


def _any(place: Place, trained: Trained) -> bool:
    """Whether any process found something wrong with a gradient: DDP would wait for it."""
    return any(place.share(bool(trained.troubles)))


def _count(place: Place) -> int:
    """How many processes a sum over all of them finds."""
    one = torch.ones(1, device=place.device)
    place.add(one)
    return int(one.item())


def _name(ranks: Sequence[int]) -> str:
    more = f" and {len(ranks) - _MOST_NAMED} more" if len(ranks) > _MOST_NAMED else ""
    return f"process {', '.join(map(str, ranks[:_MOST_NAMED]))}{more}"
