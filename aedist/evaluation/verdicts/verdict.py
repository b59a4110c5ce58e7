"""What the numbers of an evaluation mean: a word from very poor to very good, why, and what to try next.

The words are those of ``scales.py``, the things to try those of ``advice.py``.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aedist.evaluation.verdicts.advice import is_grey, is_variational, next_thing
from aedist.evaluation.verdicts.scales import FEATURES_OF_FID, FEWEST_OF_KID, SCALES, WORDS

SAMPLES = {"prior": "the prior", "gaussian": "a Gaussian", "mixture": "a mixture"}
_GOOD = WORDS.index("good")
_SIMILAR = 2
_STRANGE = "the network behind it was trained on photographs, not on grey images as these"
_ADVERBS = ("very poorly", "poorly", "decently", "well", "very well")


def judge(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The verdicts on an evaluation, of what was measured; nothing of what is missing or not a number.

    Args:
        record: comprehensive_evaluation.json, before it has verdicts.

    Returns:
        Each ``metric, label, value, unit, word, threshold, reason, next``. ``word`` is None where a value is not to be
        judged, which ``reason`` says why; ``next`` is None where there is no need.
    """
    return [*_images(record), *_sets(record), *_encodings(record)]


def _images(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    mse, pca = number(record, "metrics", "mse", "mean"), number(record, "baselines", "pca", "metrics", "mse", "mean")
    if mse >= 0 and pca > 0:
        yield _to_pca(record, mse, pca)
    elif mse >= 0:
        yield _verdict(record, "mse", mse, "how far PCA comes with as many numbers is not known")
    psnr = number(record, "metrics", "psnr", "mean")
    off = f"a pixel is off by {100 * math.sqrt(mse) if mse >= 0 else 100 * 10 ** (-psnr / 20):.1f} % of the range from "
    yield from _maybe(record, "psnr", psnr, f"{off}black to white (root mean square)")
    for name in ("ssim", "lpips"):
        yield from _maybe(record, name, number(record, "metrics", name, "mean"))


def _to_pca(record: Mapping[str, Any], mse: float, pca: float) -> dict[str, Any]:
    components = number(record, "baselines", "pca", "components")
    mean = number(record, "baselines", "mean_image", "metrics", "mse", "mean")
    told = (
        f"{mse:.5f} against {pca:.5f} of PCA with {f'{components:,.0f}' if components >= 0 else 'as many'} components"
    )
    if mse >= mean:
        why = f"{told}, and {mean:.5f} of the mean image: nothing is learnt"
        return _verdict(record, "mse_to_pca", mse / pca, why, level=0)
    what = ": it loses to the best linear encoding of that size" if mse >= pca else ", the best linear encoding"
    if _difference_is_chance(record):
        what += "; the difference could be chance"
    return _verdict(record, "mse_to_pca", mse / pca, told + what)


def _difference_is_chance(record: Mapping[str, Any]) -> bool:
    """Whether the 95 % interval of the difference from PCA, on the same images, has zero in it, or there is none."""
    difference = record["baselines"]["pca"].get("model_minus_pca")
    if not isinstance(difference, Mapping):
        return False
    interval = difference.get("interval")
    return not isinstance(interval, list | tuple) or interval[0] <= 0 <= interval[-1]


def _sets(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from _of_set(record, "reconstructions", "", "")
    drawn = best_samples(record)
    if drawn:
        yield from _of_set(record, drawn, "_of_samples", f", {drawn}")


def _of_set(record: Mapping[str, Any], kind: str, ending: str, of: str) -> Iterator[dict[str, Any]]:
    num_images = number(record, "distributions", kind, "num_images")
    fid, kid = number(record, "distributions", kind, "fid"), number(record, "distributions", kind, "kid", "mean")
    is_biased = not num_images > FEATURES_OF_FID
    told_with = "kid" if is_biased or not math.isfinite(fid) else "fid"
    times = _times_reconstructions(record, kind, told_with) if ending else math.nan
    decoder_limits = times <= _SIMILAR
    blamed = "the decoder" if decoder_limits else "what is drawn"
    limit = f"{times:.1f} times that of the reconstructions, so {blamed} limits them" if math.isfinite(times) else ""
    strange = _STRANGE if is_grey(record) and not ending else ""
    count = f"{num_images:,.0f}" if num_images >= 0 else "so few"
    for name, value in (("fid", fid), ("kid", kid)):
        for found in _maybe(record, name + ending, value, *((limit, strange) if name == told_with else ())):
            found["label"] += of
            if found["next"] and decoder_limits:
                found["next"] = next_thing("likeness", record)
            if name == "fid" and is_biased:
                found |= {"word": None, "next": None}
                found["reason"] = (
                    f"Of {count} images FID is biased upwards: no word, and comparable at this number only."
                )
            if name == "kid" and not num_images >= FEWEST_OF_KID:
                found |= {"word": None, "next": None, "reason": f"Of {count} images KID is mostly chance: no word."}
            yield found


def _times_reconstructions(record: Mapping[str, Any], kind: str, by: str) -> float:
    """How much further than reconstructions, which the same decoder makes, samples are from the data; NaN unknown.

    By ``fid`` or ``kid``, whichever is judged: a bias that both sets share would bring the ratio of FID near to one.
    """
    path = (by,) if by == "fid" else (by, "mean")
    own = number(record, "distributions", "reconstructions", *path)
    return number(record, "distributions", kind, *path) / own if own > 0 else math.nan


def best_samples(record: Mapping[str, Any]) -> str:
    """Which density's samples are nearest to the data: by KID, by FID where that is missing; empty without any."""
    found = {kind: number(record, "distributions", kind, "kid", "mean") for kind in SAMPLES}
    if not any(map(math.isfinite, found.values())):
        found = {kind: number(record, "distributions", kind, "fid") for kind in SAMPLES}
    finite = {kind: value for kind, value in found.items() if math.isfinite(value)}
    return min(finite, key=finite.__getitem__, default="")


def _encodings(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    total = number(record, "latents", "dimensions")
    name = "active_units" if math.isfinite(number(record, "latents", "active_units")) else "active_dimensions"
    active = number(record, "latents", name)
    does = "differ among images"
    if name == "active_units":
        does = "carry information" + (", the KL has switched off the others" if active < total else "")
    yield from _maybe(
        record, name, 100 * active / total if total > 0 else math.nan, f"{active:.0f} of {total:.0f} {does}"
    )
    nats, chance = (number(record, "latents", "prior_gap", part) for part in ("nats", "nats_by_chance"))
    if total > 0 and math.isfinite(nats):
        beyond = nats - chance if math.isfinite(chance) else nats
        found = _verdict(record, "prior_gap", max(0.0, beyond) / total, "beyond what chance alone would show")
        if chance / total >= SCALES["prior_gap"].bounds[_GOOD - 1]:
            told = f"Chance alone would show {chance / total:.2f} nats a number of so few images: no word."
            found |= {"word": None, "next": None, "reason": told}
        yield found
    accuracy, chance = (number(record, "latents", "probe", part) for part in ("accuracy", "chance"))
    if math.isfinite(accuracy) and chance < 1:
        gained = 100 * (accuracy - chance) / (1 - chance)
        good = chance + SCALES["probe"].bounds[2] / 100 * (1 - chance)
        why = f"a linear classifier of encodings is right so often; by the commonest class alone, {100 * chance:.1f} %"
        yield from _maybe(record, "probe", 100 * accuracy, why, level=SCALES["probe"].level(gained), good=100 * good)


def _maybe(record: Mapping[str, Any], name: str, value: float, *why: str, **own: float) -> Iterator[dict[str, Any]]:
    if math.isfinite(value):
        yield _verdict(record, name, value, *why, **own)


def _verdict(record: Mapping[str, Any], name: str, value: float, *why: str, **own: float) -> dict[str, Any]:
    scale = SCALES[name]
    level = int(own.get("level", scale.level(value)))
    meaning = scale.reasons[max(0, min(2, level - 1))]
    reason = "; ".join(part for part in (meaning, *why) if part)
    return {
        "metric": name,
        "label": scale.label,
        "value": value,
        "unit": scale.unit,
        "word": WORDS[level],
        "threshold": f"good from {own['good']:.0f} %" if "good" in own else scale.threshold,
        "reason": reason[:1].upper() + reason[1:] + ".",
        "next": next_thing(scale.topic, record) if level < _GOOD else None,
    }


def number(record: Mapping[str, Any], *names: str) -> float:
    """The number at a path of keys, NaN where there is none."""
    value: Any = record
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else math.nan


def bottom_line(record: Mapping[str, Any], verdicts: Sequence[Mapping[str, Any]]) -> str:
    """One paragraph on what an evaluation found: reconstructions, samples, encodings, what is missing, what to try.

    Args:
        record: comprehensive_evaluation.json.
        verdicts: what ``judge`` made of it.
    """
    found = {verdict["metric"]: verdict for verdict in verdicts if verdict.get("word")}
    told = [*_of_images(record, found), *_of_sets(record, found), *_of_encodings(found)]
    if not told:
        return "Nothing that could be judged was measured."
    absent = record.get("missing")
    if isinstance(absent, Mapping) and absent:
        names = _listed([str(name).upper() for name in absent])
        told.append(f"{names} {'is' if len(absent) == 1 else 'are'} missing, so this is not the whole picture.")
    worst = sorted((verdict for verdict in found.values() if verdict.get("next")), key=_level)
    if worst:
        told.append(f"To try first: {worst[0]['next']}.")
    return " ".join(told)


def _level(verdict: Mapping[str, Any]) -> int:
    return WORDS.index(verdict["word"])


def _of_images(record: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    model = record.get("model")
    who = "The VAE" if isinstance(model, Mapping) and is_variational(model) else "The autoencoder"
    judged = [found[name] for name in ("psnr", "ssim", "lpips") if name in found]
    if judged:
        levels = sorted({_level(verdict) for verdict in judged}, reverse=True)
        words = [
            f"{WORDS[level]} by {_listed([verdict['label'] for verdict in judged if _level(verdict) == level])}"
            for level in levels
        ]
        yield f"{who} reconstructs {_ADVERBS[levels[-1]]}: {_listed(words)}."
    if "mse_to_pca" in found:
        ratio = found["mse_to_pca"]["value"]
        if _difference_is_chance(record):
            yield "Whether it is better or worse than PCA with as many numbers, these images do not tell."
        elif ratio >= 1:
            yield "It loses to PCA with as many numbers: it knows less of these images than a linear projection does."
        elif ratio > 0:
            yield f"PCA with as many numbers makes {1 / ratio:.1f} times its squared error."


def _of_sets(record: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    parts: list[str] = []
    for ending, what in (
        ("", "the reconstructions"),
        ("_of_samples", f"samples of {SAMPLES.get(best_samples(record))}"),
    ):
        by = "fid" if f"fid{ending}" in found else "kid"
        if by + ending in found:
            parts.append(f"{what} are {found[by + ending]['word']} by {by.upper()}")
    if parts:
        yield f"As sets of images, {_listed(parts)}."


def _of_encodings(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    words = {
        "active_units": "its use of the numbers it has is {}",
        "active_dimensions": "its use of the numbers it has is {}",
        "prior_gap": "their match with the prior is {}",
        "probe": "what they tell of the classes is {}",
    }
    told = [text.format(found[name]["word"]) for name, text in words.items() if name in found]
    if told:
        yield f"As for the encodings, {_listed(told)}."


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
