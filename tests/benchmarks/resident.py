"""The resident tier against a bare gather: the same rows of the same bytes, copied into one buffer again and again."""

from functools import partial

import torch
from material import Material
from measuring import interleaved, spread
from tables import Table
from torch import Tensor

from aedist.data.loader import read_stretches
from aedist.data.plan import Plan
from aedist.data.resident import gather

_BATCHES = (32, 256)
_STEPS = 1000
_MOST_IMAGES = 9000
_SMALLEST_BYTES = 64 * 2**20
"""The images are repeated up to this size, so that they do not fit into a cache of the processor."""


def tables(materials: list[Material], repeats: int) -> list[Table]:
    """One row a data set and batch."""
    torch.set_num_threads(1)
    rows = list[list[str]]()
    for material in materials:
        images = _images(material)
        for batch in _BATCHES:
            plan = Plan((len(images),), 0, batch, 1, 1)
            steps = min(_STEPS, plan.steps_per_epoch, 2**30 // (batch * images[0].numel()))
            ids = torch.stack([torch.from_numpy(plan.step_ids(step, (0,))[0]) for step in range(steps)])
            found = interleaved(
                partial(_bare, images, ids), {"aedist": partial(_aedist, images, plan, steps)}, repeats
            )["aedist"]
            rows.append(
                [
                    f"{material.name}, batch {batch}",
                    spread([one.calibration.per_cpu_second for one in found], 0),
                    spread([one.cost.per_cpu_second for one in found], 0),
                    spread([one.ratio for one in found]),
                ]
            )
    return [
        Table(
            "resident images",
            ["data", "bare gather, images a CPU-second", "aedist, images a CPU-second", "of the bare gather"],
            rows,
            "The bare gather is `torch.index_select(..., out=buffer)` with the same ids, known beforehand; aedist "
            "works out the order, and gives every step a tensor of its own.",
        )
    ]


def _images(material: Material) -> Tensor:
    first = (0, min(material.split.index.num_samples, _MOST_IMAGES))
    images = torch.cat([read for _, read in read_stretches(material.split, [first], 0)])
    return images.repeat(-(-_SMALLEST_BYTES // images.numel()), 1, 1, 1)


def _bare(images: Tensor, ids: Tensor) -> int:
    buffer = torch.empty((ids.shape[1], *images.shape[1:]), dtype=torch.uint8)
    for row in ids:
        torch.index_select(images, 0, row, out=buffer)
    return ids.numel()


def _aedist(images: Tensor, plan: Plan, steps: int) -> int:
    return sum(batch.images.shape[1] for batch in gather(images, plan, (0,), 0, steps))
