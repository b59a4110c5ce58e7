"""From one image to another: the encodings between theirs, on the line and on the arc, decoded."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from aedist.data.store import ShardStore
from aedist.errors import UserError
from aedist.explore.encodings import check_ids, decode_images, encode_ids
from aedist.explore.limits import MOST_STEPS, check_count, check_number
from aedist.explore.paths import angle, has_arc, linear, spherical
from aedist.explore.record import facts, title
from aedist.pictures import grid
from aedist.tracking.console import say_nothing
from aedist.trained import Trained

_MOST_PAIRS = 4
_MOST_NAMED_PAIRS = 20

DEFINITIONS = {
    "linear": "(1 - t) a + t b of the two encodings.",
    "spherical": "The direction moves along the great circle at a steady angle (Shoemake 1985), the norm linearly.",
    "angle_degrees": "The angle between the two encodings.",
}


def interpolate(
    trained: Trained, sample_ids: Sequence[int] = (), steps: int = 9, say: Callable[[str], None] = say_nothing
) -> tuple[Image, dict[str, Any]]:
    """For each pair of images two rows: linear above spherical, with the originals at the ends.

    Between encodings that point in opposite directions, as two numbers of different sign do, there is no arc, and
    the line is alone.

    Args:
        trained: the model and the split.
        sample_ids: two for each pair; if there are none, the first pairs of different classes.
        steps: decoded images in a row, the two ends' reconstructions among them.
        say: told of which pairs are shown, and where there is no arc.

    Raises:
        UserError: if a sample is not there or has no partner, or a number is out of range.
    """
    check_number("--steps", steps, least=2, most=MOST_STEPS)  # both ends are steps
    if len(sample_ids) % 2:
        raise UserError(f"--ids: {len(sample_ids)} samples are no pairs; name two for each pair")
    split = trained.split
    check_count("--ids", len(sample_ids), 2 * _MOST_NAMED_PAIRS)
    check_ids(split, sample_ids)
    store = ShardStore(split.folder, split.index)
    pairs = list(zip(sample_ids[::2], sample_ids[1::2], strict=True)) or unlike_pairs(store, _MOST_PAIRS)
    if not pairs:
        raise UserError(f"{split.folder}: its first shard has no two images of different classes; name pairs by --ids")
    say(f"going from image to image: {', '.join(f'{a} to {b}' for a, b in pairs)}")
    told = list[dict[str, Any]]()
    rows, row_labels = list[NDArray[np.uint8]](), list[str]()
    for first, second in pairs:
        originals = store.read_images([first, second]).numpy()
        a_d, b_d = encode_ids(trained, store, [first, second]).z_nd
        paths = {"linear": linear, "spherical": spherical} if has_arc(a_d, b_d) else {"linear, no arc": linear}
        for name, path in paths.items():
            between = decode_images(trained, path(a_d, b_d, steps))
            rows.append(np.concatenate([originals[:1], between, originals[1:]]))
            row_labels.append(f"{first} to {second}\n{name}")
        degrees = float(angle(a_d, b_d).rad2deg()) if a_d.any() and b_d.any() else None
        told.append(
            {
                "sample_ids": [first, second],
                "norms": [float(a_d.norm()), float(b_d.norm())],
                "angle_degrees": degrees,
                "paths": list(paths),
            }
        )
        if len(paths) == 1:
            say(f"{first} to {second}: their encodings point in opposite directions, so no arc joins them")
    numbers = facts(trained, "interpolate") | {"steps": steps, "pairs": told, "definitions": DEFINITIONS}
    heads = ["original", *(f"{step / (steps - 1):.3g}" for step in range(steps)), "original"]
    return grid(rows, row_labels, heads, title(trained, "between the encodings of two images")), numbers


def unlike_pairs(store: ShardStore, most: int) -> list[tuple[int, int]]:
    """The first pairs of samples of different classes, each sample in one; of any samples where there are no classes.

    Looks through the first shard only, so that no further one is opened for a picture.
    """
    waiting, waiting_label, found = list[int](), None, list[tuple[int, int]]()
    for sample_id in range(store.index.shards[0].samples):
        label = store.label(sample_id)
        if waiting and (label is None or label != waiting_label):
            found.append((waiting.pop(0), sample_id))
        else:  # those that wait are of one class, else they would have met
            waiting.append(sample_id)
            waiting_label = label
        if len(found) == most:
            break
    return found
