"""The opening of a run: what is fixed before the first step.

A fresh model and optimiser that are the same everywhere, and rank zero's look into the run's directory: whether
it may be used, and from which checkpoint to go on.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from aedist.architecture import build_model
from aedist.checkpoint import checkpoints, newest_sound, read_numbers, step_of
from aedist.config import Config
from aedist.data.loader import Split
from aedist.data.quarantine import Quarantine, describe, look_through, read_quarantine, spell, without_lost
from aedist.data.source import check_split
from aedist.errors import UserError
from aedist.keys import torch_seed
from aedist.lease import Hold
from aedist.models import count_parameters
from aedist.place import Place
from aedist.rundir import RunDir, Start, begin_attempt, check_data, claim, read_environment
from aedist.training.optimiser import make_optimizer
from aedist.training.state import Progress, TrainState

_WEIGHTS = 1  # what a key is for


def fresh_state(config: Config, split: Split, place: Place) -> TrainState:
    """A model with the weights that the run's seed names, the same on every process and machine, and its optimiser.

    The weights are drawn on the CPU, whatever the device.
    """
    torch.manual_seed(torch_seed(_WEIGHTS, config.run.seed))
    dtype = torch.float64 if config.train.precision == "fp64" else torch.float32
    model = build_model(config.model, split.index.image_shape).to(place.device, dtype)
    decay = config.train.ema_decay
    average = copy.deepcopy(model).requires_grad_(False).eval() if decay is not None else None
    optimizer = make_optimizer(config.optim, model)
    return TrainState(model, optimizer, place.accelerator.scaler, Progress(), average, decay or 0.0)


@dataclass(frozen=True)
class Opening:
    """What rank zero found and decided."""

    checkpoint: Path | None
    attempt: int
    run_id: str
    is_finished: bool


def leave_out_lost(
    config: Config, run: RunDir, splits: Sequence[Split], place: Place, say: Callable[[str], None]
) -> tuple[list[Split], Quarantine | None]:
    """The splits without what cannot be used, and the record of it, where the configuration wants that.

    A run that goes on has the record; else all processes look through the shards together.

    Raises:
        UserError: on every process.
    """
    if config.data.on_error == "strict":
        return list(splits), None
    record = place.from_rank_zero(lambda: read_quarantine(run.quarantine))
    if record is None:
        by_name = {split.index.split: split for split in splits}
        record = describe(
            [
                (split, look_through(split, place.rank, place.world, place.share, config.data.workers, say))
                for split in by_name.values()
            ]
        )
    remaining = [without_lost(split, record, run.quarantine) for split in splits]
    place.agree({f"fingerprint of what remains of {one.index.split}": one.index.fingerprint for one in remaining})
    return remaining, record


def open_run(
    config: Config,
    run: RunDir,
    splits: tuple[Split, Split],
    state: TrainState,
    last_step: int,
    place: Place,
    say: Callable[[str], None],
    quarantine: Quarantine | None = None,
    job: Mapping[str, str] | None = None,
) -> tuple[Opening, Hold]:
    """Rank zero's part: check the shards, take the directory, find the checkpoint, note the attempt.

    Returns:
        What was decided, and the lock that keeps the directory until it is closed.

    Raises:
        UserError: if shards are missing, or the directory is in use or another run's.
    """
    for split in splits:
        check_split(split)
    lock = claim(run, config)
    trained, evaluated = (split.index for split in splits)
    check_data(run, trained, evaluated)
    checkpoint = newest_sound(run.checkpoints, say)
    if checkpoint is None and checkpoints(run.checkpoints):
        raise UserError(
            f"{run.checkpoints}: none of the checkpoints is sound; restore one, or remove them all to start at step 0"
        )
    step = step_of(checkpoint) if checkpoint else 0
    if step > last_step:
        raise UserError(
            f"train.epochs, train.steps: the run is to end after step {last_step:,}, but {run.path} is at step "
            f"{step:,} already; name another run.dir for a shorter run"
        )
    numbers: dict[str, Any] = read_numbers(checkpoint) if checkpoint else {"progress": {}}
    owes_evaluation = numbers["progress"].get("owes_evaluation", False)
    is_finished = step == last_step and not owes_evaluation
    if is_finished:
        record = read_environment(run)
    else:
        model = {"kind": config.model.kind, "parameters": count_parameters(state.model)}
        told = spell(quarantine) if quarantine is not None else None
        start = Start(
            trained, evaluated, model, step, place.world, place.device.type, told, job or {}, numbers.get("run_id")
        )
        record = begin_attempt(run, config, start)
    return Opening(checkpoint, len(record["attempts"]), record["run_id"], is_finished), lock
