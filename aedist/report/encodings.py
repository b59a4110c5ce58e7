"""What the record of a full evaluation tells of the encodings, as a list of facts.

Each number of ``latents`` makes a line, also one that this version has no words for; what there is a value of for each
number of an encoding is told by its range and its median.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from aedist.report import words
from aedist.report.read import Record, Run, number

_OF_ALL = ("active_dimensions", "active_units", "constant", "never_positive", "components_95")
"""Counts of numbers of an encoding, told beside how many there are."""
_ONLY_ABOVE_ZERO = ("constant", "never_positive", "not_finite")
_IN_DETAIL = ("std", "kl", "prior_gap")
"""Sections of ``latents`` that are for those who ask; but the gap as one number is for all."""
_FOR_ALL = "prior_gap.nats"
_FACTS = {
    "not_finite": ("Images left out, not finite", ""),
    "dimensions": ("Numbers in an encoding", ""),
    "active_dimensions": ("Active numbers", ""),
    "active_units": ("Active units", ""),
    "constant": ("Constant numbers", ""),
    "never_positive": ("Numbers never above zero", ""),
    "mean_activation": ("Mean activation", ""),
    "total_variance": ("Total variance", ""),
    "std": ("Standard deviation of a number", ""),
    "effective_rank": ("Effective rank", ""),
    "components_95": ("Components of 95 % of the variance", ""),
    "kl_total": ("KL to the prior", "nats an image"),
    "kl": ("KL of a number", "nats"),
    "prior_gap.nats": ("Aggregate posterior to the prior", "nats"),
    "prior_gap.nats_per_dimension": ("Its gap a number", "nats"),
    "prior_gap.nats_by_chance": ("What chance alone would show", "nats"),
    "prior_gap.mean_norm": ("Length of its mean", ""),
    "prior_gap.mean_largest": ("Largest entry of its mean", ""),
    "prior_gap.covariance_frobenius": ("Its covariance to the identity (Frobenius)", ""),
    "prior_gap.covariance_largest": ("Largest deviation of an eigenvalue from 1", ""),
    "prior_gap.marginals": ("Gap of a number alone", "nats"),
}


def facts(run: Run) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(label, value) of each fact on the encodings, first those for all, then the details; both may be empty."""
    latents = run.evaluation.get("latents")
    if not isinstance(latents, dict):
        return [], []
    told = dict(_values({name: value for name, value in latents.items() if name not in ("probe", "num_images")}))
    order = [*(name for name in _FACTS if name in told), *(name for name in told if name not in _FACTS)]
    for_all: list[tuple[str, str]] = []
    details: list[tuple[str, str]] = []
    for name in order:
        label, unit = _FACTS.get(name, (name.replace("_", " ").replace(".", ", ").capitalize(), ""))
        text, total = told[name], number(latents, "dimensions")
        if name in _OF_ALL and total > 0:
            text += f" of {words.count(total)} ({words.percent(number(latents, name) / total)})"
        is_detail = name.split(".")[0] in _IN_DETAIL and name != _FOR_ALL
        (details if is_detail else for_all).append((label, f"{text} {unit}" if unit else text))
    return [*for_all, *_probe(latents)], details


def _values(record: Record, path: str = "") -> Iterator[tuple[str, str]]:
    """(path of keys, text) of each number, and of each spread over the numbers of an encoding."""
    for name, value in record.items():
        key = f"{path}.{name}" if path else name
        if isinstance(value, dict) and {"min", "median", "max"} <= value.keys():
            least, middle, most = (words.significant(number(value, part)) for part in ("min", "median", "max"))
            if middle != words.NOTHING:
                yield key, f"{least} to {most}, median {middle}"
        elif isinstance(value, dict):
            yield from _values(value, key)
        elif isinstance(value, int | float) and not isinstance(value, bool) and (value or name not in _ONLY_ABOVE_ZERO):
            yield key, words.count(value) if isinstance(value, int) else words.significant(value, 4)


def _probe(latents: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    probe = latents.get("probe")
    if not isinstance(probe, dict):
        return
    accuracy, chance, fitted = (number(probe, part) for part in ("accuracy", "chance", "num_fitted"))
    if not math.isfinite(accuracy):
        yield "Linear probe of the classes", str(probe.get("reason") or words.NOTHING)
        return
    told = f"{words.percent(accuracy)} right"
    interval = probe.get("interval")
    if isinstance(interval, list) and len(interval) == 2:
        low, high = (words.percent(number({"end": end}, "end")) for end in interval)
        told += f" (95 % interval {low} to {high})"
    if math.isfinite(chance):
        told += f", by the commonest class alone {words.percent(chance)}"
    if math.isfinite(fitted):
        told += f"; fitted to {words.count(fitted)} encodings"
    yield "Linear probe of the classes", told
