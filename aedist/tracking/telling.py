"""What W&B is told of a run beside its rows, all of it read from the run's directory.

``metrics.jsonl`` is the truth; this is a reader of it, during training (``follow``) and after (``sync``).
"""

import json
import shutil
from pathlib import Path
from typing import Any

from aedist.config import Config
from aedist.rundir import RunDir, load_run_config, read_environment
from aedist.tracking.rows import Tail
from aedist.tracking.wandb import Account, WandbRun

_OF_ATTEMPT = ("world", "device", "host", "git", "python", "versions", "slurm")


def account_of(run: RunDir, config: Config) -> Account:
    """What a run is filed under: as its configuration says, by the name of its folder.

    The tasks of a job array are one group unless the configuration names another.
    """
    environment = read_environment(run)
    array = environment["attempts"][-1].get("slurm", {}).get("array") if environment["attempts"] else None
    group = config.track.group or (f"array-{array}" if array else None)
    run_id = config.track.id or environment["run_id"]
    return Account(run_id, run.path.resolve().name, config.track.project, group, config.track.tags)


def facts_of(run: RunDir, config: Config) -> dict[str, Any]:
    """The configuration, and under ``environment`` what the run's record says: data, revision, versions, processes."""
    environment = read_environment(run)
    attempts = environment["attempts"]
    facts = {name: environment[name] for name in ("data", "fingerprints", "model") if name in environment}
    facts |= {name: attempts[-1][name] for name in _OF_ATTEMPT if attempts and name in attempts[-1]}
    return config.model_dump(mode="json") | {"environment": {**facts, "attempts": len(attempts)}}


def tell_evaluations(wandb_run: WandbRun, run: RunDir, already: int) -> int:
    """Tell the evaluations of checkpoints after the first ``already``. Returns how many there are.

    The pictures are the last one's: an evaluation draws over those of the one before.
    """
    history = [_numbers(record) for record in Tail(run.evaluation / "evaluations.jsonl", {"metrics", "images"}).new()]
    for number, numbers in enumerate(history):
        if number >= already:
            is_last = number == len(history) - 1
            pictures = sorted(run.evaluation.glob("*.png")) if is_last else []
            wandb_run.tell_evaluation(numbers, pictures, _examples(run) if is_last else [])
    return len(history)


def tell_artifacts(wandb_run: WandbRun, run: RunDir, config: Config) -> list[str]:
    """Have W&B keep what ``track.artifacts`` says. Returns their names."""
    told = list[str]()
    if config.track.artifacts != "none" and (run.model / "config.json").is_file():
        wandb_run.tell_folder("model", "model", run.model, ["latest"])
        told.append("model")
    if config.track.artifacts == "all":
        for folder in sorted(run.checkpoints.glob("step-*")):
            wandb_run.tell_folder("checkpoint", "checkpoint", folder, ["latest", folder.name])
            told.append(folder.name)
    return told


def offline_pieces(run: RunDir, account: Account) -> list[Path]:
    """The folders in which earlier attempts kept what W&B was to have."""
    return sorted(run.path.glob(f"wandb/offline-run-*-{account.id}"))


def remove_pieces(pieces: list[Path], but: Path | None = None) -> None:
    """Remove pieces that another one, or W&B, has all of."""
    for piece in pieces:
        if but is None or piece.name != but.name:
            shutil.rmtree(piece, ignore_errors=True)


def load_facts(folder: Path) -> tuple[RunDir, Config]:
    """A run and its configuration."""
    run = RunDir(folder)
    return run, load_run_config(run)


def _numbers(record: dict[str, Any]) -> dict[str, float]:
    numbers = {name: value for name, value in record["metrics"].items() if value is not None}
    return {"images": record["images"], "step": record["step"], "num_images": record["num_images"], **numbers}


def _examples(run: RunDir) -> list[dict[str, Any]]:
    """The best, the median and the worst reconstructions, each a row of numbers and pictures."""
    folder = run.evaluation / "examples"
    try:
        rows = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    pictures = ("original", "reconstruction")
    return [{name: folder / value if name in pictures else value for name, value in row.items()} for row in rows]
