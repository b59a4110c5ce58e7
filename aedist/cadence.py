"""How long a run goes and what happens how often: the configuration's epochs and images, in whole steps."""

from dataclasses import dataclass
from math import prod

from aedist.config import Train
from aedist.data.plan import Plan

_RECORDS_AN_EPOCH = 20
_SMALL_ROUND_BYTES = 2**24


@dataclass(frozen=True)
class Cadence:
    """How many steps the run has, and how many lie between two records, evaluations and checkpoints."""

    last_step: int
    log_steps: int
    evaluate_steps: int
    checkpoint_steps: int


def micro_batches_a_round(
    train: Train, image_shape: tuple[int, int, int], plan: Plan, slots: int, *, sees_batch: bool
) -> int:
    """How many of its ``slots`` micro-batches of a step a process runs in one forward and backward pass.

    All of them under the fast reduction, where their images together are small (a large step is cut into
    micro-batches to fit in memory); the exact one takes them one by one. Only rounding differs. So does a model in
    which an image's result depends on its batch (``sees_batch``, batch normalisation): its batch is the micro-batch.
    """
    float_bytes = 4 * prod(image_shape) * plan.micro * slots
    fuse = train.fuse_rounds == "auto" and train.reduce == "fast" and float_bytes <= _SMALL_ROUND_BYTES
    return slots if fuse and not sees_batch else 1


def make_cadence(train: Train, plan: Plan) -> Cadence:
    """The cadences of a run. What is given in images is rounded down to whole steps, at least one."""
    epoch = plan.steps_per_epoch

    def steps(images: int | None, default: int) -> int:
        return max(1, default if images is None else images // plan.images_per_step)

    return Cadence(
        last_step=train.steps if train.steps is not None else (train.epochs or 0) * epoch,
        log_steps=min(epoch, steps(train.log_every, epoch // _RECORDS_AN_EPOCH)),  # every epoch's end is recorded
        evaluate_steps=steps(train.evaluate_every, epoch),
        checkpoint_steps=steps(train.checkpoint_every, epoch),
    )
