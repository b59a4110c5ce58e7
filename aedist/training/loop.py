"""The training loop, to be read from top to bottom.

Its clock is the images seen, its position the step. Everything that varies between runs, the model, the
objective, the reduction, the source of batches, is a part in ``Parts``; the loop has no cases.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import nn

from aedist.cadence import Cadence
from aedist.config import Config
from aedist.data.loader import StepBatch
from aedist.data.pixels import to_unit_range
from aedist.data.plan import Plan
from aedist.errors import UserError
from aedist.models.norm import move_running_statistics
from aedist.objective import Objective, bits_per_dim
from aedist.place import Place
from aedist.tracking.tracker import Tracker
from aedist.training.interrupts import Interrupts
from aedist.training.ledger import Ledger
from aedist.training.noise import Noise
from aedist.training.optimiser import learning_rate, set_learning_rate
from aedist.training.reduction import Reduction
from aedist.training.state import TrainState
from aedist.training.window import Drained, Window


@dataclass(frozen=True)
class Parts:
    """What a run is made of on this process."""

    config: Config
    place: Place
    image_shape: tuple[int, int, int]
    plan: Plan
    cadence: Cadence
    objective: Objective
    reduction: Reduction
    state: TrainState
    batches: Iterator[StepBatch]
    noise: Noise
    """What encodings are drawn with, where the model draws."""
    micro_batches_a_round: int
    """How many of a process's micro-batches one forward and backward pass takes."""
    ledger: Ledger
    tracker: Tracker
    interrupts: Interrupts
    evaluate: Callable[[], bool]
    """Evaluate the model as it is, or owe that if the run is asked to stop; whether to checkpoint for it."""
    save: Callable[[], None]
    """Checkpoint the state as it is; it may be written while training goes on."""


def train(run: Parts) -> bool:
    """Train to the last step. Returns whether it got there: False if it was asked to stop, and checkpointed.

    Raises:
        UserError: if too many steps in a row had a non-finite loss or gradient.
    """
    config, place, plan, state = run.config, run.place, run.plan, run.state
    progress, parameters = state.progress, [p for p in state.model.parameters() if p.requires_grad]
    dtype = torch.float64 if config.train.precision == "fp64" else torch.float32
    window = Window(place, run.cadence.log_steps, plan.num_micro, len(run.objective.names))
    total_images = run.cadence.last_step * plan.images_per_step
    state.model.train()

    if progress.owes_evaluation and not _evaluated(run):
        return False
    while progress.step < run.cadence.last_step:
        run.interrupts.begin_step(progress.step + 1)
        waiting = time.monotonic()
        batch = next(run.batches)
        waited_seconds = time.monotonic() - waiting

        # forward and backward, one round after another
        seen = progress.step * plan.images_per_step
        rate = learning_rate(config.optim, seen, plan.images_per_step, total_images)
        set_learning_rate(state.optimizer, rate)
        images = batch.images.to(place.device, non_blocking=True)
        for first in range(0, len(batch.slots), run.micro_batches_a_round):
            slots = batch.slots[first : first + run.micro_batches_a_round]
            with run.reduction.round(last=slots[-1] == batch.slots[-1]):
                x_bchw = to_unit_range(images[first : first + len(slots)].flatten(0, 1), dtype)
                with place.autocast():
                    output = run.reduction.module(x_bchw, run.noise(progress.step, slots))
                loss, terms = run.objective(x_bchw, output, seen, len(slots))
                run.reduction.backward(loss, len(slots))
            window.add_terms(slots, terms)

        # update, unless some process found something that is not finite
        run.reduction.finish()
        gradient_norm = _update(run, parameters)
        skipped = not isfinite(gradient_norm)
        progress.skipped_steps += skipped
        progress.bad_in_a_row = progress.bad_in_a_row + 1 if skipped else 0

        progress.step += 1
        run.ledger.add(batch)
        window.end_step(waited_seconds, skipped=skipped)

        # log, evaluate, checkpoint, stop
        stop = run.interrupts.agreed_to_stop()
        last = progress.step == run.cadence.last_step
        epoch_ends = progress.step % plan.steps_per_epoch == 0
        evaluate = last or progress.step % run.cadence.evaluate_steps == 0
        save = last or stop or progress.step % run.cadence.checkpoint_steps == 0
        diverged = progress.bad_in_a_row >= config.train.max_bad_steps
        if progress.step % run.cadence.log_steps == 0 or epoch_ends or evaluate or save or diverged:
            _log(run, window.drain(), gradient_norm, rate)
        if diverged:
            raise UserError(_diverged(run))
        if epoch_ends:
            _log_epoch(run)
        away = time.monotonic()
        if evaluate:
            save = run.evaluate() or save
        if save:
            run.save()
        window.away(time.monotonic() - away)
        if progress.owes_evaluation or (stop and not last):
            return False
    return True


