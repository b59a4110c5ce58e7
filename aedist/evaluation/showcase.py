"""The figures of an evaluation: chosen originals above their reconstructions, and decoded samples of the prior."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor, nn

from aedist.data.loader import Split
from aedist.data.pixels import to_bytes, to_unit_range
from aedist.data.store import ShardStore
from aedist.models.output import Variational
from aedist.pictures import grid, in_rows

_MOST_COLUMNS = 10
_SAMPLE_COLUMNS = 6


def one_of_each_class(split: Split) -> list[int]:
    """The first sample of each of the first ten classes, by class; the first ten samples where there are none.

    Looks through the first shard only, so that no further one is opened for a picture.
    """
    wanted = min(_MOST_COLUMNS, len(split.index.classes))
    store, found = ShardStore(split.folder, split.index), dict[int, int]()
    for sample_id in range(split.index.shards[0].samples if wanted else 0):
        label = store.label(sample_id)
        if label is not None and label < wanted:
            found.setdefault(label, sample_id)
        if len(found) == wanted:
            return [found[label] for label in sorted(found)]
    return list(range(min(_MOST_COLUMNS, split.index.num_samples)))


def spread(values: NDArray[np.float64], count: int = _MOST_COLUMNS) -> tuple[list[int], list[int], list[int]]:
    """The sample ids with the lowest, the middle and the highest values, each ``count`` or fewer, in their order."""
    order: list[int] = np.argsort(values, kind="stable").tolist()
    middle = max(0, (len(order) - count) // 2)
    return order[:count], order[middle : middle + count], order[-count:]


@torch.no_grad()
def reconstructions(
    model: nn.Module,
    device: torch.device,
    split: Split,
    sample_ids: Sequence[int],
    title: str = "",
    labels: Sequence[str] = (),
) -> Image:
    """Originals above reconstructions, a column a sample. The model's mode is put back."""
    was_training = model.training
    model.eval()
    originals = ShardStore(split.folder, split.index).read_images(sample_ids)
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
