"""What the processes measured of numbered things, brought together on rank zero by number: each once, or refused.

Things are images of a split, by sample id, or draws from a density, by number. They are cut into fixed batches, which
are dealt to the processes in turn, so that every forward pass has the same shape whoever runs it; there may be more
processes than batches. What is measured of a thing is a row of each named tensor. The other processes hand their rows
to rank zero, which puts them into their places: no sum is taken over processes, so nothing depends on their number.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from aedist.data.loader import Stretch, cut
from aedist.errors import LeftOut, ToldByRankZero, UserError
from aedist.place import Place

Rows = Mapping[str, Tensor]
"""Tensors on the CPU by name, each with a row a thing."""


@dataclass(frozen=True)
class EvaluationPlan:
    """Which things are measured, in which batches."""

    num_images: int
    batch: int

    def batches(self, rank: int, world: int) -> list[Stretch]:
        """The batches of one process: every W-th, from its rank on."""
        return cut(0, self.num_images, self.batch)[rank::world]


def gather(pieces: Iterable[tuple[Stretch, Rows]], count: int, place: Place, what: str = "images") -> dict[str, Tensor]:
    """The rows of all ``count`` things in order, on rank zero; empty on the other processes, and where count is 0.

    Args:
        pieces: what this process measures, batch by batch, with the first and the last number (not included).
        count: how many things there are.
        place: this process.
        what: a word for them.

    Raises:
        LeftOut: on every process, if one raised it while it measured.
        UserError: on every process, if one raised it while it measured.
        RuntimeError: on every process, if a thing was missed or measured twice.
    """
    stretches, measured, mistake, is_left_out = list[Stretch](), dict[str, list[Tensor]](), None, False
    try:
        for stretch, rows in pieces:
            stretches.append(stretch)
            for name, tensor in rows.items():
                measured.setdefault(name, []).append(tensor)
    except LeftOut:
        is_left_out = True
    except UserError as error:
        if place.world == 1:
            raise
        mistake = str(error)
    own = {name: torch.cat(tensors).contiguous() for name, tensors in measured.items()}
    measured.clear()
    shapes = {name: (tuple(tensor.shape[1:]), tensor.dtype) for name, tensor in own.items()}
    told = place.share((mistake, is_left_out, stretches, shapes))
    _raise_what_one_raised([(mistake, is_left_out) for mistake, is_left_out, _, _ in told])
    _check_each_once([stretch for _, _, theirs, _ in told for stretch in theirs], count, what)
    if not place.is_zero:
        for tensor in own.values():
            place.hand_to_zero(tensor)
        return {}
    whole: dict[str, Tensor] = {}
    for rank, (_, _, theirs, layout) in enumerate(told):
        total = sum(last - first for first, last in theirs)
        for name, (shape, dtype) in layout.items():
            if rank == 0:
                rows = own.pop(name)
            else:
                rows = torch.empty(total, *shape, dtype=dtype)
                place.take_from(rank, rows)
            if name not in whole:
                whole[name] = torch.empty(count, *shape, dtype=dtype)
            begin = 0
            for first, last in theirs:
                whole[name][first:last] = rows[begin : begin + last - first]
                begin += last - first
    return whole


def _raise_what_one_raised(told: Iterable[tuple[str | None, bool]]) -> None:
    for mistake, _ in told:
        if mistake is not None:
            raise ToldByRankZero(mistake)
    if any(is_left_out for _, is_left_out in told):
        raise LeftOut


def _check_each_once(stretches: Iterable[Stretch], count: int, what: str) -> None:
    times = torch.zeros(count, dtype=torch.int64)
    for first, last in stretches:
        times[first:last] += 1
    wrong = (times != 1).nonzero().flatten()
    if len(wrong):
        raise RuntimeError(f"{len(wrong)} {what} were not measured exactly once, the first is {int(wrong[0])}")
