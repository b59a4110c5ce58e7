"""The record of a full evaluation as tables: verdicts, metrics, baselines, sets of images, what is missing.

Records of older versions have fewer parts, and a part that is not there makes no table.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aedist.report import words
from aedist.report.read import Record, Run, number

_PARTS = {
    "mean": "Mean",
    "std": "Std",
    "interval": "95 % of the mean",
    "median": "Median",
    "q05": "5 %",
    "q95": "95 %",
    "min": "Least",
    "max": "Greatest",
}
"""The columns of the table of metrics."""
_LEVELS = ("very poor", "poor", "decent", "good", "very good")
BASELINES = {"pca": "PCA", "mean_image": "Mean image", "jpeg": "JPEG", "webp": "WebP"}
SETS = {
    "reconstructions": "Reconstructions",
    "prior": "Samples of the prior",
    "gaussian": "Samples of a Gaussian",
    "mixture": "Samples of a mixture",
}


def measurements(run: Run) -> dict[str, Any]:
    """What is known of the quality: the full evaluation, else the last one of the training, else empty.

    Returns:
        ``where`` (data and split), ``num_images``, ``spreads`` ({metric: {part: number or (low, high)}}, the parts
        named as in a record, only the mean sure to be there), ``parts`` ({part: its column's head} of those that any
        metric has), ``definitions``, ``step``, ``full``.
    """
    if run.evaluation.get("metrics"):
        data, source = _object(run.evaluation, "data"), run.evaluation
        found = {
            name: value if isinstance(value, dict) else {"mean": value} for name, value in source["metrics"].items()
        }
        where, num_images = f"{data.get('name')} ({data.get('split')})", number(data, "num_images")
    elif run.evaluations:
        source = run.evaluations[-1]
        found = {name: {"mean": value} for name, value in source.get("metrics", {}).items()}
        name = run.environment.get("data", {}).get("name")
        where = f"{name} ({source.get('split')})" if name else source.get("split")
        num_images = number(source, "num_images")
    else:
        return {}
    return {
        "where": where,
        "num_images": num_images,
        "spreads": {name: {part: _part(spread, part) for part in _PARTS} for name, spread in found.items()},
        "parts": _columns(list(found.values())),
        "definitions": _object(source, "definitions"),
        "step": number(source, "step"),
        "full": source is run.evaluation,
    }


def _columns(spreads: Sequence[Record]) -> dict[str, str]:
    """The columns that the table has: quantiles where there are any, else the extremes."""
    known = {part: label for part, label in _PARTS.items() if any(part in spread for spread in spreads)}
    hidden = ("min", "max") if "q05" in known and "q95" in known else ()
    return {part: label for part, label in known.items() if part not in hidden}


def _part(spread: Record, part: str) -> float | tuple[float, float]:
    if part != "interval":
        return number(spread, part)
    ends = spread.get(part)
    low, high = ends if isinstance(ends, list) and len(ends) == 2 else (math.nan, math.nan)
    return number({"low": low}, "low"), number({"high": high}, "high")


def part_text(value: float | tuple[float, float], decimals: int) -> str:
    """A cell of the table of metrics."""
    if isinstance(value, tuple):
        low, high = (words.decimal(end, decimals) for end in value)
        return low if low == high == words.NOTHING else f"{low} to {high}"
    return words.decimal(value, decimals)


def verdicts(run: Run) -> list[dict[str, Any]]:
    """The rows of the table of verdicts; ``level`` is 1 (very poor) to 5 (very good), 0 where there is no word.

    What is to be tried is told once, though it may follow from several verdicts.
    """
    rows: list[dict[str, Any]] = []
    for found in _list(run.evaluation, "verdicts"):
        word, unit, value = found.get("word"), found.get("unit") or "", number(found, "value")
        following = found.get("next") or ""
        known = str(found.get("metric", "")).removesuffix("_of_samples")
        is_known = words.metric(known).better != ""
        text = words.decimal(value, words.metric(known).decimals) if is_known else words.significant(value)
        rows.append(
            {
                "label": found.get("label") or found.get("metric") or "",
                "value": f"{text}{words.SPACE}{unit}" if unit else text,
                "word": word or "no word",
                "level": _LEVELS.index(word) + 1 if word in _LEVELS else 0,
                "threshold": found.get("threshold") or "",
                "reason": found.get("reason") or "",
                "next": "" if any(row["next"] == following for row in rows) else following,
            }
        )
    return rows


def comparison(run: Run) -> dict[str, Any]:
    """The model and the baselines by the means of the metrics they share; empty without a baseline.

    Returns:
        ``metrics`` (names), ``rows`` (each ``label, note, is_fair, cells``: text and whether it is the best of its
        column). It is not fair that a codec took more bytes than an encoding has.
    """
    metrics, baselines = _object(run.evaluation, "metrics"), _object(run.evaluation, "baselines")
    order = [
        *(name for name in BASELINES if name in baselines),
        *(name for name in baselines if name not in BASELINES),
    ]
    measured = {name: _object(_object(baselines, name), "metrics") for name in order}
    names = [name for name in metrics if any(name in found for found in measured.values())]
    if not names:
        return {}
    means = {"": {name: number(metrics, name, "mean") for name in names}}
    means |= {kind: {name: number(found, name, "mean") for name in names} for kind, found in measured.items()}
    fair = [row for kind, row in means.items() if not number(baselines, kind, "images_over") > 0]
    best = {name: best_of(name, [row[name] for row in fair]) for name in names}
    rows: list[dict[str, Any]] = []
    for kind, row in means.items():
        cells = [
            (words.decimal(row[name], words.metric(name).decimals), row in fair and row[name] == best[name])
            for name in names
        ]
        told = _object(baselines, kind)
        notes = [str(told[part]) for part in ("words", "note") if told.get(part)]
        rows.append(
            {
                "label": _label(kind, told),
                "note": " ".join(_sentence(note) for note in notes),
                "cells": cells,
                "is_fair": row in fair,
            }
        )
    return {"metrics": names, "rows": rows}


def _label(kind: str, baseline: Record) -> str:
    if not kind:
        return "This model"
    components = number(baseline, "components")
    label = BASELINES.get(kind, kind)
    return f"{label}-{words.count(components)}" if math.isfinite(components) else label


def best_of(name: str, values: Sequence[float]) -> float:
    """The best of a metric's finite values, NaN where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return math.nan
    return max(finite) if words.metric(name).better.startswith("higher") else min(finite)


def sets(run: Run) -> dict[str, Any]:
    """The distances of sets of images from the originals; empty where there are none.

    Returns:
        ``rows`` (each ``label, words, fid, kid, precision, recall, num_images``), ``flags`` (a sentence and whose it
        is), ``references`` (what they were held against, each once).
    """
    found = {kind: block for kind, block in _object(run.evaluation, "distributions").items() if isinstance(block, dict)}
    flags: dict[str, list[str]] = {}
    rows: list[dict[str, Any]] = []
    for kind in sorted(found, key=lambda kind: (list(SETS).index(kind) if kind in SETS else len(SETS), kind)):
        block, label = found[kind], SETS.get(kind, kind)
        for flag in block.get("flags") or []:
            flags.setdefault(str(flag), []).append(label.lower())
        kid, std = (words.decimal(number(block, "kid", part), 5) for part in ("mean", "std"))
        row = {name: words.decimal(number(block, name), words.metric(name).decimals) for name in _ONE_NUMBER}
        row |= {"kid": kid if std == words.NOTHING else f"{kid} \N{PLUS-MINUS SIGN} {std}", "label": label}
        rows.append(
            row
            | {
                "words": _sentence(str(block.get("words") or "")),
                "num_images": words.count(number(block, "num_images")),
            }
        )
    told = [
        _sentence(flag) if len(whose) == len(rows) else _sentence(f"{words.listed(whose)}: {flag}")
        for flag, whose in flags.items()
    ]
    references = dict.fromkeys(str(block.get("reference")) for block in found.values() if block.get("reference"))
    return {"rows": rows, "flags": told, "references": list(references)} if rows else {}


_ONE_NUMBER = ("fid", "precision", "recall")


def missing(run: Run) -> list[dict[str, str]]:
    """What could not be measured: ``name, reason, fix``."""
    rows: list[dict[str, str]] = []
    for name, why in _object(run.evaluation, "missing").items():
        told = why if isinstance(why, Mapping) else {"reason": why}
        label = words.metric(name).label if words.metric(name).better else name
        rows.append(
            {"name": label, "reason": _sentence(str(told.get("reason") or "")), "fix": str(told.get("fix") or "")}
        )
    return rows


def warnings(run: Run) -> list[str]:
    """The sentences that warn."""
    return [_sentence(str(warning)) for warning in run.evaluation.get("warnings") or []]


def _sentence(text: str) -> str:
    """Begun with a capital and ended with a stop."""
    return text[:1].upper() + text[1:] + ("" if not text or text[-1] in ".!?" else ".")


def _object(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def _list(record: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = record.get(name)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
