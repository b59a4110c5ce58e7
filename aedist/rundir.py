"""A run's directory: what lies where in it, who may use it, and whether it is this run's.

A directory belongs to one configuration and one data set. Starting a run in it again continues it; another
configuration, other data, or files that are no run's are refused. One process at a time may train in it.
"""

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aedist.config import Config
from aedist.configfile import differences, load_config, to_yaml
from aedist.errors import UserError
from aedist.lease import Held, Hold, hold
from aedist.shards.index import Index
from aedist.whole import beside, write_whole

_LOCK = ".lock"
_SECRET = re.compile(r"((?<![a-z])(?:key|apikey|token|secret|passw(?:or)?d|credentials?)\w*[=:])\S+", re.IGNORECASE)
_VERSIONS = ("aedist", "torch", "accelerate", "numpy", "pillow", "simplejpeg", "webdataset")


@dataclass(frozen=True)
class RunDir:
    """The places in a run's directory."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """The run's id, its data, its model's size, and each attempt: versions, revision, processes."""
        return self.path / "environment.json"

    @property
    def lock(self) -> Path:
        """What whoever trains in it holds."""
        return self.path / _LOCK

    @property
    def metrics(self) -> Path:
        """One JSON record a line."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folders ``step-000012000``."""
        return self.path / "checkpoints"

    @property
    def ledger(self) -> Path:
        """Which samples every micro-batch held."""
        return self.path / "ledger"

    @property
    def images(self) -> Path:
        """A folder for each kind of picture; in it, the same pictures at every evaluation."""
        return self.path / "images"

    @property
    def model(self) -> Path:
        """The exported model."""
        return self.path / "model"

    @property
    def quarantine(self) -> Path:
        """The samples that the run leaves out, where it was to look for such."""
        return self.path / "quarantine.json"

    @property
    def evaluation(self) -> Path:
        """The evaluation of a checkpoint."""
        return self.path / "evaluation"


def find_run(path: Path) -> RunDir:
    """The run in ``path``.

    Raises:
        UserError: if there is none.
    """
    run = RunDir(path)
    if not run.config.is_file():
        raise UserError(f"{path}: is not a run's directory (it has no config.yaml); name what run.dir was in training")
    return run


def load_run_config(run: RunDir, words: Sequence[str] = ()) -> Config:
    """The configuration that a run was trained with, with ``key=value`` words laid over it."""
    return load_config(run.config, words)


def read_environment(run: RunDir) -> dict[str, Any]:
    """The run's environment.json.

    Raises:
        UserError: if it is missing, is not JSON, or is not such a record.
    """
    try:
        record = json.loads(run.environment.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{run.environment}: cannot be read ({error}); the run must be started anew") from error
    if not isinstance(record, dict) or not {"run_id", "data", "fingerprints", "attempts"} <= record.keys():
        raise UserError(f"{run.environment}: is not the record of a run; the run must be started anew")
    return record


def claim(run: RunDir, config: Config) -> Hold:
    """Take the directory for training, until what is returned is closed. Nothing of a run is changed.

    Raises:
        UserError: if files that are no run's lie in it, if it is another configuration's, or if it is in use.
    """
    if run.path.exists() and not run.path.is_dir():
        raise UserError(f"run.dir: {run.path} is a file; name a new or empty folder, or one of this run")
    if run.path.is_dir() and not run.config.exists():
        ours = {_LOCK, f"{_LOCK}-lease", beside(run.config).name}  # all that a start killed early leaves
        foreign = min((entry.name for entry in run.path.iterdir() if entry.name not in ours), default=None)
        if foreign is not None:
            raise UserError(
                f"run.dir: {run.path} holds files that are no run's ({foreign}, ...); name a new or empty folder"
            )
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        lock = hold(run.lock)
    except OSError as error:
        raise UserError(f"run.dir: {run.path} cannot be written ({error.strerror}); name another folder") from error
    except Held as holder:
        raise UserError(f"run.dir: {run.path} is in use by {holder}; wait for it, or name another folder") from holder
    try:
        if run.config.exists():
            _refuse_changes(run, config)
    except UserError:
        lock.close()
        raise
    return lock


def _refuse_changes(run: RunDir, config: Config) -> None:
    changed = differences(load_run_config(run), config)
    if changed:
        raise UserError(
            f"run.dir: {run.path} is a run of another configuration ({'; '.join(changed)}); "
            f"name another folder, or set the keys back to continue that run"
        )


@dataclass(frozen=True)
class Start:
    """A start of a run, as its environment tells it."""

    trained: Index
    evaluated: Index
    model: dict[str, Any]
    step: int
    world: int
    device: str
    quarantine: str | None = None
    """The text of ``quarantine.json``, where there is to be one."""
    job: Mapping[str, str] = field(default_factory=dict[str, str])
    """The scheduler's job, where one started it: id, restarts, nodes."""
    run_id: str | None = None
    """The id in the checkpoint that it goes on from, for a run that has lost its record."""


def check_data(run: RunDir, *indices: Index) -> None:
    """Refuse other data than the run was trained and evaluated on. A split that it does not know is not judged.

    Raises:
        UserError: naming the split and both fingerprints.
    """
    if not run.environment.exists():
        return
    known = read_environment(run)["fingerprints"]
    for index in indices:
        there = known.get(index.split, index.fingerprint)
        if there != index.fingerprint:
            raise UserError(
                f"data.shards: {index.name}/{index.split} has fingerprint {index.fingerprint[:12]}, but {run.path} was "
                f"trained on {there[:12]}; name another run.dir for other data"
            )


def begin_attempt(run: RunDir, config: Config, start: Start) -> dict[str, Any]:
    """Write the configuration, and note a start in the environment; returns the whole record.

    Everything that could be refused has been: this is the first thing that changes a run.
    """
    index = start.trained
    data = {
        "name": index.name,
        "split": index.split,
        "fingerprint": index.fingerprint,
        "num_samples": index.num_samples,
        "classes": list(index.classes),
        "image_shape": list(index.image_shape),
    }
    record: dict[str, Any] = {
        "run_id": start.run_id or uuid.uuid4().hex[:12],
        "data": data,
        "model": start.model,
        "attempts": [],
    }
    record["fingerprints"] = {split.split: split.fingerprint for split in (start.trained, start.evaluated)}
    if run.environment.exists():
        record = read_environment(run)
    record["attempts"].append(
        {
            "attempt": len(record["attempts"]) + 1,
            "step": start.step,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "world": start.world,
            "device": start.device,
            "host": socket.gethostname(),
            **({"slurm": dict(start.job)} if start.job else {}),
            "command": shlex.join(["aedist", *map(_without_secret, sys.argv[1:])]),
            "git": _git_revision(),
            "python": sys.version.split()[0],
            "versions": {name: version(name) for name in _VERSIONS},
        }
    )
    write_whole(run.config, to_yaml(config))
    if start.quarantine is not None and not run.quarantine.exists():
        write_whole(run.quarantine, start.quarantine, durable=True)
    write_whole(run.environment, json.dumps(record, indent=1) + "\n")
    return record


def _without_secret(word: str) -> str:
    """A word of the command line as it may be kept: without the value of what sounds like a key or a password."""
    return _SECRET.sub(r"\1***", word)


def _git_revision() -> str | None:
    """The revision of the code, with a plus sign where files differ from it; None outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        told = subprocess.run(  # noqa: S603 (nothing in it comes from outside)
            [git, "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip()
