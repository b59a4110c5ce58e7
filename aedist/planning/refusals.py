"""What cannot work on the machines that are planned, each in one line with its fix."""

from collections.abc import Mapping

from aedist.config import Config
from aedist.errors import UserError
from aedist.perceptual import check_shape
from aedist.planning.memory import GIB, Memory
from aedist.planning.network import Machines
from aedist.shards.index import Index


def check_world(config: Config, machines: Machines) -> None:
    """Refuse more processes than micro-batches.

    Raises:
        UserError: saying which batch.num_micro would do, and what that does to the batch.
    """
    world, batch, images = machines.world, config.batch, config.images_per_step
    if world <= batch.num_micro:
        return
    kept = (
        f"; batch.micro={images // world} batch.num_micro={world} keeps a step's {images} images"
        if images % world == 0
        else ""
    )
    raise UserError(
        f"batch.num_micro: {batch.num_micro}, but there are {world} processes, and each needs a micro-batch of its "
        f"own; batch.num_micro={world} makes a step of {batch.micro * world} images instead of {images}, for "
        f"which optim.lr must be chosen anew{kept}"
    )


def check_shapes(config: Config, trained: Index, evaluated: Index) -> None:
    """Refuse splits of two shapes, and images that LPIPS cannot look at.

    Raises:
        UserError: if it is so.
    """
    if evaluated.image_shape != trained.image_shape:
        raise UserError(
            f"evaluate.split: the images of {config.evaluate.split} have shape {evaluated.image_shape}, those of "
            f"{config.data.split} {trained.image_shape}; name a split of the same shape"
        )
    if config.objective.lpips:
        check_shape(config.objective.lpips_net, trained.image_shape)


def check_memory(
    config: Config, memory: Memory, gpu_bytes: int | None, host_bytes: int | None, *, is_resident: bool
) -> None:
    """Refuse a GPU or a host with too little memory, where its size was given.

    Raises:
        UserError: with what is needed, the largest part of it, and what would lower that.
    """
    instead = ", or take data.mode=stream" if is_resident else ""
    if gpu_bytes is not None and memory.gpu and _sum(memory.gpu) > gpu_bytes:
        micro = max(1, config.batch.micro // 2)
        raise UserError(
            f"--gpu-memory: {gpu_bytes / GIB:,.1f} GiB, but a GPU needs about {_sum(memory.gpu) / GIB:,.1f} GiB "
            f"(most for {_largest(memory.gpu)}); lower batch.micro, such as to {micro} with twice the batch.num_micro, "
            f"or evaluate.batch{instead}"
        )
    if host_bytes is not None and _sum(memory.host) > host_bytes:
        raise UserError(
            f"--host-memory: {host_bytes / GIB:,.1f} GiB, but a node needs about {_sum(memory.host) / GIB:,.1f} GiB "
            f"(most for {_largest(memory.host)}); start fewer processes a node, or lower data.workers{instead}"
        )


def _sum(parts: Mapping[str, int]) -> int:
    return sum(parts.values())


def _largest(parts: Mapping[str, int]) -> str:
    name = max(parts, key=lambda part: parts[part])
    return f"{name}: {parts[name] / GIB:,.1f} GiB"
