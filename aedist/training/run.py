"""A training run from its configuration to its last file: put the parts together, train, export.

Running it again continues: the directory knows its newest sound checkpoint, and the step in it is all the
position there is.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from aedist.asked import Asked
from aedist.cadence import make_cadence, micro_batches_a_round
from aedist.checkpoint import load_checkpoint
from aedist.config import Config
from aedist.data.loader import Split
from aedist.data.plan import make_plan
from aedist.data.source import open_batches, shards_awaited
from aedist.errors import EXIT_FAULT, EXIT_INTERRUPTED, Interrupted, LeftOut, UserError
from aedist.export import export
from aedist.faults import told_in_a_line
from aedist.lease import Hold
from aedist.modelconfig import has_posterior, model_options
from aedist.objective import make_objective
from aedist.place import Place, take_place
from aedist.rundir import RunDir
from aedist.stop import StopRequest
from aedist.summary import plan_lines
from aedist.tracking.voice import SILENT, Voice
from aedist.training.interrupts import Interrupts
from aedist.training.ledger import Ledger
from aedist.training.loop import Parts, train
from aedist.training.noise import make_noise
from aedist.training.opening import Opening, fresh_state, leave_out_lost, open_run
from aedist.training.periodic import PeriodicEvaluation, networks_in_training
from aedist.training.preparation import facts_of_run, prepare
from aedist.training.reduction import make_reduction
from aedist.training.sinks import open_tracker
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
    watch = Watch(asked.rank, config.train.stall_minutes * 60, asked.parent, "train.stall_minutes")
    stop.before_leaving(lambda: watch.closing(EXIT_INTERRUPTED))
    if asked.rank == 0:  # by whose clock all go
        stop.limit(config.train.max_minutes)
    with told_in_a_line(watch):
        return _run(config, asked, voice if asked.rank == 0 else SILENT, cache, stop, watch)


def _run(config: Config, asked: Asked, voice: Voice, cache: Path, stop: StopRequest, watch: Watch) -> RunDir:
    # Mistakes that every process finds by itself come first: a process that leaves while others still gather
    # would leave them without a word.
    ready = prepare(config, asked, cache, voice.say)
    place = take_place(
        asked, config.train.precision, ready.threads, deterministic=config.train.reduce == "exact", watch=watch
    )
    place.agree(facts_of_run(config, ready))
    say, run = voice.say, RunDir(Path(config.run.dir))
    (split, evaluated), quarantine = leave_out_lost(config, run, (ready.split, ready.evaluated), place, say)
    image_shape, plan = split.index.image_shape, make_plan(config, split.index)
    cadence = make_cadence(config.train, plan)
    networks = networks_in_training(config, image_shape[2], cache, place, say)
    objective = make_objective(
        config.objective,
        variational=has_posterior(config.model),
        perceptual=ready.perceptual.to(place.device) if ready.perceptual is not None else None,
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
        tracker = open_tracker(config, run, opening, plan, cadence, state, place, voice)
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
                            ready.slots,
                            (state.progress.step, cadence.last_step),
                            place.rank,
                            place.world,
                            place.device,
                            place.send,
                            say,
                            ready.slots_of_node if asked.local_rank == 0 else (),
                            interrupts.is_asked,
                        ),
                        shards_awaited(split, plan, ready.slots, state.progress.step),
                    ),
                    noise=make_noise(state.model, config.run.seed, plan.micro, place.device, ready.dtype),
                    micro_batches_a_round=micro_batches_a_round(
                        config.train, image_shape, plan, len(ready.slots), sees_batch=ready.sees_batch
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
