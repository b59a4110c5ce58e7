"""What the machines of a job have in common, and in what they differ.

What should be the same everywhere and is not is told first. Of what may differ, such as the room on a disk, one machine
stands for all that have the same verdict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aedist.doctor.finding import VERDICTS, Finding

_MUST = ("aedist", "torch")
"""What a run refuses to begin with where it differs."""
_MOST_NAMED = 3
_SKEW_SECONDS = 2.0


@dataclass(frozen=True)
class Process:
    """What a process of the job tells of itself."""

    host: str
    rank: int
    cores: tuple[int, ...]
    """The numbers of the cores that it is bound to."""
    gpu: str
    """The UUID of its GPU; empty where it has none."""
    seconds: float
    """Its clock, at the same moment as the others'."""


def merge(by_host: Mapping[str, Sequence[Finding]]) -> list[Finding]:
    """The findings of all machines as one list, those that differ and should not in front."""
    if len(by_host) == 1:
        return list(next(iter(by_host.values())))
    names = dict.fromkeys((finding.group, finding.name) for findings in by_host.values() for finding in findings)
    differing, common = list[Finding](), list[Finding]()
    for group, name in names:
        found = {
            host: next((one for one in findings if (one.group, one.name) == (group, name)), None)
            for host, findings in by_host.items()
        }
        present = [finding for finding in found.values() if finding is not None]
        if len(present) == len(found) and all(finding == present[0] for finding in present):
            common.append(present[0])
        elif any(finding.same for finding in present) and not _is_of_one(present, found):
            differing += _told_apart(name, found)
        else:
            common += _worst_of_each(found)
    return [*differing, *common]


def judge_clocks(processes: Sequence[Process]) -> Finding:
    """How far the machines' clocks are apart."""
    clocks = {process.host: process.seconds for process in processes}
    ahead, behind = max(clocks, key=lambda host: clocks[host]), min(clocks, key=lambda host: clocks[host])
    apart = clocks[ahead] - clocks[behind]
    if apart < _SKEW_SECONDS:
        return Finding("machines", "clocks", f"at most {apart:.1f} s apart")
    fix = f"set the clock of {ahead} or {behind} (chronyc tracking): times of files and logs do not fit together"
    return Finding("machines", "clocks", f"{ahead} is {apart:.1f} s before {behind}", "look here", fix)


def judge_gpus_of_processes(group: str, processes: Sequence[Process]) -> Finding | None:
    """Whether each process has a GPU of its own; None where none has any."""
    holders = dict[str, list[int]]()
    for process in processes:
        if process.gpu:
            holders.setdefault(process.gpu, []).append(process.rank)
    if not holders:
        return None
    if shared := [ranks for ranks in holders.values() if len(ranks) > 1]:
        ranks = ", ".join(map(str, shared[0]))
        fix = "start at most as many processes a machine as it has GPUs, and leave CUDA_VISIBLE_DEVICES to the launcher"
        return Finding(group, "a GPU each", f"process {ranks} have one and the same", "broken", fix)
    return Finding(group, "a GPU each", f"{len(holders)} GPUs for {len(processes)} processes")


def _is_of_one(present: Sequence[Finding], found: Mapping[str, Finding | None]) -> bool:
    """Whether it is told of some machines only because something is wrong there."""
    return len(present) < len(found) and all(finding.verdict != "good" for finding in present)


def _told_apart(name: str, found: Mapping[str, Finding | None]) -> list[Finding]:
    """A row for each value, with its machines; none is good, since they differ."""
    hosts = dict[Finding | None, list[str]]()
    for host, finding in found.items():
        hosts.setdefault(finding, []).append(host)
    rows = list[Finding]()
    for finding, names in sorted(hosts.items(), key=lambda item: -len(item[1])):
        if finding is None:
            continue
        if finding.verdict != "good":
            rows.append(replace(finding, where=_name(names)))
            continue
        verdict = "broken" if name in _MUST else "look here"
        fix = "all machines of a run need the same; make one environment that all of them see"
        rows.append(
            replace(finding, verdict=verdict, fix=fix if name in _MUST else "machines differ", where=_name(names))
        )
    return rows


def _worst_of_each(found: Mapping[str, Finding | None]) -> list[Finding]:
    """One machine's finding for each verdict, the worst first, and how many more have that verdict."""
    rows = list[Finding]()
    for verdict in reversed(VERDICTS):
        having = {host: one for host, one in found.items() if one is not None and one.verdict == verdict}
        if having:
            host, finding = next(iter(having.items()))
            others = f"; {len(having) - 1} more are like it" if len(having) > 1 else ""
            rows.append(replace(finding, where=f"{host}{others}"))
    return rows


def _name(hosts: Sequence[str]) -> str:
    more = f" and {len(hosts) - _MOST_NAMED} more" if len(hosts) > _MOST_NAMED else ""
    return f"{', '.join(hosts[:_MOST_NAMED])}{more}"
