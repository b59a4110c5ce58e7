"""Where a run runs: this process among its fellows, its device, and how they talk. The only user of accelerate here.

The launcher (accelerate launch, torchrun, srun) says through the environment how many processes there are;
the command line passes that on as ``Asked``. What accelerate then really made must agree, or several lone
processes would each train the whole run over one another. From here on, rank and world size are arguments.
"""

import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from math import isinf
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import (
    DistributedType,
    GradientAccumulationPlugin,
    GradScalerKwargs,
    InitProcessGroupKwargs,
)
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from aedist.asked import Asked
from aedist.errors import ToldByRankZero, UserError
from aedist.meeting import store_of_all
from aedist.notes import tell
from aedist.star import Star
from aedist.watch import Watch

T = TypeVar("T")

_TO_COME_TOGETHER = timedelta(minutes=30)
"""How long the processes wait for one that does not come, when nobody watches yet; also the least for a step's sums."""
_PATIENT = timedelta(days=7)
"""How long a process waits for the others by itself. The watch ends a wait for a process that died, or does nothing."""


@dataclass(frozen=True)
class Place:
    """This process: its rank among ``world`` processes, and its device."""

    accelerator: Accelerator
    rank: int
    world: int
    device: torch.device
    host_group: dist.ProcessGroup | None
    """A gloo group for small messages between the hosts' CPUs; None for a lone process."""
    watch: Watch = field(default_factory=Watch)
    """Who is told what this process is at, and knows of the others."""

    @property
    def is_zero(self) -> bool:
        """Whether this is the process that writes and tells."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[Any]:
        """While it lasts, forward passes compute in the run's precision."""
        return self.accelerator.autocast()

    def in_step_with_others(self, model: nn.Module) -> nn.Module:
        """The module to call in training where DDP is to average gradients; the model itself for a lone process."""
        if self.world == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        with warnings.catch_warnings():
            # torch 2.14 renames the option for later versions; buffers are kept in step by whoever owns them
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            return DistributedDataParallel(
                model, device_ids=devices, broadcast_buffers=False, gradient_as_bucket_view=True
            )

    def no_sync(self, model: nn.Module) -> AbstractContextManager[Any]:
        """While it lasts, a module's backward passes keep their gradients to this process."""
        return self.accelerator.no_sync(model)

    def backward(self, loss: Tensor) -> None:
        """The backward pass, scaled under fp16."""
        self.accelerator.backward(loss)

    def add(self, tensor: Tensor) -> None:
        """Add a tensor over all processes, in place, on its device."""
        if self.world > 1:
            with self.watch.waiting("a sum over all"):
                dist.all_reduce(tensor)

    def add_on_hosts(self, tensor: Tensor) -> None:
        """Add a CPU tensor over all processes, in place, without touching the accelerator."""
        if self.host_group is not None:
            with self.watch.waiting("a sum over all"):
                dist.all_reduce(tensor, group=self.host_group)

    def start_adding_on_hosts(self, tensor: Tensor) -> dist.Work | None:
        """As ``add_on_hosts``, but returns at once; ``wait`` on what it returns before reading the tensor."""
        if self.host_group is None:
            return None
        return dist.all_reduce(tensor, group=self.host_group, async_op=True)

    def send(self, tensor: Tensor, source: int) -> None:
        """Copy a CPU tensor from the process of rank ``source`` to all others, in place."""
        if self.host_group is not None and tensor.numel():
            with self.watch.waiting(f"images that process {source} read"):
                dist.broadcast(tensor, src=source, group=self.host_group)

    def from_rank_zero(self, work: Callable[[], T]) -> T:
        """Do ``work`` on rank zero alone and give its result to all.

        A ``UserError`` there is raised everywhere, so that all end together and it is told once.
        """
        told: list[Any] = [None, None]
        if self.is_zero:
            try:
                told[0] = work()
            except UserError as error:
                told[1] = str(error)
        if self.host_group is not None:
            with self.watch.waiting("what process 0 works out alone"):
                dist.broadcast_object_list(told, src=0, group=self.host_group)
        if told[1] is not None:
            raise ToldByRankZero(told[1])
        return told[0]

    def share(self, value: T) -> list[T]:
        """Every process's value, by rank, on every process."""
        told: list[Any] = [value] * self.world
        if self.host_group is not None:
            with self.watch.waiting("what each has to tell"):
                dist.all_gather_object(told, value, group=self.host_group)
        return told

    def hand_to_zero(self, tensor: Tensor) -> None:
        """Send a CPU tensor to rank zero, which takes it with ``take_from``."""
        if tensor.numel():
            with self.watch.waiting("process 0 to take rows"):
                dist.send(tensor, dst=0, group=self.host_group)

    def take_from(self, source: int, tensor: Tensor) -> None:
        """Fill a CPU tensor with what the process of rank ``source`` hands to this one, rank zero."""
        if tensor.numel():
            with self.watch.waiting(f"rows of process {source}"):
                dist.recv(tensor, src=source, group=self.host_group)

    def agree(self, facts: dict[str, str]) -> None:
        """Refuse processes that are not of one run: every fact must be rank zero's.

        Raises:
            ToldByRankZero: naming the first process and the first fact that differs.
        """
        if self.host_group is None:
            return
        told = self.share(facts)
        for rank, other in enumerate(told):
            for name in sorted({*facts, *other}):
                here, there = told[0].get(name), other.get(name)
                if here != there:
                    raise ToldByRankZero(
                        f"{name}: process 0 has {here}, but process {rank} has {there}; all processes of a run must be "
                        f"started with one configuration, one set of shards and one set of versions"
                    )

    def wait_for_all(self) -> None:
        """Return when every process is here."""
        if self.host_group is not None:
            with self.watch.waiting("all to come so far"):
                dist.barrier(group=self.host_group)

    def leave(self) -> None:
        """Take leave of the other processes, at the end."""
        self.watch.over()
        if self.world > 1:
            dist.destroy_process_group()


