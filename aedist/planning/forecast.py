"""From a configuration and machines to what would happen there, or to why it cannot work."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from aedist.architecture import check_micro_batch, sketch_model
from aedist.cadence import Cadence, make_cadence, micro_batches_a_round
from aedist.config import Config
from aedist.data.plan import Plan, make_plan, rounds
from aedist.data.source import check_budget, is_resident
from aedist.models.norm import batch_norms
from aedist.planning.buckets import ddp_messages
from aedist.planning.constants import Constants
from aedist.planning.described import Described, describe
from aedist.planning.memory import ASSUMED_GPU_BYTES, Memory, memory_needed
from aedist.planning.network import Bucket, Machines, all_reduce_seconds, exposed_seconds
from aedist.planning.passes import ModelSize, Pass, evaluation_peak_bytes, model_size, training_pass
from aedist.planning.reading import Reading, resident, streamed
from aedist.planning.refusals import check_memory, check_shapes, check_world
from aedist.planning.speed import Compute, Speed, compute_of


@dataclass(frozen=True)
class Question:
    """What is to be planned."""

    config: Config
    machines: Machines
    constants: Constants
    speed: Speed | None = None
    """Of one process, where it is known."""
    gpu_bytes: int | None = None
    host_bytes: int | None = None
    images: int | None = None
    """Of a split that is neither built here nor counted in its recipe."""
    cache: Path | None = None
    """Where this machine keeps what was fetched."""


@dataclass(frozen=True)
class Forecast:
    """What would happen. Times are predicted; without a speed there is none."""

    question: Question
    described: Described
    plan: Plan
    cadence: Cadence
    reading: Reading
    is_resident: bool
    size: ModelSize
    training: Pass
    memory: Memory
    buckets: tuple[Bucket, ...]
    """Of gradients, as DDP sends them; one for the exact sums."""
    statistics_bytes: int
    """Of batch normalisation, summed by themselves at the end of a step."""
    all_reduce_seconds: float
    exposed_seconds: float | None
    compute: Compute | None

    @property
    def rounds(self) -> int:
        """Gradient accumulation: the most micro-batches of a process in a step."""
        return rounds(self.plan.num_micro, self.question.machines.world)

    @property
    def step_seconds(self) -> float | None:
        """Of one step."""
        if self.compute is None or self.exposed_seconds is None:
            return None
        return max(self.compute.seconds + self.exposed_seconds, self.compute.decode_seconds)

    @property
    def waits_for_data(self) -> bool:
        """Whether decoding takes longest."""
        return self.compute is not None and self.compute.decode_seconds == self.step_seconds

    @property
    def images_per_second(self) -> float | None:
        """Of all processes together."""
        return self.plan.images_per_step / self.step_seconds if self.step_seconds else None

    @property
    def efficiency(self) -> float | None:
        """Images a second against as many processes that need not wait for each other, with as much to do each."""
        if self.compute is None or self.images_per_second is None:
            return None
        alone = self.rounds * self.plan.micro / max(self.compute.seconds, self.compute.decode_seconds)
        return self.images_per_second / (self.question.machines.world * alone)

    @property
    def run_seconds(self) -> float | None:
        """Of all steps, without evaluations, checkpoints and the reading into memory."""
        return self.cadence.last_step * self.step_seconds if self.step_seconds else None


def forecast(question: Question) -> Forecast:
    """What would happen.

    Raises:
        UserError: if it cannot work, with the fix.
    """
    config, machines, constants = question.config, question.machines, question.constants
    check_world(config, machines)
    described, evaluated = (
        describe(config.data, name, question.cache, constants, question.images)
        for name in (config.data.split, config.evaluate.split)
    )
    index = described.split.index
    check_shapes(config, index, evaluated.split.index)
    plan = make_plan(config, index)
    sketch = sketch_model(config.model, index.image_shape)
    check_micro_batch(sketch, index.image_shape, plan.micro)
    slots = rounds(plan.num_micro, machines.world)
    readers = machines.per_node * max(1, config.data.workers)
    check_budget(config.data, described.split, readers, plan, min(plan.num_micro, machines.per_node * slots))
    check_budget(config.data, evaluated.split, readers)
    keeps = is_resident(config.data, described.split)

    together = micro_batches_a_round(config.train, index.image_shape, plan, slots, sees_batch=bool(batch_norms(sketch)))
    size, training = model_size(sketch), training_pass(config, index.image_shape, together)
    memory = memory_needed(
        config,
        index,
        machines,
        size,
        training,
        evaluation_peak_bytes(config, index.image_shape),
        slots,
        constants,
        is_resident=keeps,
        gpu_bytes=question.gpu_bytes or ASSUMED_GPU_BYTES,
    )
    check_memory(config, memory, question.gpu_bytes, question.host_bytes, is_resident=keeps)

    buckets = _buckets(config, sketch, size, training, machines)
    statistics_bytes = 8 * size.statistics if machines.world > 1 and config.train.reduce == "fast" else 0
    pixels = 0 if keeps else index.image_shape[0] * index.image_shape[1]
    compute = compute_of(
        question.speed, training, slots, config, size, constants, on_gpu=machines.has_gpus, decoded_pixels=pixels
    )
    at_the_end = all_reduce_seconds(statistics_bytes, machines, constants) if statistics_bytes else 0.0
    return Forecast(
        question,
        described,
        plan,
        make_cadence(config.train, plan),
        resident(index, machines.nodes, machines.per_node)
        if keeps
        else streamed(index, plan, machines.nodes, machines.per_node),
        keeps,
        size,
        training,
        memory,
        buckets,
        statistics_bytes,
        all_reduce_seconds(sum(bucket.num_bytes for bucket in buckets), machines, constants),
        exposed_seconds(buckets, compute.backward_seconds, machines, constants) + at_the_end if compute else None,
        compute,
    )


def _buckets(
    config: Config, sketch: nn.Module, size: ModelSize, training: Pass, machines: Machines
) -> tuple[Bucket, ...]:
    """What is summed of the gradients in a step, in the order in which it is sent."""
    if machines.world == 1:
        return ()
    if config.train.reduce == "exact":  # integers of all gradients and statistics, and two counts, after the last pass
        return (Bucket(8 * (size.parameters + size.statistics + 2), 1.0),)
    arrived = dict(training.arrivals)
    dtype = torch.float64 if config.train.precision == "fp64" else torch.float32
    return tuple(
        Bucket(message.num_bytes, max(arrived[name] for name in message.names))
        for message in ddp_messages(sketch.to(dtype), list(arrived), machines.world)
    )
