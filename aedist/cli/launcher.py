"""What the environment says: this process among those that a launcher started, its job, and where caches lie.

Launchers such as torchrun and ``accelerate launch`` set RANK, WORLD_SIZE and the address of rank zero. srun sets none
of them, but says as much in its own words, so that ``srun aedist train`` needs no launcher besides.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from aedist.errors import UserError

if TYPE_CHECKING:
    from aedist.asked import Asked


_RENDEZVOUS = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What every launcher says besides WORLD_SIZE where there are several processes."""

_STAYS = ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION")
"""Set by torchrun and accelerate launch, which stay for as long as the processes that they start."""

_JOB = {"id": "SLURM_JOB_ID", "restarts": "SLURM_RESTART_COUNT", "nodes": "SLURM_JOB_NODELIST"}
_ARRAY = {"array": "SLURM_ARRAY_JOB_ID", "array_task": "SLURM_ARRAY_TASK_ID"}


def cache_folder() -> Path:
    """Where originals are kept between builds."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aedist"


def asked_of_launcher() -> "Asked":
    """What the launcher asked of this process.

    Raises:
        UserError: if there are several processes, but they were not told of each other, or how to meet.
    """
    environment = os.environ
    if "WORLD_SIZE" not in environment and (_number("SLURM_STEP_NUM_TASKS") or 1) > 1:
        return _asked_of_srun()
    missing = [name for name in _RENDEZVOUS if name not in environment]
    if environment.get("WORLD_SIZE", "1") != "1" and missing:
        raise UserError(
            f"WORLD_SIZE is {environment['WORLD_SIZE']}, but there is no {', '.join(missing)}, so the processes cannot "
            f"find each other; start them with accelerate launch or slurm/train.sbatch, or unset WORLD_SIZE"
        )
    stays = any(name in environment for name in _STAYS)
    from aedist.asked import Asked

    return Asked(
        cache=cache_folder(),
        local_rank=_number("LOCAL_RANK") or 0,
        rank=_number("RANK") or 0,
        world=_number("WORLD_SIZE") or 1,
        local_world=_number("LOCAL_WORLD_SIZE") or _number("WORLD_SIZE") or 1,
        threads=_number("OMP_NUM_THREADS"),
        parent=os.getppid() if stays else None,
        meets_at=environment.get("MASTER_ADDR", ""),
        job=_job(),
    )


def rank_told() -> str:
    """This process's rank as its launcher spells it, before anything is asked or refused; 0 for a lone process."""
    environment = os.environ
    of_srun = environment.get("SLURM_STEP_NUM_TASKS", "1") != "1" and environment.get("SLURM_PROCID")
    return environment.get("RANK") or of_srun or "0"


def _asked_of_srun() -> "Asked":
    """The same for a task of a step with several, started by srun itself.

    Raises:
        UserError: if a word of SLURM is missing, or the tasks of a node do not follow one another.
    """
    names = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEP_NODELIST", "SLURM_GTIDS")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise UserError(
            f"srun started {os.environ['SLURM_STEP_NUM_TASKS']} tasks, but there is no {', '.join(missing)}, so the "
            f"processes cannot find each other; start them with slurm/train.sbatch, or set RANK, WORLD_SIZE and the "
            f"address of rank zero as torchrun does"
        )
    of_this_node = [int(rank) for rank in os.environ["SLURM_GTIDS"].split(",")]
    if of_this_node != list(range(of_this_node[0], of_this_node[0] + len(of_this_node))):
        raise UserError(
            f"SLURM_GTIDS is {os.environ['SLURM_GTIDS']}: the tasks of a node must follow one another; start them with "
            f"srun --distribution=block"
        )
    told = {name: _number(name) or 0 for name in (*names[:4], "SLURM_STEP_NUM_TASKS", "SLURM_RESTART_COUNT")}
    host = first_host(os.environ["SLURM_STEP_NODELIST"])
    # what accelerate looks for, to know that it is not alone, and which device is this process's
    os.environ |= {
        "RANK": str(told["SLURM_PROCID"]),
        "WORLD_SIZE": str(told["SLURM_STEP_NUM_TASKS"]),
        "LOCAL_RANK": str(told["SLURM_LOCALID"]),
        "LOCAL_WORLD_SIZE": str(len(of_this_node)),
        "MASTER_ADDR": host,
    }
    from aedist.asked import Asked
    from aedist.meeting import meeting_of

    return Asked(
        cache=cache_folder(),
        local_rank=told["SLURM_LOCALID"],
        rank=told["SLURM_PROCID"],
        world=told["SLURM_STEP_NUM_TASKS"],
        local_world=len(of_this_node),
        threads=_number("OMP_NUM_THREADS"),
        meets_at=host,
        meeting=meeting_of(host, told["SLURM_JOB_ID"], told["SLURM_STEP_ID"], told["SLURM_RESTART_COUNT"]),
        job=_job(),
    )


def first_host(nodes: str) -> str:
    """The first of the hosts that SLURM names in short, such as ``gpu[03-05,9],login1``: ``gpu03``."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0] if first else nodes)


def _job() -> Mapping[str, str]:
    """The job of SLURM that this process is part of, for the run's record; empty outside of one."""
    if "SLURM_JOB_ID" not in os.environ:
        return {}
    told = {**_JOB, **(_ARRAY if "SLURM_ARRAY_JOB_ID" in os.environ else {})}
    return {what: os.environ.get(name, "0") for what, name in told.items()}


def _number(name: str) -> int | None:
    """A whole number that a launcher put into the environment; None where it is not set."""
    text = os.environ.get(name)
    if text is not None and not text.isdecimal():
        raise UserError(f"{name}: the environment has {text!r}; a launcher sets it to a whole number, or unset it")
    return int(text) if text else None