def take_place(
    asked: Asked,
    precision: str = "fp32",
    threads: int | None = None,
    *,
    deterministic: bool = False,
    watch: Watch | None = None,
) -> Place:
    """Start this process's part of the run, with its device and its fellows.

    Single precision means single precision: cuDNN's convolutions may not shorten it to TF32, as they would by default.

    Args:
        asked: what the launcher asked for.
        precision: fp32, bf16, fp16 or fp64.
        deterministic: whether cuDNN must take algorithms that give the same bits each time.
        threads: CPU threads to compute with, or None for what the launcher says, else an equal share of
            this machine's cores.
        watch: who is told what this process is at.

    Raises:
        UserError: if the processes did not come together as asked, or the device lacks the precision.
    """
    watch = watch or Watch(asked.rank, parent=asked.parent)
    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        torch.set_flush_denormal(True)  # Adam's moments turn subnormal, and a step slow
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = deterministic
    if precision == "fp16" and on_cpu:
        raise UserError("train.precision: fp16 would silently compute in fp32 on a CPU; take bf16 or fp32")
    longest = _longer_than(watch.stall_seconds)
    if asked.meeting is not None:
        with store_of_all(asked.meeting, asked.rank, asked.world, _TO_COME_TOGETHER) as store:
            backend = "gloo" if on_cpu else "nccl"
            dist.init_process_group(backend, store=store, rank=asked.rank, world_size=asked.world, timeout=longest)
    accelerator = Accelerator(
        cpu=on_cpu,
        mixed_precision=precision if precision in ("bf16", "fp16") else "no",
        dynamo_backend="no",
        # explicit, because accelerate would else take the number from the environment and divide the loss by it
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=longest),
            # of losses that are summed over an image; the usual 65,536 would overflow for a number of steps
            GradScalerKwargs(init_scale=2.0**10),
        ],
    )
    # after accelerate, which would else set its own number
    torch.set_num_threads(threads or asked.threads or max(1, len(os.sched_getaffinity(0)) // asked.local_world))
    world = accelerator.num_processes
    if world != asked.world or accelerator.process_index != asked.rank:
        raise UserError(
            f"the launcher asked for {asked.world} processes, but this one (rank {asked.rank}) is one of {world}; "
            f"alone, each would train the whole run; launch with a configuration from launch/, such as launch/cpu.yaml"
        )
    known = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
    if accelerator.distributed_type not in known:
        kind = accelerator.distributed_type
        raise UserError(f"accelerate's {kind} is not supported; use a configuration from launch/")
    host_group, star = None, None
    if world > 1:
        host_group = dist.new_group(backend="gloo", timeout=_PATIENT)
        assert isinstance(host_group, dist.ProcessGroup)  # noqa: S101 (this process is a member)
        star = _meet(asked, host_group)
    watch.start(star)
    return Place(accelerator, accelerator.process_index, world, accelerator.device, host_group, watch)


def _longer_than(stall_seconds: float) -> timedelta:
    """A time limit of a step's sums that leaves it to the watch to end a wait, which says why."""
    return _TO_COME_TOGETHER if isinf(stall_seconds) else _TO_COME_TOGETHER + timedelta(seconds=stall_seconds)


def _meet(asked: Asked, group: dist.ProcessGroup) -> Star | None:
    """The star of all processes; None where some cannot reach rank zero by it, which is told."""
    star, told = Star(asked.rank, asked.world), list[Any]([None] * asked.world)
    dist.all_gather_object(told, star.open(asked.meets_at) if asked.rank == 0 else None, group=group)
    port, word = told[0]
    came = asked.rank == 0 or star.join(asked.meets_at, port, word)
    dist.all_gather_object(told, came, group=group)
    if all(told):
        return star
    if asked.rank == 0:
        absent = ", ".join(str(rank) for rank, there in enumerate(told) if not there)
        tell(0, f"process {absent} cannot reach {asked.meets_at}:{port}, so a process that dies may be noticed late")
    return None
