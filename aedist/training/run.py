"""A training run from its configuration to its last file: put the parts together, train, export.

Running it again continues: the directory knows its newest sound checkpoint, and the step in it is all the
position there is.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from aedist.architecture import check_micro_batch, sketch_model
from aedist.asked import Asked
from aedist.cadence import Cadence, make_cadence, micro_batches_a_round
from aedist.checkpoint import load_checkpoint
from aedist.config import Config
from aedist.configfile import result_keys
from aedist.data.loader import Split
from aedist.data.plan import Plan, assigned, make_plan
from aedist.data.source import check_budget, is_resident, open_batches, open_split, shard_cache, shards_awaited
from aedist.errors import EXIT_FAULT, EXIT_INTERRUPTED, Interrupted, LeftOut, UserError
from aedist.export import export
from aedist.faults import told_in_a_line
from aedist.lease import Hold
from aedist.modelconfig import has_posterior, model_options
from aedist.models.norm import batch_norms
from aedist.objective import make_objective
from aedist.perceptual import check_shape
from aedist.place import Place, take_place
from aedist.rundir import RunDir
from aedist.stop import StopRequest
from aedist.summary import plan_lines
from aedist.tracking.apart import wandb_of_run
from aedist.tracking.ending import Ending
from aedist.tracking.jsonl import JsonLines
from aedist.tracking.outlook import Outlook
from aedist.tracking.tail import last_evaluations
from aedist.tracking.tracker import Sink, Tracker
from aedist.tracking.voice import SILENT, Voice
from aedist.training.interrupts import Interrupts
from aedist.training.ledger import Ledger
from aedist.training.loop import Parts, train
from aedist.training.noise import make_noise
from aedist.training.opening import Opening, fresh_state, leave_out_lost, open_run
from aedist.training.periodic import PeriodicEvaluation, networks_in_training
from aedist.training.reduction import make_reduction
from aedist.training.state import TrainState
from aedist.training.writer import CheckpointWriter
from aedist.watch import Watch


def run_training(config: Config, asked: Asked, voice: Voice, cache: Path, stop: StopRequest) -> RunDir:
    """Train, or go on training, as the configuration says. Returns the run's directory.

    Args:
        config: the run.
        asked: what the launcher asked of this process.
        voice: how rank zero tells; the other processes are silent.
        cache: where fetched weights of networks lie, and fetched shards unless the configuration says.
        stop: what this process is asked while it lives.

    Raises:
        UserError: for whatever the user can mend.
        Interrupted: if the run was asked to stop; it is checkpointed.
        Fault: if a process is lost or hangs, or memory does not suffice.
    """
    watch = Watch(asked.rank, config.train.stall_minutes * 60, asked.parent)
    stop.before_leaving(lambda: watch.closing(EXIT_INTERRUPTED))
    if asked.rank == 0:  # by whose clock all go
        stop.limit(config.train.max_minutes)
    with told_in_a_line(watch):
        return _run(config, asked, voice if asked.rank == 0 else SILENT, cache, stop, watch)


def _run(config: Config, asked: Asked, voice: Voice, cache: Path, stop: StopRequest, watch: Watch) -> RunDir:
    # Mistakes that every process finds by itself come first: a process that leaves while others still gather
    # would leave them without a word.
    split, evaluated = (
        open_split(config.data.shards, name, shard_cache(config.data, cache), voice.say)
        for name in (config.data.split, config.evaluate.split)
    )
    if evaluated.index.image_shape != split.index.image_shape:
        raise UserError(
            f"evaluate.split: the images of {config.evaluate.split} have shape {evaluated.index.image_shape}, those of "
            f"{config.data.split} {split.index.image_shape}; name a split of the same shape"
        )
    image_shape, plan = split.index.image_shape, make_plan(config, split.index)
    if config.objective.lpips:
        check_shape(config.objective.lpips_net, image_shape)
    sketch = sketch_model(config.model, image_shape)
    check_micro_batch(sketch, image_shape, plan.micro)
    slots, cadence = assigned(plan.num_micro, asked.rank, asked.world), make_cadence(config.train, plan)
    is_resident(config.data, split)
    slots_of_node = _check_node(config, asked, split, evaluated, plan)
    threads = config.train.threads or (1 if config.train.reduce == "exact" else None)
    dtype = torch.float64 if config.train.precision == "fp64" else torch.float32
    perceptual = _perceptual(config, cache, dtype)
    place = take_place(
        asked, config.train.precision, threads, deterministic=config.train.reduce == "exact", watch=watch
    )
    place.agree(_facts_of_run(config, split, evaluated))
    say, run = voice.say, RunDir(Path(config.run.dir))
    (split, evaluated), quarantine = leave_out_lost(config, run, (split, evaluated), place, say)
    plan = make_plan(config, split.index)
    cadence = make_cadence(config.train, plan)
    networks = networks_in_training(config, image_shape[2], cache, place, say)
    objective = make_objective(
        config.objective,
        variational=has_posterior(config.model),
        perceptual=perceptual.to(place.device) if perceptual is not None else None,
    )

    # where it goes on
    state = fresh_state(config, split, place)
    locks: list[Hold] = []

    def open_on_rank_zero() -> Opening:
        opening, lock = open_run(
            config, run, (split, evaluated), state, cadence.last_step, place, say, quarantine, asked.job
        )
        locks.append(lock)
        return opening

    opening = place.from_rank_zero(open_on_rank_zero)
    if opening.checkpoint:
        _restore(state, opening.checkpoint)
    for line in plan_lines(config, split, plan, place.world, cadence.last_step, state.progress.step):
        say(line)

    # train, and leave the model behind
    leave_model = partial(_export, config, split, state, run, opening.run_id, place)
    if not opening.is_finished:
        tracker = _open_tracker(config, run, opening, plan, cadence, state, place, voice)
        ledger = Ledger(run.ledger, opening.attempt, place.rank, plan.micro)
        writer = CheckpointWriter(
            run.checkpoints, config.train.keep_last, state, ledger, tracker, place, voice.warn, opening.run_id
        )
        exit_code, interrupts = EXIT_FAULT, Interrupts(place, stop)
        try:
            with told_in_a_line(watch):  # before files are closed, which may take its time
                parts = Parts(
                    config=config,
                    place=place,
                    image_shape=image_shape,
                    plan=plan,
                    cadence=cadence,
                    objective=objective,
                    reduction=make_reduction(config.train.reduce, place, state.model, plan.num_micro, state.scaler),
                    state=state,
                    batches=watch.each(
                        open_batches(
                            config.data,
                            split,
                            plan,
                            slots,
                            (state.progress.step, cadence.last_step),
                            place.rank,
                            place.world,
                            place.device,
                            place.send,
                            say,
                            slots_of_node if asked.local_rank == 0 else (),
                            interrupts.is_asked,
                        ),
                        shards_awaited(split, plan, slots, state.progress.step),
                    ),
                    noise=make_noise(state.model, config.run.seed, plan.micro, place.device, dtype),
                    micro_batches_a_round=micro_batches_a_round(
                        config.train, image_shape, plan, len(slots), sees_batch=bool(batch_norms(sketch))
                    ),
                    ledger=ledger,
                    tracker=tracker,
                    interrupts=interrupts,
                    evaluate=PeriodicEvaluation(
                        config, evaluated, plan, place, state, tracker, run, networks, interrupts.is_asked
                    ),
                    save=writer.save,
                )
                finished = _train(parts, writer, leave_model)
            exit_code = 0 if finished else EXIT_INTERRUPTED
        except LeftOut:
            finished, exit_code = None, EXIT_INTERRUPTED
        finally:
            with ExitStack() as closing:  # from the last to the first, each even if another fails
                closing.callback(tracker.close, exit_code)
                closing.callback(ledger.close)
                closing.callback(writer.close)
        place.wait_for_all()  # a launcher ends the others when the first one leaves
        if not finished:
            step = state.progress.step
            place_in_run = f"before step {step + 1:,}" if finished is None else f"after step {step:,}, and checkpointed"
            raise Interrupted(f"stopped by {interrupts.name} {place_in_run}; the same command goes on from there")

    else:  # it may lack its model
        leave_model()
    place.wait_for_all()
    place.leave()
    return run


def _train(parts: Parts, writer: CheckpointWriter, leave_model: Callable[[], None]) -> bool:
    """Train, until the last checkpoint is there and the model beside it, which trackers may keep."""
    finished = train(parts)
    writer.finish()
    if finished:
        leave_model()
    return finished


def _export(config: Config, split: Split, state: TrainState, run: RunDir, run_id: str, place: Place) -> None:
    if not place.is_zero:
        return
    index = split.index
    record = {
        "kind": config.model.kind,
        "options": model_options(config.model, index.image_shape),
        "value_range": [0, 1],
        "normalisation": "uint8 / 255; neither mean nor standard deviation is taken out",
        "data": {"name": index.name, "fingerprint": index.fingerprint, "classes": index.classes},
        "run_id": run_id,
        "step": state.progress.step,
        "weights": "moving average" if state.average is not None else "last",
        "metrics": {"split": config.evaluate.split, **state.progress.metrics},
    }
    export(run.model, state.usable, record)


def _check_node(config: Config, asked: Asked, split: Split, evaluated: Split, plan: Plan) -> list[int]:
    """The micro-batch slots of all processes of this machine, whose ranks follow one another.

    Raises:
        UserError: if the machine's cache of shards is too small for them.
    """
    first = asked.rank - asked.local_rank
    ranks = range(first, min(first + asked.local_world, asked.world))
    slots = [slot for rank in ranks for slot in assigned(plan.num_micro, rank, asked.world)]
    readers = asked.local_world * max(1, config.data.workers)
    check_budget(config.data, split, readers, plan, len(slots))
    check_budget(config.data, evaluated, readers)
    return slots


def _facts_of_run(config: Config, *splits: Split) -> dict[str, str]:
    """What must be the same on every process, or they would train something that no configuration describes."""
    facts = {name: str(value) for name, value in result_keys(config).items()}
    facts |= {f"fingerprint of {split.folder.name}": split.index.fingerprint for split in splits}
    return facts | {f"version of {name}": version(name) for name in ("aedist", "torch")}


def _restore(state: TrainState, checkpoint: Path) -> None:
    """Go on from a checkpoint.

    Raises:
        UserError: if it is of another version's model or optimiser.
    """
    try:
        state.restore(*load_checkpoint(checkpoint))
    except (KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{checkpoint}: does not fit the run's model and optimiser ({reason}); go on with the version of aedist "
            f"that wrote it, or name another run.dir"
        ) from error


def _perceptual(config: Config, cache: Path, dtype: torch.dtype) -> nn.Module | None:
    """The network of the LPIPS term, where it has a weight, on the CPU. Only then is its library imported.

    Raises:
        UserError: if its weights were not fetched.
    """
    if not config.objective.lpips:
        return None
    from aedist.perceptual import load_perceptual  # noqa: PLC0415 (a second, and few runs need it)

    return load_perceptual(config.objective.lpips_net, cache, torch.device("cpu"), dtype)


def _open_tracker(
    config: Config,
    run: RunDir,
    opening: Opening,
    plan: Plan,
    cadence: Cadence,
    state: TrainState,
    place: Place,
    voice: Voice,
) -> Tracker:
    """Rank zero's sinks; none on the other processes."""
    if not place.is_zero:
        return Tracker()
    step = state.progress.step
    records = JsonLines(run.metrics, step, owes_evaluation=state.progress.owes_evaluation)
    outlook = Outlook(
        run=run.path,
        title=f"{run.path.name}: {config.model.kind} on {Path(config.data.shards).name}",
        images_per_step=plan.images_per_step,
        steps_per_epoch=plan.steps_per_epoch,
        last_step=cadence.last_step,
        evaluate_steps=cadence.evaluate_steps,
        checkpoint_steps=cadence.checkpoint_steps,
        first_step=step,
        attempt=opening.attempt,
        world=place.world,
        device=place.device.type,
        earlier=last_evaluations(run.metrics) if step else (),
        best_error=state.progress.best_value,
        step=lambda: place.watch.step,
        at=lambda: place.watch.where(in_full=False),
    )
    sinks: list[Sink] = [records, *voice.sinks(outlook), Ending(run.path / "ending.json", opening.attempt)]
    wandb_sink = wandb_of_run(config, run, voice.warn)
    return Tracker([*sinks, wandb_sink] if wandb_sink else sinks, opening.attempt)
