"""A finding: one fact of a machine, how good that is, and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["good", "look here", "broken"]
VERDICTS: tuple[Verdict, ...] = ("good", "look here", "broken")
"""From the best to the worst."""


@dataclass(frozen=True)
class Finding:
    """One row of what the doctor tells."""

    group: str
    """What it belongs to, such as ``disk``."""
    name: str
    value: str
    verdict: Verdict = "good"
    fix: str = ""
    """What to do, for whatever is not good."""
    same: bool = True
    """Whether machines that work together should not differ in it."""
    where: str = ""
    """The machines that it is true of; empty where that is all of them."""


def judged(group: str, name: str, value: str, verdict: Verdict, fix: str, *, same: bool = True) -> Finding:
    """A finding that tells its fix only where it is not good."""
    return Finding(group, name, value, verdict, fix if verdict != "good" else "", same)


def worst(findings: Iterable[Finding]) -> Verdict:
    """The worst verdict among findings; good where there are none."""
    return VERDICTS[max((VERDICTS.index(finding.verdict) for finding in findings), default=0)]


def first_to_do(findings: Iterable[Finding]) -> Finding | None:
    """The first finding that is broken, in the order in which they are told; None if nothing is."""
    return next((finding for finding in findings if finding.verdict == "broken"), None)


def spell_bytes(count: float) -> str:
    """A number of bytes with a unit, such as ``1.5 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
