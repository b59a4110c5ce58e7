"""One process of the proof: it meets the others, tells what it knows of its machine, and trains with them."""

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from aedist.asked import Asked
from aedist.doctor.finding import Finding
from aedist.doctor.nodes import Process, judge_clocks, judge_gpus_of_processes
from aedist.doctor.processor import judge_sharing
from aedist.doctor.proof import prove
from aedist.doctor.rollcall import Address, roll_call
from aedist.doctor.speed import judge_machines, judge_sums, time_machines, time_sums
from aedist.faults import told_in_a_line
from aedist.place import Place, take_place
from aedist.watch import Watch

STALL_SECONDS = 30.0
"""How long nothing may move."""


@dataclass(frozen=True)
class Proof:
    """What rank zero learned."""

    by_host: dict[str, list[Finding]]
    """What each machine says of itself."""
    findings: list[Finding]
    """What all processes found together."""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        by_host = {host: [asdict(finding) for finding in found] for host, found in self.by_host.items()}
        return {"by_host": by_host, "findings": [asdict(finding) for finding in self.findings]}

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> "Proof":
        """What ``record`` gave."""
        by_host = {host: [Finding(**finding) for finding in found] for host, found in record["by_host"].items()}
        return cls(by_host, [Finding(**finding) for finding in record["findings"]])


def take_part(
    asked: Asked, address: Address | None, own: Sequence[Finding], patience_seconds: float, group: str
) -> Proof:
    """Take part in the proof.

    Args:
        asked: this process among the others.
        address: where they meet, unless ``asked`` says how.
        own: what was found on this machine; of one process a machine.
        patience_seconds: how long the others are waited for.
        group: what the findings are to stand under.

    Raises:
        Fault: if somebody does not come, dies or hangs.
        UserError: if the processes are not one group.
    """
    watch = Watch(asked.rank, STALL_SECONDS, asked.parent)
    with told_in_a_line(watch):
        place = _meet(asked, address, timedelta(seconds=patience_seconds), watch)
        watch.begin()
        processes, by_host = _gather(place, own)
        found, machines = _judge_processes(group, processes)
        if not any(finding.verdict == "broken" for finding in found):  # else NCCL does not begin
            found += prove(group, place, asked.world)
            watch.doing("times sums")
            found += judge_sums(group, time_sums(place), place.world)
            first_ranks = {process.host: process.rank for process in reversed(processes)}
            machines += judge_machines("machines", time_machines(place, first_ranks))
        place.wait_for_all()
        place.leave()
    return Proof(by_host, [*found, *machines])


def _meet(asked: Asked, address: Address | None, patience: timedelta, watch: Watch) -> Place:
    if asked.world == 1:
        return take_place(asked, threads=1, deterministic=True, watch=watch)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    with roll_call(asked, address, patience) as store:
        dist.init_process_group(backend, store=store, rank=asked.rank, world_size=asked.world, timeout=2 * patience)
        return take_place(replace(asked, meeting=None), threads=1, deterministic=True, watch=watch)


def _gather(place: Place, own: Sequence[Finding]) -> tuple[list[Process], dict[str, list[Finding]]]:
    """What every process tells of itself, by rank, and what was found on each machine."""
    gpu = str(torch.cuda.get_device_properties(place.device).uuid) if place.device.type == "cuda" else ""
    place.wait_for_all()  # so that the clocks are read at one moment
    cores = tuple(sorted(os.sched_getaffinity(0)))
    told = place.share((Process(socket.gethostname(), place.rank, cores, gpu, time.time()), list(own)))
    by_host = {process.host: list[Finding]() for process, _ in told}
    for process, findings in told:
        by_host[process.host] = by_host[process.host] or findings
    return [process for process, _ in told], by_host


def _judge_processes(group: str, processes: Sequence[Process]) -> tuple[list[Finding], list[Finding]]:
    """Verdicts on how processes share machines, and on the machines."""
    by_host = dict[str, list[Process]]()
    for process in processes:
        by_host.setdefault(process.host, []).append(process)
    sharing = [
        replace(judge_sharing(group, [process.cores for process in of_host]), where=host)
        for host, of_host in by_host.items()
    ]
    found = [finding for finding in sharing if finding.verdict != "good"] or [replace(sharing[0], where="")]
    gpus = judge_gpus_of_processes(group, processes)
    if gpus is not None:
        found.append(gpus)
    return found, [judge_clocks(processes)] if len(by_host) > 1 else []
