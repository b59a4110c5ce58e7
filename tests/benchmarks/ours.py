"""aedist's own loop on parts that a benchmark puts together: all that a step has, and no evaluation, no checkpoint."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState

from aedist.architecture import sketch_model
from aedist.asked import Asked
from aedist.cadence import make_cadence, micro_batches_a_round
from aedist.config import Config
from aedist.configfile import parse_config
from aedist.data.loader import Split, StepBatch
from aedist.data.plan import assigned, make_plan
from aedist.modelconfig import has_posterior
from aedist.models.norm import batch_norms
from aedist.objective import make_objective
from aedist.place import Place, take_place
from aedist.stop import StopRequest
from aedist.tracking.tracker import Tracker
from aedist.training.interrupts import Interrupts
from aedist.training.ledger import Ledger
from aedist.training.loop import Parts
from aedist.training.noise import make_noise
from aedist.training.opening import fresh_state
from aedist.training.reduction import make_reduction


def configure(**sections: dict[str, Any]) -> Config:
    """A configuration from its sections, as a file would give it."""
    return parse_config({"track": {"wandb": "disabled"}, **sections}, "the benchmark")


def lone_place(config: Config) -> Place:
    """This process alone, on a GPU where there is one. May be taken again in another precision."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return take_place(Asked(), config.train.precision, config.train.threads)


def parts_of(config: Config, split: Split, place: Place, batches: Iterator[StepBatch], folder: Path) -> Parts:
    """The parts of a run with fresh weights, which ends with its last step; its ledger goes into ``folder``."""
    plan, shape = make_plan(config, split.index), split.index.image_shape
    state, sketch = fresh_state(config, split, place), sketch_model(config.model, shape)
    slots = assigned(plan.num_micro, place.rank, place.world)
    sees_batch = bool(batch_norms(sketch))
    return Parts(
        config=config,
        place=place,
        image_shape=shape,
        plan=plan,
        cadence=make_cadence(config.train, plan),
        objective=make_objective(config.objective, variational=has_posterior(config.model)),
        reduction=make_reduction(config.train.reduce, place, state.model, plan.num_micro, state.scaler),
        state=state,
        batches=batches,
        noise=make_noise(state.model, config.run.seed, plan.micro, place.device, torch.float32),
        micro_batches_a_round=micro_batches_a_round(config.train, shape, plan, len(slots), sees_batch=sees_batch),
        ledger=Ledger(folder, 1, place.rank, plan.micro),
        tracker=Tracker(),
        interrupts=Interrupts(place, StopRequest()),
        evaluate=lambda: False,
        save=lambda: None,
    )
