"""``wandb/told.json``: what W&B is known to have of a run.

It says that everything was delivered only where W&B has confirmed it; whoever is about to tell W&B more takes that back
first, so a kill leaves the truth.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from aedist.config import Config
from aedist.rundir import RunDir
from aedist.whole import write_whole


@dataclass(frozen=True)
class Told:
    """What W&B has."""

    is_complete: bool = False
    """Whether it is online, and all there was to tell was delivered."""
    evaluations: int = 0
    """Of the evaluations of checkpoints, so many."""
    url: str | None = None


def read_told(run: RunDir) -> Told:
    """What W&B has of a run; nothing, where that is not known."""
    try:
        return Told(**json.loads(_path(run).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Told()


def write_told(run: RunDir, told: Told) -> None:
    """Note what W&B has."""
    _path(run).parent.mkdir(exist_ok=True)
    write_whole(_path(run), json.dumps(asdict(told)) + "\n")


def begin_to_tell(run: RunDir) -> Told:
    """What W&B has, of which it is no longer known that it is everything."""
    told = read_told(run)
    write_told(run, replace(told, is_complete=False))
    return told


def is_unsynced(run: RunDir, config: Config) -> bool:
    """Whether W&B is to have the run, and is not known to have all of it."""
    return config.track.wandb != "disabled" and not read_told(run).is_complete


def sync_line(run: RunDir, config: Config) -> str | None:
    """The line that tells how W&B comes to have all of a run; None where it has, or is not to."""
    if not is_unsynced(run, config):
        return None
    return f"W&B does not have all of this run: aedist sync {run.path} sends it, from where there is internet"


def _path(run: RunDir) -> Path:
    return run.path / "wandb" / "told.json"
