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

from aedist.checkpoint import checkpoints, load_checkpoint, name_of, newest_sound, step_of
from aedist.config import Config, model_options
from aedist.data.loader import Split
from aedist.data.source import open_split
from aedist.errors import UserError
from aedist.evaluation.metrics import DEFINITIONS, HIGHER_IS_BETTER
from aedist.evaluation.run import EvaluationPlan, evaluate, read_batches, summarise
from aedist.evaluation.showcase import one_of_each_class, reconstructions, spread
from aedist.models import count_parameters, get_model
from aedist.pictures import save_picture
from aedist.place import Asked, take_place
from aedist.rundir import RunDir, check_data, find_run, load_run_config, read_environment
from aedist.shards.index import check_present
from aedist.tracking.console import say_nothing
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
    run = find_run(folder)
    config = load_run_config(run)
    split = open_split(config.data.shards, split_name or config.evaluate.split)
    _check_shape(run, split)
    # one thread unless told otherwise: how many there are can touch the last bits of a sum
    place = take_place(asked, "fp32", config.train.threads or 1)
    if not place.is_zero:
        say = say_nothing
    checkpoint = place.from_rank_zero(lambda: _find_checkpoint(run, which, split, say))
    tensors, numbers = load_checkpoint(checkpoint)
    model = get_model(config.model.kind, **model_options(config.model, split.index.image_shape))
    if config.train.precision == "fp64":
        model = model.double()
    model.load_state_dict(tensors["model"])
    model.to(place.device)

    total = split.index.num_samples
    plan = EvaluationPlan(min(num_images or config.evaluate.images or total, total), config.evaluate.batch)
    say(f"evaluating {checkpoint.name} on {plan.num_images:,} images of {split.index.name}/{split.index.split}")
    metrics = evaluate(model, read_batches(split, plan, place, config.data.workers), plan, place)
    path = run.evaluation / "comprehensive_evaluation.json"
    if place.is_zero:
        record = _record(run, config, split, plan, checkpoint, numbers, model, metrics)
        _draw(run, split, model, place.device, metrics["mse"], checkpoint.name)
        write_whole(path, json.dumps(record, indent=1) + "\n")  # last, so that where it is, everything is
        for name, summary in record["metrics"].items():
            say(f"{name:5} {_number(summary['mean'])} ± {_number(summary['std'])}")
    place.wait_for_all()
    place.leave()
    return path


def _check_shape(run: RunDir, split: Split) -> None:
    """Refuse images of another shape than the model was made for."""
    trained, given = read_environment(run)["data"]["image_shape"], list(split.index.image_shape)
    if trained != given:
        raise UserError(
            f"{split.folder}: its images are {given} (height, width, channels), but {run.path} was trained on "
            f"{trained}; name a split of that shape"
        )


def _find_checkpoint(run: RunDir, which: str, split: Split, say: Callable[[str], None]) -> Path:
    """Rank zero's part: the shards are there, and so is the checkpoint."""
    check_present(split.folder, split.index)
    check_data(run, split.index)
    newest = newest_sound(run.checkpoints, say)
    if newest is None:
        raise UserError(f"{run.checkpoints}: there is no sound checkpoint; train the run first")
    if which == "last":
        return newest
    if which == "best":
        best_step = load_checkpoint(newest)[1]["progress"]["best_step"]
        if best_step is None:
            raise UserError(f"--checkpoint best: {run.path} was not evaluated in training; take last")
        return run.checkpoints / name_of(best_step)
    place = run.checkpoints / name_of(int(which)) if which.isdecimal() else None
    if place is None or not place.is_dir():
        there = ", ".join(str(step_of(found)) for found in checkpoints(run.checkpoints))
        raise UserError(f"--checkpoint {which}: there is no such checkpoint; take last, best or one of {there}")
    return place


def _record(
    run: RunDir,
    config: Config,
    split: Split,
    plan: EvaluationPlan,
    checkpoint: Path,
    numbers: dict[str, Any],
    model: nn.Module,
    metrics: dict[str, NDArray[np.float64]],
) -> dict[str, Any]:
    step, index = numbers["progress"]["step"], split.index
    return {
        "run_id": read_environment(run)["run_id"],
        "checkpoint": checkpoint.name,
        "step": step,
        "images_seen": step * config.images_per_step,
        "data": {
            "name": index.name,
            "split": index.split,
            "fingerprint": index.fingerprint,
            "num_images": plan.num_images,
        },
        "model": {**config.model.model_dump(mode="json"), "parameters": count_parameters(model)},
        "metrics": {name: summarise(values) for name, values in metrics.items()},
        "definitions": DEFINITIONS,
        "higher_is_better": HIGHER_IS_BETTER,
    }


def _draw(
    run: RunDir, split: Split, model: nn.Module, device: torch.device, errors: NDArray[np.float64], checkpoint: str
) -> None:
    """The reconstructions of one of each class, and the best, median and worst by squared error."""
    chosen = {"reconstructions": one_of_each_class(split)}
    lowest, middle, highest = spread(errors)
    chosen |= {"best": lowest, "median": middle, "worst": highest}
    for name, ids in chosen.items():
        labels = () if name == "reconstructions" else tuple(f"{errors[i]:.4f}" for i in ids)
        title = f"{split.index.name} {split.index.split}, {checkpoint}: {_TITLES[name]}"
        save_picture(reconstructions(model, device, split, ids, title, labels), run.evaluation / f"{name}.png")


_TITLES = {
    "reconstructions": "the first image of each class",
    "best": "the lowest mean squared errors",
    "median": "the middle mean squared errors",
    "worst": "the highest mean squared errors",
}


def _number(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.6f}"
