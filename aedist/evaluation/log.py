"""An evaluation told to every tracker: a line in the run's own history, and the run in Weights & Biases.

The lines of ``metrics.jsonl`` are in the order of steps and of the training alone; a later evaluation may be of any
checkpoint, so it has a history of its own, ``evaluation/evaluations.jsonl``, a line each time.
"""

from collections.abc import Callable, Mapping
from typing import Any

from aedist.lease import holder
from aedist.tracking.apart import wandb_of_run
from aedist.tracking.jsonl import JsonLines
from aedist.tracking.synced import sync_line
from aedist.tracking.tracker import Record, Tracker
from aedist.trained import Trained

_ANY_STEP = 2**63


def summary_of(record: Mapping[str, Any]) -> Record:
    """The numbers of an evaluation's record that a curve or a table of runs would show."""
    numbers: Record = {name: values["mean"] for name, values in record["metrics"].items()}
    for kind, block in record["distributions"].items():
        prefix = "r" if kind == "reconstructions" else f"{kind}/g"
        numbers[f"{prefix}fid"], numbers[f"{prefix}kid"] = block["fid"], block["kid"]["mean"]
    numbers |= {f"{name}/mse": block["metrics"]["mse"]["mean"] for name, block in record["baselines"].items()}
    if record["latents"] and record["latents"].get("probe"):
        numbers["probe_accuracy"] = record["latents"]["probe"].get("accuracy")
    return {
        "kind": "full_evaluation",
        "step": record["step"],
        "images": record["images_seen"],
        "checkpoint": record["checkpoint"],
        "split": record["data"]["split"],
        "num_images": record["data"]["num_images"],
        "metrics": numbers,
    }


def log(trained: Trained, record: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Tell every tracker of an evaluation, on rank zero."""
    config, run = trained.config, trained.run
    history = JsonLines(run.evaluation / "evaluations.jsonl", _ANY_STEP)
    Tracker([history]).record(summary_of(record))
    history.close(0)
    if config.track.wandb != "disabled" and holder(run.lock) is not None:
        say("W&B is told of this evaluation when the training that goes on here has ended: it is told by one at a time")
        return
    wandb_process = wandb_of_run(config, run, say, "evaluate")  # it reads the line that is there now
    if wandb_process is not None:
        wandb_process.close(0)
        line = sync_line(run, config)
        if line is not None:
            say(line)
