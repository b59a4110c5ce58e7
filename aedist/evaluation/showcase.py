"""The figures of an evaluation: chosen originals above their reconstructions, and decoded samples of the prior."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor, nn

from aedist.data.pixels import to_bytes, to_unit_range
from aedist.data.store import ShardStore
from aedist.models.output import Variational
from aedist.pictures import grid, in_rows
from aedist.shards.index import Index

_COLUMNS, _WIDE_COLUMNS, _WIDE = 10, 8, 128
_SAMPLE_COLUMNS = 6


def columns(index: Index) -> int:
    """How many images a row of a picture has: ten, or eight that are 128 pixels wide or wider."""
    return _COLUMNS if index.image_shape[1] < _WIDE else _WIDE_COLUMNS


def classes_in_turn(store: ShardStore) -> list[int]:
    """The first sample of each class, then the second of each, and so on, until a picture of one row is full.

    Samples without a class take their turn as a last class. Looks through the first shard only, so that no further
    one is opened for a picture: a class that is not in it is not shown, and what it leaves free goes to the others.
    """
    index = store.index
    most, first_ids = columns(index), range(index.shards[0].samples)
    if not index.classes:
        return list(first_ids[:most])
    wanted = min(most, len(index.classes))
    turns = -(-most // wanted)
    found = dict[int, list[int]]()
    for sample_id in first_ids:
        label = store.label(sample_id)
        found.setdefault(len(index.classes) if label is None else label, []).append(sample_id)
        if all(len(found.get(label, ())) >= turns for label in range(wanted)):
            break
    order = [(turn, label, sample_id) for label, ids in found.items() for turn, sample_id in enumerate(ids[:most])]
    return [sample_id for _, _, sample_id in sorted(order)[:most]]


def spread(values: NDArray[np.float64], count: int = _COLUMNS) -> tuple[list[int], list[int], list[int]]:
    """The sample ids with the lowest, the middle and the highest values, each ``count`` or fewer, in their order."""
    order: list[int] = np.argsort(values, kind="stable").tolist()
    middle = max(0, (len(order) - count) // 2)
    return order[:count], order[middle : middle + count], order[-count:]


@torch.no_grad()
def reconstructions(
    model: nn.Module,
    device: torch.device,
    store: ShardStore,
    sample_ids: Sequence[int],
    title: str = "",
    labels: Sequence[str] = (),
) -> Image:
    """Originals above reconstructions, a column a sample. The model's mode is put back."""
    was_training = model.training
    model.eval()
    originals = store.read_images(sample_ids)
    output = model(to_unit_range(originals.to(device), next(model.parameters()).dtype))
    model.train(was_training)
    rows = [originals.numpy(), to_bytes(output.reconstruction).cpu().numpy()]
    return grid(rows, ["original", "reconstruction"], labels, title)


@torch.no_grad()
def prior_samples(model: nn.Module, noise: Tensor, title: str = "") -> Image:
    """Decoded samples of the prior N(0, 1), six in a row. The model's mode is put back.

    Args:
        model: a variational model, called unwrapped.
        noise: standard normal (B, *model.noise_shape); the same noise gives comparable pictures of a run's steps.
        title: a line above all.
    """
    was_training = model.training
    model.eval()
    parameter = next(model.parameters())
    images = to_bytes(cast(Variational, model).decode(noise.to(parameter))).cpu().numpy()
    model.train(was_training)
    return grid(in_rows(images, _SAMPLE_COLUMNS), title=title)
