"""To whom rank zero tells what a run does: its own files, whoever looks on, and W&B."""

from pathlib import Path

from aedist.cadence import Cadence
from aedist.config import Config
from aedist.data.plan import Plan
from aedist.place import Place
from aedist.rundir import RunDir
from aedist.tracking.apart import wandb_of_run
from aedist.tracking.ending import Ending
from aedist.tracking.jsonl import JsonLines
from aedist.tracking.outlook import Outlook
from aedist.tracking.tail import last_evaluations
from aedist.tracking.tracker import Sink, Tracker
from aedist.tracking.voice import Voice
from aedist.training.opening import Opening
from aedist.training.state import TrainState


def open_tracker(
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
