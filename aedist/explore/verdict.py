"""What the errors of a vector and of its controls say: the gain with its interval, and whether a control is beaten.

A control is beaten only where the interval of the paired difference lies below zero; of few pairs nothing is said.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aedist.bootstrap import definition, mean_interval, ratio_interval
from aedist.explore.compare import Errors

FEWEST_PAIRS = 20
CONTROLS = {
    "nothing": "doing nothing",
    "random_isotropic": "random vectors",
    "random_between_images": "random differences between images",
}
"""What the vector must beat, as the record names it, and in words."""

DEFINITIONS = {
    "gain": "nothing - plus_vector over the whole image, mean over pairs, with its interval: above zero, the vector "
    "comes nearer to the partner.",
    "way": "1 - (plus_vector - best) / (nothing - best), of the means over pairs: how much of the way from doing "
    "nothing to the partner's own reconstruction the vector goes; 1 is all of it. Null where that way is not longer "
    "than nothing, as far as the pairs tell.",
    "beats": "For each control, whether the interval of plus_vector minus it over the whole image lies below zero; "
    f"null under {FEWEST_PAIRS} pairs, of which no interval can be trusted.",
    "interval": f"{definition('pairs')} It says how the mean could differ with other pairs alone; it leaves out how it "
    "would differ with other random vectors, other training images of the vector, or another training of the model.",
}


def judge(errors: dict[str, Errors], seed: int) -> dict[str, Any]:
    """The means and paired differences with their intervals for each part, the gain, the way, and what is beaten.

    Args:
        errors: of ``plus_vector``, ``best`` and each of ``CONTROLS``, over the same pairs.
        seed: names the resamples.
    """
    results: dict[str, Any] = {}
    for part in ("whole", "region", "outside"):
        values = {name: getattr(error, part) for name, error in errors.items()}
        for control in CONTROLS:
            values[f"plus_vector_minus_{control}"] = values["plus_vector"] - values[control]
        results[part] = {name: _interval(value, seed) for name, value in values.items()}
    whole = {name: error.whole for name, error in errors.items()}
    gain_n, possible_n = whole["nothing"] - whole["plus_vector"], whole["nothing"] - whole["best"]
    results["gain"] = mean_interval(gain_n, seed)
    results["way"] = ratio_interval(gain_n, possible_n, seed)
    can_judge = len(gain_n) >= FEWEST_PAIRS
    results["beats"] = {
        control: results["whole"][f"plus_vector_minus_{control}"]["interval"][1] < 0 if can_judge else None
        for control in CONTROLS
    }
    return results


def verdict(attribute: str, num_pairs: int, results: dict[str, Any]) -> str:
    """What was found, in one line."""
    if num_pairs < FEWEST_PAIRS:
        return (
            f"whether the vector of {attribute} works cannot be judged from {num_pairs} pairs; measure "
            f"{FEWEST_PAIRS} or more"
        )
    gain, way = results["gain"], results["way"]
    low, high = gain["interval"]
    went = (
        "" if way is None else f", {_percent(way['ratio'])} ({' to '.join(map(_percent, way['interval']))}) of the way"
    )
    said = (_said(results["whole"][f"plus_vector_minus_{name}"]["interval"], words) for name, words in CONTROLS.items())
    return (
        f"the vector of {attribute} lowers the mean squared error to the true partner by {gain['mean']:.5f} "
        f"(95 % interval {low:.5f} to {high:.5f}){went}: it {', '.join(said)}"
    )


def errors_in_words(results: dict[str, Any]) -> list[str]:
    """Each mean error to the true partner over the whole image, in words."""
    names = {"plus_vector": "with the vector", **CONTROLS, "best": "partner decoded"}
    return [f"{words} {number(results['whole'][name])}" for name, words in names.items()]


def number(result: dict[str, Any]) -> str:
    """A mean as it is printed."""
    return "no such pixels" if result["mean"] is None else f"{result['mean']:.5f}"


def _said(interval: list[float], control: str) -> str:
    low, high = interval
    return f"beats {control}" if high < 0 else f"is beaten by {control}" if low > 0 else f"does not beat {control}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _interval(values_n: NDArray[np.float64], seed: int) -> dict[str, Any]:
    """As ``mean_interval``, over the pairs that have such pixels."""
    known_n = values_n[np.isfinite(values_n)]
    return mean_interval(known_n, seed) if len(known_n) else {"mean": None, "interval": [None, None]}
