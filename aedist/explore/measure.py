"""Does latent arithmetic do what it says? Measured on pairs of images that differ in one attribute alone.

The vector of the attribute is the mean encoding of training images that have it minus that of those that have not.
Added to the encoding of an image without it, it should decode to the image's partner. How near it comes is told
against doing nothing and against random vectors of the same length, and beside the best that this decoder could do,
the partner's own reconstruction. Outside the region in which the pair truly differs, nothing should change.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor
from torch.nn.functional import max_pool2d

from aedist.data.store import ShardStore
from aedist.errors import UserError
from aedist.explore.bootstrap import DEFINITION, mean_interval
from aedist.explore.encodings import decode_images, encode_first, encode_ids, read_originals
from aedist.explore.pairs import Pairs, find_pairs
from aedist.explore.record import about_split, facts
from aedist.noise import keyed_normal
from aedist.pictures import grid
from aedist.tracking.console import say_nothing
from aedist.trained import Trained, open_another_split

_SHOWN = 6
_DIFFERS = 8
_RANDOM, _BOOTSTRAP = 1, 2  # what a key is for

DEFINITIONS = {
    "vector": "Mean encoding of the training images with the attribute minus that of those without it.",
    "whole": "Mean squared error between the decoded image and the true partner; values in [0, 1], 256 levels.",
    "region": f"The same over the pixels where the pair's originals differ by more than {_DIFFERS} of 255 levels in "
    "some channel, and those within 1/64 of the image's longer side around them.",
    "outside": "The same over all other pixels, where the two originals agree: what is disturbed there.",
    "nothing": "The encoding of the image without the attribute, decoded unchanged.",
    "plus_vector": "That encoding with the vector added, decoded.",
    "random": "That encoding with a random vector of the same length added, decoded; mean over the draws.",
    "best": "The partner's own encoding, decoded: what a perfect vector would give.",
    "gain": "(nothing - plus_vector) / (nothing - best), of the means over pairs: 1 is perfect.",
    "interval": DEFINITION,
}


@dataclass(frozen=True)
class _Errors:
    """Mean squared errors of n images, each (n,); NaN where there is no such pixel."""

    whole: NDArray[np.float64]
    region: NDArray[np.float64]
    outside: NDArray[np.float64]


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
        draws: random vectors to compare with.
        seed: names the random vectors and the bootstrap's resamples.
        say: told what happens, and the verdict.

    Raises:
        UserError: if the data has no pairs, or the training images show the attribute always or never.
    """
    for option, value in (("--pairs", num_pairs), ("--draws", draws)):
        if value < 1:
            raise UserError(f"{option}: {value} is refused: it must be 1 or more")
    pairs = find_pairs(trained.split, attribute, num_pairs, say)
    vector_d, counts = _vector(trained, attribute, num_encodings, say)
    say(f"changing {len(pairs.without):,} images without {attribute} and comparing them with their partners")
    without, having = (read_originals(trained.split, ids) for ids in (pairs.without, pairs.having))
    z_nd = encode_ids(trained, trained.split, pairs.without, say).z_nd
    mask = _region(without, having)
    found = {
        "nothing": decode_images(trained, z_nd, say),
        "plus_vector": decode_images(trained, z_nd + vector_d, say),
        "best": decode_images(trained, encode_ids(trained, trained.split, pairs.having, say).z_nd, say),
    }
    errors = {name: _compare(images, having, mask) for name, images in found.items()}
    random = list[_Errors]()
    for number in range(draws):
        direction_d = keyed_normal(tuple(vector_d.shape), seed, _RANDOM, number).double()
        step_d = direction_d * (vector_d.norm() / direction_d.norm())
        random.append(_compare(decode_images(trained, z_nd + step_d, say), having, mask))
    errors["random"] = _Errors(
        *(np.mean([getattr(one, part) for one in random], axis=0) for part in ("whole", "region", "outside"))
    )

    results, wins = _judge(errors, seed)
    verdict = _verdict(attribute, results, wins)
    outside = results["outside"]
    say(
        f"outside the region where the pairs differ: {_number(outside['plus_vector'])} with the vector, "
        f"{_number(outside['nothing'])} doing nothing, {_number(outside['random'])} random"
    )
    say(verdict)
    numbers = facts(trained, "measure") | {
        "attribute": attribute,
        "seed": seed,
        "vector": {"norm": float(vector_d.norm()), **counts},
        "pairs": {"measured": len(pairs.without), "samples_without_partner": pairs.unpaired},
        "pixels_in_region": float(mask.mean()),
        "random_draws": draws,
        **results,
        "verdict": verdict,
        "beats": wins,
        "definitions": DEFINITIONS,
    }
    return _draw(trained, attribute, pairs, without, having, found, numbers), numbers


