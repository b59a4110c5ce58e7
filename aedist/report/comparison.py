"""Several runs as tables: what they are, where their configurations differ, how well each does."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aedist.report import measured, words
from aedist.report.interruptions import placed
from aedist.report.read import Run, number
from aedist.report.settings import settings

_OWN = ("run.dir",)
"""Keys that differ between any two runs and say nothing."""
_DISTANCES = ("fid", "kid")
_UNKNOWN = (math.nan, math.nan)


@dataclass(frozen=True)
class Row:
    """One fact or key of every run; ``differs`` where the runs do not agree."""

    label: str
    cells: tuple[str, ...]
    differs: bool


@dataclass(frozen=True)
class Cell:
    """A number of a run: its text, its 95 % interval or of how many images below it, and whether it is the best."""

    text: str
    under: str
    is_best: bool


def facts(runs: Sequence[Run]) -> list[Row]:
    """What the runs are: data, model, training, machines."""
    told: dict[str, Callable[[Run], str]] = {
        "Model": lambda run: str(run.config.get("model", {}).get("kind", words.NOTHING)),
        "Parameters": lambda run: words.count(number(run.environment, "model", "parameters")),
        "Numbers in an encoding": lambda run: words.count(number(run.evaluation, "model", "latent_numbers")),
        "Trained on": lambda run: _data(run.environment.get("data", {}), "num_samples"),
        "Its fingerprint": lambda run: _short(run.environment.get("data", {})),
        "Images seen": lambda run: words.count(number(run.last, "images")),
        "Images a step": lambda run: words.count(words.images_per_step(run)),
        "Steps": lambda run: words.count(number(run.last, "step")),
        "Time of the finished epochs": lambda run: words.duration(words.training_seconds(run)),
        "Images a second (median)": lambda run: words.count(
            words.median([number(record, "images_per_second") for record in run.train])
        ),
        "Last start on": lambda run: placed(run.attempts[-1]) if run.attempts else words.NOTHING,
        "Interruptions": lambda run: str(max(0, len(run.attempts) - 1)) if run.attempts else words.NOTHING,
        "Code": lambda run: str((run.attempts[-1].get("git") if run.attempts else None) or words.NOTHING)[:12],
    }
    return [_row(label, [value(run) for run in runs]) for label, value in told.items()]


def differences(runs: Sequence[Run]) -> list[Row]:
    """The keys of the configurations that are not the same in all runs, in their order."""
    found = [{setting.key: setting.value for setting in settings(run.config)} for run in runs]
    keys = dict.fromkeys(key for one in found for key in one if key not in _OWN)
    rows = [_row(key, [one.get(key, words.NOTHING) for one in found]) for key in keys]
    return [row for row in rows if row.differs]


def _row(label: str, cells: Sequence[str]) -> Row:
    return Row(label, tuple(cells), len(set(cells)) > 1)


def results(runs: Sequence[Run]) -> dict[str, Any]:
    """Each run's metrics; empty where none was measured.

    Returns:
        ``heads`` (a label each), ``rows`` (a tuple of ``Cell`` for each run), ``judged`` (what each was judged on),
        ``are_comparable``: whether all were judged on the same images, without which none is the best;
        ``has_intervals`` and ``has_distances``: what stands below the numbers.
    """
    found = [measured.measurements(run) for run in runs]
    names = list(dict.fromkeys(name for one in found for name in one.get("spreads", {})))
    distances = [name for name in _DISTANCES if any(math.isfinite(_distance(run, name)) for run in runs)]
    if not names:
        return {}
    judged = [_judged(run, one) for run, one in zip(runs, found, strict=True)]
    are_comparable = len({key for _, key in judged}) == 1
    means = {name: [number(one.get("spreads", {}).get(name, {}), "mean") for one in found] for name in names}
    means |= {name: [_distance(run, name) for run in runs] for name in distances}
    rows: list[tuple[Cell, ...]] = []
    for place, (run, one) in enumerate(zip(runs, found, strict=True)):
        cells: list[Cell] = []
        for name, values in means.items():
            decimals, can_be_best = words.metric(name).decimals, are_comparable and _is_better(name)
            if name in distances:  # which few images make larger
                under = f"N{words.SPACE}={words.SPACE}{words.count(_num_images(run))}" if _num_images(run) > 0 else ""
                can_be_best = can_be_best and len({_num_images(other) for other in runs if _num_images(other) > 0}) == 1
            else:
                told = measured.part_text(one.get("spreads", {}).get(name, {}).get("interval", _UNKNOWN), decimals)
                under = "" if told == words.NOTHING else told
            is_best = can_be_best and values[place] == measured.best_of(name, values)
            cells.append(Cell(words.decimal(values[place], decimals), under, is_best))
        rows.append(tuple(cells))
    heads = [f"{words.metric(name).label}{' (dB)' if words.metric(name).unit == 'dB' else ''}" for name in means]
    return {
        "heads": heads,
        "rows": rows,
        "judged": [told for told, _ in judged],
        "are_comparable": are_comparable,
        "has_intervals": any(cell.under for row in rows for cell in row[: len(names)]),
        "has_distances": bool(distances),
    }


def _is_better(name: str) -> bool:
    return words.metric(name).better.endswith("is better")


def _distance(run: Run, name: str) -> float:
    """A distance of the reconstructions as a set from the originals, NaN where there is none."""
    block = _reconstructions(run)
    return number(block, name, "mean") if name == "kid" else number(block, name)


def _num_images(run: Run) -> float:
    """The images that the distances are taken of, NaN where there are none."""
    return number(_reconstructions(run), "num_images")


def _reconstructions(run: Run) -> dict[str, Any]:
    return (run.evaluation.get("distributions") or {}).get("reconstructions") or {}


def _judged(run: Run, found: dict[str, Any]) -> tuple[str, object]:
    """What a run was judged on in words, and what is the same for runs judged on the same images."""
    if not found:
        return "not measured", None
    told = f"{found['where']}, N{words.SPACE}={words.SPACE}{words.count(found['num_images'])}"
    split = run.evaluations[-1].get("split") if run.evaluations else None
    known = run.environment.get("fingerprints", {}).get(split)
    fingerprint = run.evaluation.get("data", {}).get("fingerprint") if found["full"] else known
    return told, (fingerprint or found["where"], found["num_images"])


def _data(data: dict[str, Any], count: str) -> str:
    return words.data_name(data, number(data, count)) if data else words.NOTHING


def _short(data: dict[str, Any]) -> str:
    return str(data["fingerprint"])[:16] if data.get("fingerprint") else words.NOTHING
