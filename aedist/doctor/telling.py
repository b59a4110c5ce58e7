"""What was found, in lines and for programs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from aedist.doctor.finding import Finding, first_to_do, worst


def spell(finding: Finding) -> tuple[str, str]:
    """The name and the value of a finding, with its machines where it is not true of all."""
    return finding.name, f"{finding.value} [{finding.where}]" if finding.where else finding.value


def lines(findings: Sequence[Finding]) -> list[str]:
    """A line a finding, one group behind another; a fix in a line of its own."""
    told, before = list[str](), ""
    for finding in findings:
        if finding.group != before:
            told.append(finding.group)
            before = finding.group
        name, value = spell(finding)
        told.append(f"  {finding.verdict:9}  {name}: {value}")
        if finding.fix:
            told.append(f"{'':13}-> {finding.fix}")
    return told


def last_line(findings: Sequence[Finding]) -> str:
    """The bottom line: what to do first, or that nothing is broken."""
    first, counts = first_to_do(findings), Counter(finding.verdict for finding in findings)
    if first is not None:
        name, value = spell(first)
        return f"{counts['broken']} broken; first mend {first.group}, {name}: {value}; {first.fix}"
    looks = counts["look here"]
    return f"nothing is broken; {looks} to look at" if looks else "nothing is broken"


def record(findings: Sequence[Finding]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "verdict": worst(findings),
        "findings": [asdict(finding) for finding in findings],
        "last_line": last_line(findings),
    }
