"""How long a run goes and what happens how often: the configuration's epochs and images, in whole steps."""

from dataclasses import dataclass

from aedist.config import Train
from aedist.data.plan import Plan

_RECORDS_AN_EPOCH = 20


@dataclass(frozen=True)
class Cadence:
    """How many steps the run has, and how many lie between two records, evaluations and checkpoints."""

    last_step: int
    log_steps: int
    evaluate_steps: int
    checkpoint_steps: int


def make_cadence(train: Train, plan: Plan) -> Cadence:
    """The cadences of a run. What is given in images is rounded down to whole steps, at least one."""
    epoch = plan.steps_per_epoch

    def steps(images: int | None, default: int) -> int:
        return max(1, default if images is None else images // plan.images_per_step)

    return Cadence(
        last_step=train.steps if train.steps is not None else (train.epochs or 0) * epoch,
        log_steps=steps(train.log_every, epoch // _RECORDS_AN_EPOCH),
        evaluate_steps=steps(train.evaluate_every, epoch),
        checkpoint_steps=steps(train.checkpoint_every, epoch),
    )
