"""What was trained on what: data by their fingerprints, weights by their checkpoint, code by its revision."""

from collections.abc import Iterable

from aedist.report import words
from aedist.report.read import Record, Run, number

_NOT_RECORDED = "not recorded"
_SHORT = 16


def subject(run: Run) -> list[tuple[str, str, str]]:
    """(label, what, its hash shortened or empty) of the data, the model, the weights that were judged and the code."""
    data, judged = run.environment.get("data", {}), run.evaluation.get("data", {})
    rows = list[tuple[str, str, str]]()
    if data:
        rows.append(("Trained on", words.data_name(data, number(data, "num_samples")), _short(data.get("fingerprint"))))
    if judged:
        told = words.data_name(judged, number(judged, "num_images"))
        rows.append(("Judged on", told, _short(judged.get("fingerprint"))))
    if run.evaluation.get("checkpoint"):
        averaged = number(run.config, "train", "ema_decay") > 0
        weights = f"{run.evaluation['checkpoint']}{', the moving average of its weights' if averaged else ''}"
        rows.append(("Judged weights", weights, ""))
    revisions = _each(str(attempt.get("git") or _NOT_RECORDED) for attempt in run.attempts)
    if revisions:
        rows.append(("Code", words.listed([_short_revision(revision) for revision in revisions]), ""))
    return rows


def provenance(run: Run) -> list[tuple[str, list[str]]]:
    """What a repetition has to agree with, by name; several values where the attempts differed."""
    facts = [("Training data", [str(run.environment.get("data", {}).get("fingerprint", _NOT_RECORDED))])]
    if run.evaluation:
        facts.append(("Evaluated data", [str(run.evaluation.get("data", {}).get("fingerprint", _NOT_RECORDED))]))
        facts.append(("Evaluated checkpoint", [str(run.evaluation.get("checkpoint", _NOT_RECORDED))]))
    revisions = _each(str(attempt.get("git") or _NOT_RECORDED) for attempt in run.attempts) or [_NOT_RECORDED]
    versions = _each(_versions(attempt) or _NOT_RECORDED for attempt in run.attempts) or [_NOT_RECORDED]
    return [*facts, ("Git revision", revisions), ("Versions", versions)]


def _short(fingerprint: object) -> str:
    return f"{str(fingerprint)[:_SHORT]}…" if fingerprint else ""


def _short_revision(revision: str) -> str:
    if revision == _NOT_RECORDED:
        return revision
    return f"revision {revision[:12]}{' with changes' if revision.endswith('+') else ''}"


def _versions(attempt: Record) -> str:
    found = {"python": attempt.get("python"), **attempt.get("versions", {})}
    return ", ".join(f"{name} {version}" for name, version in found.items() if version)


def _each(values: Iterable[str]) -> list[str]:
    """Every value once, in the order met."""
    return list(dict.fromkeys(values))
