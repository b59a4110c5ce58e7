"""What each direction of the encoding does: one image's encoding moved along it, decoded."""

from collections.abc import Callable
from math import prod
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from aedist.data.store import ShardStore
from aedist.errors import UserError
from aedist.explore.directions import Direction, axes, principal_components
from aedist.explore.encodings import check_ids, decode_images, encode_first, encode_ids, encoding_shape
from aedist.explore.limits import MOST_STEPS, check_number
from aedist.explore.record import about_split, facts, title
from aedist.pictures import grid
from aedist.tracking.console import say_nothing
from aedist.trained import Trained, open_another_split

Basis = Literal["axes", "pca"]
_REACH = 3.0
_MOST_DIRECTIONS = 64

DEFINITIONS = {
    "KL": "KL of the posterior of that number to N(0, 1) in nats, mean over the encoded images.",
    "variance": "Variance of that number over the encoded images (divided by their count).",
    "share": "The component's part of the encodings' whole variance.",
    "std": "Standard deviation of the encodings along the direction; the steps are multiples of it.",
}


def traverse(
    trained: Trained,
    basis: Basis | None = None,
    most: int = 8,
    steps: int = 7,
    sample_id: int | None = None,
    num_encodings: int = 10_000,
    say: Callable[[str], None] = say_nothing,
) -> tuple[Image, dict[str, Any]]:
    """A row for each direction, from -3 to +3 standard deviations of the training images' encodings.

    Args:
        trained: the model and the split.
        basis: ``axes``, the encoding's own numbers, or ``pca``; None is axes for vectors and pca for spatial encodings.
        most: directions shown.
        steps: images in a row.
        sample_id: whose encoding is moved; None is the mean encoding.
        num_encodings: of the first so many training images the directions and their spread are taken.
        say: told what happens.

    Raises:
        UserError: if the sample is not there, or a number is out of range.
    """
    check_number("--dimensions", most, most=_MOST_DIRECTIONS)
    check_number("--steps", steps, least=2, most=MOST_STEPS)
    check_ids(trained.split, [] if sample_id is None else [sample_id], "--image")
    shape = encoding_shape(trained)
    is_spatial = len(shape) > 1
    basis = basis or ("pca" if is_spatial else "axes")
    split = open_another_split(trained, trained.config.data.split)
    encodings = encode_first(trained, split, num_encodings, say)
    if is_spatial and basis == "axes":
        say("each number of a spatial encoding is one channel at one place; --basis pca moves all places together")
    if basis == "pca":
        say(f"finding the principal components of {len(encodings.z_nd):,} encodings of {prod(shape):,} numbers")
    directions = (axes if basis == "axes" else principal_components)(encodings, most)
    if not directions:
        raise UserError(f"--basis: the {len(encodings.z_nd):,} encodings do not vary; take more --encodings")
    if sample_id is None:
        centre_d, centre = encodings.z_nd.mean(0), "the mean encoding"
    else:
        centre_d, centre = (
            encode_ids(trained, ShardStore(trained.split.folder, trained.split.index), [sample_id]).z_nd[0],
            f"image {sample_id}",
        )
    reach_s = torch.linspace(-_REACH, _REACH, steps, dtype=torch.float64)
    rows = list[NDArray[np.uint8]]()
    for direction in directions:
        rows.append(decode_images(trained, centre_d + reach_s[:, None] * direction.std * direction.unit_d))
    numbers = facts(trained, "traverse") | {
        "basis": basis,
        "centre": centre,
        "num_encodings": len(encodings.z_nd),
        "encoded": about_split(split),
        "steps_in_std": reach_s.tolist(),
        "directions": [{"name": d.name, d.measure: d.measured, "std": d.std} for d in directions],
        "definitions": DEFINITIONS,
    }
    heads = [f"{reach:+.3g} std" if reach else "0" for reach in reach_s.tolist()]
    return grid(rows, [_label(d) for d in directions], heads, title(trained, f"directions around {centre}")), numbers


def _label(direction: Direction) -> str:
    if direction.measure == "share":
        return f"{direction.name}\n{100 * direction.measured:.1f} % of variance"
    unit = " nats" if direction.measure == "KL" else ""
    return f"{direction.name}\n{direction.measure} {direction.measured:.3g}{unit}"
