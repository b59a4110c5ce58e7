"""Images that show what a model does: chosen originals above their reconstructions, where errors are, samples."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor, nn

from aedist.data.pixels import to_bytes, to_unit_range
from aedist.data.store import ShardStore
from aedist.evaluation.pictures.figures import error_maps
from aedist.models.output import Variational
from aedist.pictures import grid, in_rows
from aedist.shards.index import Index

_COLUMNS, _WIDE_COLUMNS, _WIDE = 10, 8, 128
_SAMPLE_COLUMNS = 6


def columns(index: Index) -> int:
    """How many images a row of a picture has: ten, or eight that are 128 pixels wide or wider."""
    return _columns_of(index.image_shape[1])


def _columns_of(width: int) -> int:
    return _COLUMNS if width < _WIDE else _WIDE_COLUMNS


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


def extremes(values: NDArray[np.float64], count: int = _COLUMNS) -> dict[str, list[int]]:
    """About ``count`` sample ids of ``spread``'s: some of the ``best``, the ``median`` and the ``worst``, by name.

    Of fewer images than that, none is named twice.
    """
    lowest, middle, highest = spread(values, count)
    side = max(1, count // 3)
    middles = max(0, count - 2 * side)
    begin = max(0, (len(middle) - middles) // 2)
    chosen = {"best": lowest[:side], "worst": highest[-side:], "median": middle[begin : begin + middles]}
    seen = set[int]()
    for name, ids in chosen.items():
        chosen[name] = [one for one in ids if one not in seen]
        seen |= set(ids)
    return {name: chosen[name] for name in ("best", "median", "worst")}


@torch.no_grad()
def reconstruct(
    model: nn.Module, device: torch.device, store: ShardStore, sample_ids: Sequence[int]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(originals, reconstructions), each uint8 (n, H, W, C), in one forward pass. The model's mode is put back."""
    was_training = model.training
    model.eval()
    originals = store.read_images(sample_ids)
    output = model(to_unit_range(originals.to(device), next(model.parameters()).dtype))
    model.train(was_training)
    return originals.numpy(), to_bytes(output.reconstruction).cpu().numpy()


def reconstructions(
    model: nn.Module,
    device: torch.device,
    store: ShardStore,
    sample_ids: Sequence[int],
    title: str = "",
    labels: Sequence[str] = (),
) -> Image:
    """Originals above reconstructions, a column a sample."""
    return grid(reconstruct(model, device, store, sample_ids), ["original", "reconstruction"], labels, title)


def where_errors_are(
    model: nn.Module, device: torch.device, store: ShardStore, errors: NDArray[np.float64], title: str = ""
) -> Image:
    """Maps of the errors of some of the best, the median and the worst images, on one scale.

    Args:
        model: called unwrapped.
        device: where it is.
        store: of the split.
        errors: of the split's first images, by which they are chosen, (N,); at least one.
        title: a line above all.
    """
    chosen = extremes(errors, columns(store.index))
    labels = [f"{name} {errors[one]:.4f}" for name, ids in chosen.items() for one in ids]
    ids = [one for ids in chosen.values() for one in ids]
    return error_maps(*reconstruct(model, device, store, ids), labels, title)


def samples(images: NDArray[np.uint8], title: str = "") -> Image:
    """Images uint8 (n, H, W, C), ten in a row, or eight that are wide."""
    return grid(in_rows(images, _columns_of(images.shape[2])), title=title)


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
