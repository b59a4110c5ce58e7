"""Latent arithmetic: the mean encodings of groups of images, added and subtracted, and decoded.

``glasses & man - man + woman`` takes what glasses add to the encodings of men to the encodings of women. Each term
has the coefficient 1 or -1. As a vector, such as ``glasses - !glasses``, the sum can be added to single images too.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from aedist.data.store import ShardStore
from aedist.explore.encodings import check_ids, decode_images, encode_first, encode_ids
from aedist.explore.expression import parse, printable
from aedist.explore.groups import Group, find_groups
from aedist.explore.limits import check_count
from aedist.explore.record import facts, title
from aedist.pictures import grid
from aedist.tracking.console import say_nothing
from aedist.trained import Trained

_MOST_COLUMNS = 20

DEFINITIONS = {
    "term": "The mean encoding of the first images of the split, in sample order, that are in the group.",
    "result": "The sum of the terms, each with its sign.",
    "norm": "The Euclidean length of an encoding.",
    "nearest": "Of the searched images, the one whose encoding has the least Euclidean distance to the result.",
}


def arithmetic(
    trained: Trained,
    expression: str,
    num_images: int = 100,
    num_searched: int = 10_000,
    apply_to: Sequence[int] = (),
    say: Callable[[str], None] = say_nothing,
) -> tuple[Image, dict[str, Any]]:
    """Each term's mean and an example, the result, and the real image nearest to it.

    Args:
        trained: the model and the split, of which all images are.
        expression: as ``expression.parse`` reads it.
        num_images: the mean of a group is over the first so many of its images.
        num_searched: the nearest image is searched among the split's first so many.
        apply_to: samples to whose encodings the result is added as well, in columns of their own.
        say: told how many images each group has.

    Raises:
        UserError: if the expression is not one, names what is unknown, or a group is empty.
    """
    split = trained.split
    check_count("--apply", len(apply_to), _MOST_COLUMNS)
    check_ids(split, apply_to, "--apply")
    terms = parse(expression)
    check_count("expression", len(terms), _MOST_COLUMNS)
    store = ShardStore(split.folder, split.index)
    groups = find_groups(store, terms, expression, num_images, say)
    _tell_total(sum(term.sign for term in terms), bool(apply_to), say)
    means_td = torch.stack([encode_ids(trained, store, group.sample_ids).z_nd.mean(0) for group in groups])
    signs_t = torch.tensor([term.sign for term in terms], dtype=torch.float64)
    result_d = signs_t @ means_td
    pool = encode_first(trained, split, num_searched, say)
    distances_n = (pool.z_nd - result_d).norm(dim=1)
    nearest = int(distances_n.argmin())

    decoded = decode_images(trained, torch.cat([means_td, result_d[None]]))
    examples = _examples(groups)
    real = store.read_images([*examples, nearest]).numpy()
    heads = [*(_head(group, first=number == 0) for number, group in enumerate(groups)), "= result"]
    below = [*(f"one of them: sample {example}" for example in examples), f"nearest: sample {nearest}"]
    rows, row_labels, cell_labels = [decoded, real], ["decoded", "real"], [[], below]
    if apply_to:
        rows += _apply(trained, store, apply_to, result_d)
        row_labels += ["images", "decoded", "+ result"]
        cell_labels += [[], [], [f"sample {sample_id}" for sample_id in apply_to]]
    numbers = facts(trained, "arithmetic") | {
        "expression": expression,
        "images_a_term_at_most": num_images,
        "terms": [
            {
                "sign": group.term.sign,
                "group": group.term.text,
                "num_images": len(group.sample_ids),
                "looked_at": group.looked_at,
                "norm": float(mean_d.norm()),
            }
            for group, mean_d in zip(groups, means_td, strict=True)
        ],
        "result": {"norm": float(result_d.norm())},
        "nearest": {
            "sample_id": nearest,
            "key": store.key(nearest),
            "distance": float(distances_n[nearest]),
            "searched": len(pool.z_nd),
        },
        "applied_to": list(apply_to),
        "definitions": DEFINITIONS,
    }
    words = f"{printable(expression)}, means of at most {num_images} images"
    return grid(rows, row_labels, heads, title(trained, words), cell_labels), numbers


def _tell_total(total: int, is_applied: bool, say: Callable[[str], None]) -> None:
    """Say where the sum is not of the kind that it is used as: a place, of total 1, or a way from place to place, 0."""
    if is_applied and total != 0:
        say(f"the signs add up to {total:+d}, not 0, so --apply adds more than a difference of groups to the images")
    elif not is_applied and total != 1:
        say(f"the signs add up to {total:+d}, not +1, so the result is no image's encoding; --apply adds it to some")


def _examples(groups: Sequence[Group]) -> list[int]:
    """The first image of each group that is not shown for a group before it; the first where all are."""
    chosen = list[int]()
    for group in groups:
        chosen.append(next((one for one in group.sample_ids if one not in chosen), group.sample_ids[0]))
    return chosen


def _head(group: Group, *, first: bool) -> str:
    sign = "- " if group.term.sign < 0 else "" if first else "+ "
    return f"{sign}{printable(group.term.text)}\n({len(group.sample_ids)})"


def _apply(trained: Trained, store: ShardStore, sample_ids: Sequence[int], vector_d: Tensor) -> list[NDArray[np.uint8]]:
    """Three rows with a column a sample: the originals, their encodings decoded, and those with the vector added."""
    z_nd = encode_ids(trained, store, sample_ids).z_nd
    originals = store.read_images(sample_ids).numpy()
    return [originals, decode_images(trained, z_nd), decode_images(trained, z_nd + vector_d)]
