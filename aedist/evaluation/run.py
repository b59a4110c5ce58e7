"""The evaluation pass: every image of a split exactly once, the same numbers for any number of processes.

The split is cut into fixed evaluation batches, dealt to the processes in turn, so that every forward pass has
the same shape whoever runs it. Each process writes its images' records into the rows of their sample ids; the
sum over processes is then the whole table, and a count beside each row shows gaps and repeats. Rank zero's
summary reduces in sample order in float64.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from aedist.data.loader import Split, Stretch, cut, read_stretches
from aedist.data.pixels import to_unit_range
from aedist.evaluation.metrics import METRICS, measure
from aedist.models.output import is_variational
from aedist.objective import rate
from aedist.place import Place

Batches = Iterable[tuple[Stretch, Tensor]]
"""Evaluation batches: (first id, last id not included) and uint8 (n, H, W, C)."""


@dataclass(frozen=True)
class EvaluationPlan:
    """Which images are evaluated, in which batches."""

    num_images: int
    batch: int

    def batches(self, rank: int, world: int) -> list[Stretch]:
        """The batches of one process."""
        return cut(0, self.num_images, self.batch)[rank::world]


def read_batches(split: Split, plan: EvaluationPlan, place: Place, workers: int) -> Iterator[tuple[Stretch, Tensor]]:
    """This process's evaluation batches, read from the shards."""
    return read_stretches(split, plan.batches(place.rank, place.world), workers)


@torch.no_grad()
def evaluate(model: nn.Module, batches: Batches, plan: EvaluationPlan, place: Place) -> dict[str, NDArray[np.float64]]:
    """Each metric of every image by sample id, float64 (num_images,), the same on every process.

    For a variational model that is also its ``rate``; images are then reconstructed from the posterior's mode.

    Args:
        model: called unwrapped, in evaluation mode, in its own precision; its mode is put back.
        batches: this process's batches of ``plan``.
        plan: which images.
        place: this process.

    Raises:
        RuntimeError: if an image was missed or measured twice.
    """
    has_rate = is_variational(model)
    names = [*METRICS, "rate"] if has_rate else [*METRICS]
    records = torch.zeros(plan.num_images, 1 + len(names), dtype=torch.float64)
    was_training = model.training
    model.eval()
    dtype = next(model.parameters()).dtype
    for (first, last), images in batches:
        on_device = images.to(place.device)
        x_bchw = to_unit_range(on_device, dtype)
        output = model(x_bchw)
        records[first:last, 0] += 1
        records[first:last, 1 : 1 + len(METRICS)] = measure(on_device, output.reconstruction).cpu()
        if has_rate:
            records[first:last, -1] = rate(x_bchw, output).cpu()
    model.train(was_training)
    place.add_on_hosts(records)
    wrong = (records[:, 0] != 1).nonzero().flatten()
    if len(wrong):
        raise RuntimeError(f"{len(wrong)} images were not measured exactly once, the first is {int(wrong[0])}")
    return {name: records[:, 1 + column].numpy() for column, name in enumerate(names)}


def summarise(values: NDArray[np.float64]) -> dict[str, float | None]:
    """Mean, standard deviation and range of a metric over images; None where it is not a number.

    The standard deviation is the population's (divided by N), as numpy's.
    """
    found = {
        "mean": values.mean(),
        "std": values.std(),
        "min": values.min(),
        "median": np.median(values),
        "max": values.max(),
    }
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}
