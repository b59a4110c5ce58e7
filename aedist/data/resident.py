"""The resident tier: every image decoded once to uint8, kept in memory, gathered where it lies.

It yields what ``loader.stream`` yields, bit for bit. Each process reads its share of the samples and the shares
are exchanged, so that the shards are read and decoded once in all, however many processes there are.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from aedist.data.loader import IMAGES_A_STRETCH, Split, StepBatch, cut, read_stretches
from aedist.data.plan import Plan
from aedist.errors import LeftOut

Exchange = Callable[[Tensor, int], None]
"""Send a tensor, in place, from the process of the given rank to all others."""


def read_all(
    split: Split,
    device: torch.device,
    rank: int,
    world: int,
    exchange: Exchange,
    workers: int,
    is_asked: Callable[[], bool] = lambda: False,
) -> Tensor:
    """All images of a split on ``device``, uint8 (N, H, W, C) by sample id.

    Args:
        split: the data.
        device: where to keep them.
        rank: this process.
        world: how many processes share the reading.
        exchange: how their shares are brought together.
        workers: loader processes.
        is_asked: whether to stop; looked at between two stretches.

    Raises:
        LeftOut: on every process, if one was asked to stop.
        UserError: if a shard or an image is damaged.
    """
    total = split.index.num_samples
    images = torch.empty((total, *split.index.image_shape), dtype=torch.uint8)
    bounds = [total * r // world for r in range(world + 1)]
    share = cut(bounds[rank], bounds[rank + 1], IMAGES_A_STRETCH)
    for (first, last), read in read_stretches(split, share, workers):
        images[first:last] = read
        if is_asked():
            break
    left_out = torch.zeros(world, dtype=torch.uint8)
    left_out[rank] = is_asked()
    for source in range(world):
        exchange(left_out[source : source + 1], source)
    if left_out.any():
        raise LeftOut
    for source in range(world):
        exchange(images[bounds[source] : bounds[source + 1]], source)
    return images.to(device)


def gather(images: Tensor, plan: Plan, slots: Sequence[int], first_step: int, last_step: int) -> Iterator[StepBatch]:
    """The batches of steps ``first_step`` to ``last_step`` (not included), gathered on the images' device."""
    for step in range(first_step, last_step):
        ids = torch.from_numpy(plan.step_ids(step, slots))
        batch = images[ids.reshape(-1).to(images.device, non_blocking=True)]
        yield StepBatch(step, tuple(slots), ids, batch.reshape(*ids.shape, *images.shape[1:]))