def _vector(
    trained: Trained, attribute: str, num_encodings: int, say: Callable[[str], None]
) -> tuple[Tensor, dict[str, Any]]:
    """The attribute's vector, float64 (d,), and of how many images it is."""
    split = open_another_split(trained, trained.config.data.split)
    z_nd = encode_first(trained, split, num_encodings, say).z_nd
    store = ShardStore(split.folder, split.index)
    known = [store.attributes(sample_id).get(attribute) for sample_id in range(len(z_nd))]
    has = torch.tensor([value is True for value in known])
    has_not = torch.tensor([value is False for value in known])
    counts = {"having": int(has.sum()), "without": int(has_not.sum()), "from": about_split(split)}
    say(f"the vector of {attribute}: {counts['having']:,} training images have it, {counts['without']:,} have not")
    if not counts["having"] or not counts["without"]:
        raise UserError(
            f"--measure: of the first {len(z_nd):,} training images {counts['having']:,} have {attribute} and "
            f"{counts['without']:,} have not, and both are needed; take more --encodings"
        )
    return z_nd[has].mean(0) - z_nd[has_not].mean(0), counts


def _region(one_nhwc: NDArray[np.uint8], other_nhwc: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where two images differ, and a little around it: (n, H, W)."""
    differs = np.abs(one_nhwc.astype(np.int16) - other_nhwc).max(axis=3) > _DIFFERS
    reach = max(1, round(max(one_nhwc.shape[1:3]) / 64))
    wide = max_pool2d(torch.from_numpy(differs).float()[:, None], 2 * reach + 1, stride=1, padding=reach)
    return wide[:, 0].bool().numpy()


def _compare(images_nhwc: NDArray[np.uint8], truth_nhwc: NDArray[np.uint8], mask_nhw: NDArray[np.bool_]) -> _Errors:
    errors_n3 = np.empty((len(images_nhwc), 3))
    for row, (image_hwc, other_hwc, mask_hw) in enumerate(zip(images_nhwc, truth_nhwc, mask_nhw, strict=True)):
        squared_hw = np.square((image_hwc.astype(np.float64) - other_hwc) / 255).mean(axis=2)
        parts = (squared_hw, squared_hw[mask_hw], squared_hw[~mask_hw])
        errors_n3[row] = [part.mean() if part.size else np.nan for part in parts]
    return _Errors(*errors_n3.T)


def _judge(errors: dict[str, _Errors], seed: int) -> tuple[dict[str, Any], dict[str, bool]]:
    """The means with their intervals, and which controls the vector beats: the whole interval lies below zero."""
    results: dict[str, Any] = {}
    for part in ("whole", "region", "outside"):
        values = {name: getattr(error, part) for name, error in errors.items()}
        values["plus_vector_minus_nothing"] = values["plus_vector"] - values["nothing"]
        values["plus_vector_minus_random"] = values["plus_vector"] - values["random"]
        results[part] = {name: _interval(value, seed) for name, value in values.items()}
    means = {name: error.whole.mean() for name, error in errors.items()}
    possible = means["nothing"] - means["best"]
    results["gain"] = float((means["nothing"] - means["plus_vector"]) / possible) if possible > 0 else None
    wins = {
        control: results["whole"][f"plus_vector_minus_{control}"]["interval"][1] < 0
        for control in ("nothing", "random")
    }
    return results, wins


def _interval(values_n: NDArray[np.float64], seed: int) -> dict[str, Any]:
    """As ``mean_interval``, over the pairs that have such pixels."""
    known = values_n[np.isfinite(values_n)]
    if not len(known):
        return {"mean": None, "interval": [None, None]}
    return mean_interval(known, seed + _BOOTSTRAP)


def _verdict(attribute: str, results: dict[str, Any], wins: dict[str, bool]) -> str:
    said = {
        control: f"{'beats' if is_won else 'does not beat'} {name}"
        for (control, is_won), name in zip(wins.items(), ("doing nothing", "random vectors"), strict=True)
    }
    both = "beats both controls" if all(wins.values()) else f"{said['nothing']}, {said['random']}"
    means = {name: results["whole"][name]["mean"] for name in ("plus_vector", "nothing", "random", "best")}
    gain = "" if results["gain"] is None else f"; {100 * results['gain']:.0f} % of the possible gain"
    return (
        f"the vector of {attribute} {both}: mean squared error to the true partner {means['plus_vector']:.5f}, doing "
        f"nothing {means['nothing']:.5f}, random {means['random']:.5f}, the partner's reconstruction "
        f"{means['best']:.5f}{gain}"
    )


def _number(result: dict[str, Any]) -> str:
    return "no such pixels" if result["mean"] is None else f"{result['mean']:.5f}"


def _draw(
    trained: Trained,
    attribute: str,
    pairs: Pairs,
    without: NDArray[np.uint8],
    having: NDArray[np.uint8],
    found: dict[str, NDArray[np.uint8]],
    numbers: dict[str, Any],
) -> Image:
    """A row a pair."""
    columns = [without, found["nothing"], found["plus_vector"], found["best"], having]
    heads = ["without", "decoded", f"decoded with + {attribute}", "partner decoded", "true partner"]
    rows = [np.stack([images[row] for images in columns]) for row in range(min(_SHOWN, len(without)))]
    labels = [f"{one} and {other}" for one, other in zip(pairs.without, pairs.having, strict=True)][: len(rows)]
    whole = numbers["whole"]
    words = ", ".join(f"{name} {whole[key]['mean']:.5f}" for name, key in _TITLE.items())
    first = f"{trained.split.index.name}, {trained.checkpoint.name}: the vector of {attribute}"
    return grid(rows, labels, heads, f"{first}\nerror to the partner: {words}")


_TITLE = {"with the vector": "plus_vector", "doing nothing": "nothing", "random": "random", "partner decoded": "best"}
