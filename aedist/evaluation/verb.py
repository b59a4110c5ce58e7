"""``aedist evaluate RUN``: the evaluation of a checkpoint, as numbers and as pictures.

``comprehensive_evaluation.json`` holds nothing that depends on the machine, the time or the number of
processes, so that two evaluations of one checkpoint can be compared byte by byte.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from aedist.data.store import ShardStore
from aedist.errors import UserError
from aedist.evaluation.metrics import DEFINITIONS, HIGHER_IS_BETTER
from aedist.evaluation.run import EvaluationPlan, evaluate, read_batches, summarise
from aedist.evaluation.showcase import classes_in_turn, columns, reconstructions, spread
from aedist.models import count_parameters
from aedist.pictures import save_picture
from aedist.place import Asked
from aedist.rundir import RunDir, read_environment
from aedist.tracking.console import say_nothing
from aedist.trained import Trained, open_trained
from aedist.whole import write_whole


def evaluate_run(
    folder: Path, which: str, split_name: str | None, num_images: int | None, asked: Asked, say: Callable[[str], None]
) -> Path:
    """Evaluate a run's model on a split and write RUN/evaluation/.

    Args:
        folder: the run's directory.
        which: ``last``, ``best`` or a step's number: the checkpoint.
        split_name: the split, or None for the configuration's.
        num_images: only the first so many images, or None for the configuration's choice.
        asked: what the launcher asked of this process.
        say: told what happens, on rank zero.

    Returns:
        comprehensive_evaluation.json.

    Raises:
        UserError: if there is no such run, checkpoint or split.
    """
    if num_images is not None and num_images < 1:
        raise UserError(f"--images: {num_images} is refused: it must be 1 or more; leave it out to evaluate all")
    trained = open_trained(folder, which, split_name, asked, say)
    run, config, split, place = trained.run, trained.config, trained.split, trained.place
    model, checkpoint = trained.model, trained.checkpoint
    if not place.is_zero:
        say = say_nothing
    total = split.index.num_samples
    plan = EvaluationPlan(min(num_images or config.evaluate.images or total, total), config.evaluate.batch)
    say(f"evaluating {checkpoint.name} on {plan.num_images:,} images of {split.index.name}/{split.index.split}")
    metrics = evaluate(model, read_batches(split, plan, place, config.data.workers), plan, place)
    path = run.evaluation / "comprehensive_evaluation.json"
    if place.is_zero:
        record = _record(trained, plan, metrics)
        _draw(run, ShardStore(split.folder, split.index), model, place.device, metrics["mse"], checkpoint.name)
        write_whole(path, json.dumps(record, indent=1) + "\n")  # last, so that where it is, everything is
        for name, summary in record["metrics"].items():
            say(f"{name:5} {_number(summary['mean'])} ± {_number(summary['std'])}")
    place.wait_for_all()
    place.leave()
    return path


def _record(trained: Trained, plan: EvaluationPlan, metrics: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    config, index = trained.config, trained.split.index
    return {
        "run_id": read_environment(trained.run)["run_id"],
        "checkpoint": trained.checkpoint.name,
        "step": trained.step,
        "images_seen": trained.step * config.images_per_step,
        "data": {
            "name": index.name,
            "split": index.split,
            "fingerprint": index.fingerprint,
            "num_images": plan.num_images,
        },
        "model": {**config.model.model_dump(mode="json"), "parameters": count_parameters(trained.model)},
        "metrics": {name: summarise(values) for name, values in metrics.items()},
        "definitions": DEFINITIONS,
        "higher_is_better": HIGHER_IS_BETTER,
    }


def _draw(
    run: RunDir, store: ShardStore, model: nn.Module, device: torch.device, errors: NDArray[np.float64], checkpoint: str
) -> None:
    """The reconstructions of some of each class, and the best, median and worst by squared error."""
    chosen = {"reconstructions": classes_in_turn(store)}
    lowest, middle, highest = spread(errors, columns(store.index))
    chosen |= {"best": lowest, "median": middle, "worst": highest}
    for name, ids in chosen.items():
        labels = () if name == "reconstructions" else tuple(f"{errors[i]:.4f}" for i in ids)
        title = f"{store.index.name} {store.index.split}, {checkpoint}: {_TITLES[name]}"
        save_picture(reconstructions(model, device, store, ids, title, labels), run.evaluation / f"{name}.png")


_TITLES = {
    "reconstructions": "the first images of each class in turn",
    "best": "the lowest mean squared errors",
    "median": "the middle mean squared errors",
    "worst": "the highest mean squared errors",
}


def _number(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.6f}"
