"""What the environment says: this process among those that a launcher started, and where caches lie."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from aedist.errors import UserError

if TYPE_CHECKING:
    from aedist.place import Asked


_RENDEZVOUS = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What every launcher says besides WORLD_SIZE where there are several processes."""

_STAYS = ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION")
"""Set by torchrun and accelerate launch, which stay for as long as the processes that they start."""


def cache_folder() -> Path:
    """Where originals are kept between builds."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aedist"


def asked_of_launcher() -> "Asked":
    """What the launcher asked of this process.

    Raises:
        UserError: if there are several processes, but they were not told of each other, or how to meet.
    """
    from aedist.place import Asked

    environment = os.environ
    tasks = _number("SLURM_STEP_NUM_TASKS") or 1
    if "WORLD_SIZE" not in environment and tasks > 1:
        raise UserError(
            f"srun started {tasks} tasks, but RANK and WORLD_SIZE are not set, so each would train the whole run; "
            f"submit slurm/train.sbatch, which sets them"
        )
    missing = [name for name in _RENDEZVOUS if name not in environment]
    if environment.get("WORLD_SIZE", "1") != "1" and missing:
        raise UserError(
            f"WORLD_SIZE is {environment['WORLD_SIZE']}, but there is no {', '.join(missing)}, so the processes cannot "
            f"find each other; start them with accelerate launch or slurm/train.sbatch, or unset WORLD_SIZE"
        )
    stays = any(name in environment for name in _STAYS)
    return Asked(
        cache=cache_folder(),
        local_rank=_number("LOCAL_RANK") or 0,
        rank=_number("RANK") or 0,
        world=_number("WORLD_SIZE") or 1,
        local_world=_number("LOCAL_WORLD_SIZE") or _number("WORLD_SIZE") or 1,
        threads=_number("OMP_NUM_THREADS"),
        parent=os.getppid() if stays else None,
        meets_at=environment.get("MASTER_ADDR", ""),
    )


def _number(name: str) -> int | None:
    """A whole number that a launcher put into the environment; None where it is not set."""
    text = os.environ.get(name)
    if text is not None and not text.isdecimal():
        raise UserError(f"{name}: the environment has {text!r}; a launcher sets it to a whole number, or unset it")
    return int(text) if text else None
