"""The definitions that a record holds, in the groups in which the page shows them."""

from aedist.report import words
from aedist.report.measured import BASELINES, SETS, measurements
from aedist.report.read import Record, Run

_ABBREVIATED = ("kl",)


def definitions(run: Run) -> dict[str, list[tuple[str, str]]]:
    """(label, definition) of all that the record defines, in the groups in which the page shows them."""
    told = measurements(run).get("definitions", {})
    groups: dict[str, list[tuple[str, str]]] = {group: [] for group in ("verdicts", "images", "sets", "encodings")}
    for name, sentence in told.items():
        label = words.metric(name).label if words.metric(name).better else BASELINES.get(name, _spaced(name))
        groups[_group(name, run.evaluation)].append((label, str(sentence)))
    return groups


def _group(name: str, record: Record) -> str:
    if name == "verdicts":
        return name
    if name in ("fid", "kid", "precision", "recall", "extractor", *SETS):
        return "sets"
    if name in ("probe", "over_dimensions") or any(name.startswith(known) for known in (record.get("latents") or {})):
        return "encodings"
    return "images"


def _spaced(name: str) -> str:
    spaced = name.replace("_", " ")
    return spaced.upper() if spaced in _ABBREVIATED else spaced[:1].upper() + spaced[1:]
