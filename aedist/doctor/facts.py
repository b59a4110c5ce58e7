"""All facts of this machine, in the order in which they are told."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aedist.doctor.accelerators import judge_gpus, read_gpus
from aedist.doctor.disk import judge_disk, read_disk
from aedist.doctor.finding import Finding
from aedist.doctor.holdings import judge_holdings, read_holdings
from aedist.doctor.job import judge_job, read_job
from aedist.doctor.network import judge_network, read_network
from aedist.doctor.processor import judge_processor, read_processor
from aedist.doctor.software import judge_software, read_software


@dataclass(frozen=True)
class Folders:
    """Where a run's files lie."""

    runs: Path
    shards: Path
    cache: Path
    """Of fetched shards and weights."""
    constraints: Path
    """The file of tested versions, which may be missing."""


def find_facts(folders: Folders, environment: Mapping[str, str], local_world: int = 1) -> list[Finding]:
    """Read and judge everything; takes a few seconds.

    Args:
        folders: what to look at.
        environment: the variables of this process.
        local_world: how many processes of the job share this machine.
    """
    threads = environment.get("OMP_NUM_THREADS", "")
    job = read_job(environment)
    disks = [
        read_disk("runs", folders.runs),
        read_disk("shards", folders.shards, must_write=False),
        read_disk("cache", folders.cache),
    ]
    network = read_network(environment.get("GLOO_SOCKET_IFNAME"), environment.get("NCCL_SOCKET_IFNAME"))
    return [
        *judge_software(read_software(folders.constraints)),
        *judge_gpus(read_gpus(environment.get("CUDA_VISIBLE_DEVICES"))),
        *judge_processor(read_processor(int(threads) if threads.isdecimal() else None, local_world)),
        *(judge_disk(disk) for disk in disks),
        *judge_network(network, job.nodes if job is not None and job.in_step else 1),
        *judge_holdings(read_holdings(folders.cache, folders.shards)),
        *(judge_job(job) if job is not None else []),
    ]