def _evaluated(run: Parts) -> bool:
    """Make up for the evaluation that a stop left out, and checkpoint. Returns whether it is done."""
    run.evaluate()
    run.save()
    return not run.state.progress.owes_evaluation


def _update(run: Parts, parameters: list[nn.Parameter]) -> float:
    """Move the weights and what follows them, unless the gradient is not finite. Returns the gradient's norm."""
    state, clip_norm = run.state, run.config.optim.clip_norm
    if state.scaler:
        state.scaler.unscale_(state.optimizer)
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if clip_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
    gradient_norm = norm.item()
    if isfinite(gradient_norm):
        state.optimizer.step()
        move_running_statistics(state.model)
        state.follow_average()
    if state.scaler:
        state.scaler.update()
    state.optimizer.zero_grad()
    return gradient_norm


def _log(run: Parts, drained: Drained, gradient_norm: float, rate: float) -> None:
    """Record the steps of a window: their mean loss, and each number in them that was not finite."""
    progress, plan, names = run.state.progress, run.plan, run.objective.names
    first, bad = progress.step - len(drained.terms), drained.bad()
    for step, slot, term in bad:
        where = {"slot": slot, "rank": slot % run.place.world}
        what = {"term": names[term], "value": str(drained.terms[step, slot, term])}
        run.tracker.record({"kind": "skipped", **_clock(run, first + step + 1), **where, **what})
    for step in sorted(set(drained.skipped) - {step for step, _, _ in bad}):  # finite terms, but not their gradient
        what = {"slot": None, "rank": None, "term": "gradient", "value": "not finite"}
        run.tracker.record({"kind": "skipped", **_clock(run, first + step + 1), **what})
    good = drained.good
    means = good.mean(axis=(0, 1)) if len(good) else np.full(len(names), np.nan)
    terms = dict(zip(names, means.tolist(), strict=True))
    weights = np.array([run.objective.weights_at((first + step) * plan.images_per_step) for step in drained.good_steps])
    loss = float((good.mean(axis=1) * weights).sum(axis=1).mean()) if len(good) else float("nan")
    nats = run.objective.nats(terms)
    # a sum of sums by step, so that where windows end does not touch the result
    for step in good:
        for name, value in zip(names, (step.sum(axis=0) * plan.micro).tolist(), strict=True):
            progress.epoch_sums[name] = progress.epoch_sums.get(name, 0.0) + value
    progress.epoch_seconds += drained.processes[0].seconds
    run.tracker.record(
        {
            "kind": "train",
            **_clock(run, progress.step),
            "window_steps": len(drained.terms),
            "loss": loss,
            "terms": terms,
            **({"nats": nats, "bits_per_dim": bits_per_dim(nats, run.image_shape)} if nats else {}),
            "learning_rate": rate,
            "gradient_norm": gradient_norm,
            "skipped_steps": progress.skipped_steps,
            **_speeds(drained, plan),
        }
    )


def _speeds(drained: Drained, plan: Plan) -> dict[str, Any]:
    """How fast the steps of a window were, by rank zero's clock, and what each process tells of itself."""
    images, seconds = len(drained.terms) * plan.images_per_step, max(drained.processes[0].seconds, 1e-9)
    ranks = [
        {
            "images_per_second": one.micro_batches * plan.micro / max(one.seconds, 1e-9),
            "data_wait": one.waited_seconds / max(one.seconds, 1e-9),
            "memory_bytes": one.memory_bytes,
        }
        for one in drained.processes
    ]
    return {
        "images_per_second": images / seconds,
        "data_wait": ranks[0]["data_wait"],
        "memory_bytes": max(one.memory_bytes for one in drained.processes),
        "ranks": {name: [one[name] for one in ranks] for name in ranks[0]},
    }


def _log_epoch(run: Parts) -> None:
    """Record the sums over an epoch's images, and begin the next epoch's."""
    progress = run.state.progress
    sums = dict(progress.epoch_sums)
    epoch = progress.step // run.plan.steps_per_epoch
    run.tracker.record(
        {"kind": "epoch", **_clock(run, progress.step), "epoch": epoch, "sums": sums, "seconds": progress.epoch_seconds}
    )
    progress.epoch_sums.clear()
    progress.epoch_seconds = 0.0


def _clock(run: Parts, step: int) -> dict[str, float]:
    return {"step": step, "images": step * run.plan.images_per_step, "epoch": step / run.plan.steps_per_epoch}


def _diverged(run: Parts) -> str:
    progress = run.state.progress
    return (
        f"training diverged: {progress.bad_in_a_row} steps in a row up to step {progress.step} had a non-finite loss "
        f"or gradient (train.max_bad_steps: {run.config.train.max_bad_steps}); start in another run.dir with a lower "
        f"optim.lr ({run.config.optim.lr:g}), or with optim.clip_norm set"
    )
