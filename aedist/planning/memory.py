"""The memory that a run would take, of a GPU and of a node's host: what is known exactly, and an assumed rest."""

from collections.abc import Mapping
from dataclasses import dataclass

from aedist.config import Config
from aedist.data.loader import IMAGES_A_STRETCH, STRETCHES_AHEAD
from aedist.planning.constants import Constants
from aedist.planning.network import Machines
from aedist.planning.passes import ModelSize, Pass
from aedist.shards.index import Index

GIB = 2**30
ASSUMED_GPU_BYTES = 80 * GIB
"""Of a GPU whose memory nobody named."""


@dataclass(frozen=True)
class Memory:
    """Bytes by what takes them."""

    gpu: Mapping[str, int]
    """Of one GPU; empty without GPUs."""
    host: Mapping[str, int]
    """Of one node."""


def memory_needed(
    config: Config,
    index: Index,
    machines: Machines,
    size: ModelSize,
    training: Pass,
    evaluation_bytes: int,
    slots: int,
    constants: Constants,
    *,
    is_resident: bool,
    gpu_bytes: int,
) -> Memory:
    """What a run takes.

    Args:
        config: the run.
        index: the split that is trained on.
        machines: where.
        size: the model's.
        training: one forward and backward pass.
        evaluation_bytes: the most that a forward pass of the evaluation takes.
        slots: the most micro-batches of a process in a step.
        constants: what is assumed.
        is_resident: whether the split's images are kept in memory.
        gpu_bytes: memory of a GPU, which decides where resident images lie.
    """
    width = 8 if config.train.precision == "fp64" else 4
    image_bytes = index.decoded_bytes // index.num_samples
    weights = width * size.parameters + size.buffers_bytes * width // 4
    process = {
        "weights": weights,
        "gradients" + (", which are DDP's buckets" if _has_buckets(config, machines) else ""): width * size.parameters,
        "Adam's two moments": 2 * width * size.parameters,
        "moving average": weights if config.train.ema_decay is not None else 0,
        "sums of 64-bit integers": 16 * (size.parameters + size.statistics) if config.train.reduce == "exact" else 0,
        "LPIPS's network": training.perceptual_bytes,
        "the largest pass": int((1 + constants.slack) * max(training.peak_bytes, evaluation_bytes)),
        "a step's images": 2 * slots * config.batch.micro * image_bytes,
    }
    is_on_gpu = machines.has_gpus and is_resident and index.decoded_bytes < _free(gpu_bytes, constants) // 2
    if is_on_gpu:
        process["resident images"] = index.decoded_bytes
    process = {name: num_bytes for name, num_bytes in process.items() if num_bytes}
    gpu = {**process, "CUDA, cuDNN, NCCL": int(constants.gpu_base_gib * GIB)} if machines.has_gpus else {}

    stretch = max(IMAGES_A_STRETCH, config.batch.micro * slots) * image_bytes
    workers = machines.per_node * config.data.workers
    checkpoint = 3 * width * size.parameters + (weights if config.train.ema_decay is not None else 0)
    base_gib = constants.process_gib if machines.has_gpus else constants.cpu_process_gib
    read = "resident images" + (" while they are read" if is_on_gpu else "")
    host = {
        "processes": int(machines.per_node * base_gib * GIB),
        "models in training": 0 if machines.has_gpus else machines.per_node * sum(process.values()),
        "loader workers": int(workers * constants.worker_gib * GIB),
        "images read ahead": 0 if is_resident else workers * (1 + STRETCHES_AHEAD) * stretch,
        read: machines.per_node * index.decoded_bytes if is_resident else 0,
        "the checkpoint's copy": checkpoint,
    }
    return Memory(gpu, {name: num_bytes for name, num_bytes in host.items() if num_bytes})


def _has_buckets(config: Config, machines: Machines) -> bool:
    return machines.world > 1 and config.train.reduce == "fast"


def _free(gpu_bytes: int, constants: Constants) -> int:
    return max(0, gpu_bytes - int(constants.gpu_base_gib * GIB))
