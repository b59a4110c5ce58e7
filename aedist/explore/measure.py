"""Does latent arithmetic do what it says? Measured on pairs of images that differ in one attribute alone.

The vector of the attribute is the mean encoding of training images that have it minus that of those that have not.
Added to the encoding of an image without it, it should decode to the image's partner. How near it comes is told
against doing nothing and against random vectors of the same length (``controls``), and beside the best that this
decoder could do, the partner's own reconstruction. Outside the region in which the pair truly differs, nothing should
change.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from aedist.data.loader import cut
from aedist.data.store import ShardStore
from aedist.errors import UserError
from aedist.explore import compare, controls, verdict
from aedist.explore.compare import Errors
from aedist.explore.encodings import decode_images, encode_first, encode_ids
from aedist.explore.limits import check_number
from aedist.explore.pairs import Pairs, find_pairs
from aedist.explore.record import about_split, facts
from aedist.pictures import grid
from aedist.progress import now_and_then
from aedist.tracking.console import say_nothing
from aedist.trained import Trained, open_another_split

_SHOWN = 6
_MOST_DRAWS = 100

DEFINITIONS = {
    "vector": "Mean encoding of the training images with the attribute minus that of those without it.",
    "nothing": "The encoding of the image without the attribute, decoded unchanged.",
    "plus_vector": "That encoding with the vector added, decoded.",
    "best": "The partner's own encoding, decoded: what a perfect vector would give.",
    **controls.DEFINITIONS,
    "means_of_draws": "The mean over pairs of the error over the whole image, for each draw of a random vector.",
    **compare.DEFINITIONS,
    **verdict.DEFINITIONS,
}


def measure_attribute(
    trained: Trained,
    attribute: str = "glasses",
    num_encodings: int = 10_000,
    num_pairs: int = 1000,
    draws: int = 5,
    seed: int = 0,
    say: Callable[[str], None] = say_nothing,
) -> tuple[Image, dict[str, Any]]:
    """How well the vector of an attribute turns images without it into their partners with it.

    Args:
        trained: the model, and the split whose pairs are looked at.
        attribute: one that is true or false.
        num_encodings: the vector is taken from the first so many training images.
        num_pairs: the first so many pairs are looked at, or all where there are fewer.
        draws: random vectors of each kind to compare with.
        seed: names the random vectors and the bootstrap's resamples.
        say: told what happens, and the verdict.

    Raises:
        UserError: if the data has no pairs, or the training images show the attribute always or never.
    """
    check_number("--pairs", num_pairs)
    check_number("--draws", draws, most=_MOST_DRAWS)
    store = ShardStore(trained.split.folder, trained.split.index)
    pairs = find_pairs(store, attribute, num_pairs, say)
    split = open_another_split(trained, trained.config.data.split)
    train_nd = encode_first(trained, split, num_encodings, say).z_nd
    train_store = store if split is trained.split else ShardStore(split.folder, split.index)
    vector_d, counts = _vector(train_store, train_nd, attribute, say)
    length = float(vector_d.norm())
    random = {
        "random_isotropic": controls.isotropic(length, len(vector_d), draws, seed),
        "random_between_images": controls.between_images(length, train_nd, draws, seed),
    }
    say(f"changing {len(pairs.without):,} images without {attribute} and comparing them with their partners")
    errors, draw_errors, in_region, shown = _measure(trained, store, pairs, vector_d, random, say)

    results = verdict.judge(errors, seed)
    found = verdict.verdict(attribute, len(pairs.without), results)
    words = verdict.errors_in_words(results)
    say(f"mean squared errors to the true partner: {', '.join(words)}")
    outside = {name: verdict.number(results["outside"][name]) for name in ("plus_vector", *verdict.CONTROLS)}
    others = ", ".join(f"{named} {outside[name]}" for name, named in verdict.CONTROLS.items())
    say(f"outside the region where the pairs differ: with the vector {outside['plus_vector']}, {others}")
    say(found)
    numbers = facts(trained, "measure") | {
        "attribute": attribute,
        "seed": seed,
        "vector": {"norm": length, **counts, "from": about_split(split)},
        "pairs": {"measured": len(pairs.without), "samples_without_partner": pairs.unpaired},
        "pixels_in_region": in_region,
        "random_draws": draws,
        "means_of_draws": {name: [float(one.whole.mean()) for one in kind] for name, kind in draw_errors.items()},
        **results,
        "verdict": found,
        "definitions": DEFINITIONS,
    }
    heads = ["without", "decoded", f"decoded with + {attribute}", "partner decoded", "true partner"]
    labels = [f"{one} and {other}" for one, other in zip(pairs.without, pairs.having, strict=True)][: len(shown)]
    first = f"{trained.split.index.name}, {trained.checkpoint.name}: the vector of {attribute}"
    title = [first, f"mean squared errors to the true partner, {len(pairs.without):,} pairs:", *words]
    return grid(shown, labels, heads, "\n".join(title)), numbers


def _vector(
    store: ShardStore, z_nd: Tensor, attribute: str, say: Callable[[str], None]
) -> tuple[Tensor, dict[str, Any]]:
    """The attribute's vector, float64 (d,), from the encodings of a split's first n images, and of how many it is."""
    known = [store.attributes(sample_id).get(attribute) for sample_id in range(len(z_nd))]
    has = torch.tensor([value is True for value in known])
    has_not = torch.tensor([value is False for value in known])
    counts = {"having": int(has.sum()), "without": int(has_not.sum())}
    say(f"the vector of {attribute}: {counts['having']:,} training images have it, {counts['without']:,} have not")
    if not counts["having"] or not counts["without"]:
        raise UserError(
            f"--measure: of the first {len(z_nd):,} training images {counts['having']:,} have {attribute} and "
            f"{counts['without']:,} have not, and both are needed; take more --encodings"
        )
    return z_nd[has].mean(0) - z_nd[has_not].mean(0), counts


def _measure(
    trained: Trained,
    store: ShardStore,
    pairs: Pairs,
    vector_d: Tensor,
    random: dict[str, list[Tensor]],
    say: Callable[[str], None],
) -> tuple[dict[str, Errors], dict[str, list[Errors]], float, list[NDArray[np.uint8]]]:
    """The errors of all that is done, those of each random draw, the share of pixels in the regions, rows to show.

    Goes through the pairs a batch at a time, so that no more images are held than that.
    """
    parts: dict[str, list[Errors]] = {name: [] for name in ("nothing", "plus_vector", "best")}
    draw_parts: dict[str, list[list[Errors]]] = {name: [[] for _ in steps] for name, steps in random.items()}
    in_region, shown, progress = list[float](), list[NDArray[np.uint8]](), now_and_then(say)
    for first, last in cut(0, len(pairs.without), trained.config.evaluate.batch):
        without, having = (store.read_images(ids[first:last]).numpy() for ids in (pairs.without, pairs.having))
        mask = compare.differing_region(without, having)
        in_region += mask.mean(axis=(1, 2)).tolist()
        z_nd = encode_ids(trained, store, pairs.without[first:last]).z_nd
        decoded = {
            "nothing": decode_images(trained, z_nd),
            "plus_vector": decode_images(trained, z_nd + vector_d),
            "best": decode_images(trained, encode_ids(trained, store, pairs.having[first:last]).z_nd),
        }
        for name, images in decoded.items():
            parts[name].append(compare.compare(images, having, mask))
        for name, steps in random.items():
            for found, step_d in zip(draw_parts[name], steps, strict=True):
                found.append(compare.compare(decode_images(trained, z_nd + step_d), having, mask))
        columns = [without, *decoded.values(), having]
        shown += [
            np.stack([images[row] for images in columns]) for row in range(min(_SHOWN - len(shown), len(without)))
        ]
        progress(f"measured {last:,} of {len(pairs.without):,} pairs")
    draw_errors = {name: [compare.join(one) for one in kind] for name, kind in draw_parts.items()}
    errors = {name: compare.join(part) for name, part in parts.items()}
    errors |= {name: compare.average(kind) for name, kind in draw_errors.items()}
    return errors, draw_errors, float(np.mean(in_region)), shown
