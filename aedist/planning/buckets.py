"""The messages in which DDP sums the gradients, asked of DDP itself for any number of processes.

DDP is built in this process as the training builds it, over a process group that only pretends to have others. It is
given the model's parameters and their gradients in the order in which a real backward pass delivers them; a hook notes
what it would send. From the second pass on its buckets are those of that order. Nothing of it stays.
"""

import datetime
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.testing._internal.distributed.fake_pg import FakeStore

from aedist.place import Place

_PASSES = 3


@dataclass(frozen=True)
class Message:
    """One bucket: the names of its parameters, and its bytes."""

    names: tuple[str, ...]
    num_bytes: int


class _InOrder(nn.Module):
    """A stand-in with the same parameters, whose backward pass computes nothing but delivers gradients in an order."""

    def __init__(self, model: nn.Module, order: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self._in_order = [dict(model.named_parameters())[name] for name in order]

    def forward(self, start: Tensor) -> Tensor:
        """The link that is made last is the first on the way back."""
        for parameter in reversed(self._in_order):
            start = _Link.apply(start, parameter)  # pyright: ignore[reportAssignmentType]
        return start


class _Link(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, start: Tensor, parameter: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.like = parameter
        return start.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradient, torch.zeros((), dtype=ctx.like.dtype).expand_as(ctx.like)


def ddp_messages(sketch: nn.Module, order: Sequence[str], world: int) -> list[Message]:
    """The messages of a step on ``world`` processes, in the order in which they are sent.

    Args:
        sketch: the model; its parameters may lie on the meta device.
        order: the names of its parameters as their gradients arrive.
        world: how many processes; for one there is no message.

    Raises:
        RuntimeError: if this process is one of a group already.
    """
    if world == 1:
        return []
    if dist.is_initialized():
        raise RuntimeError("this process is one of a group already")
    told_by = sys.excepthook  # torch's would put a rank before every line of a traceback
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=world, timeout=datetime.timedelta(seconds=60))
    try:
        return _messages(sketch.to_empty(device="cpu"), order, world)
    finally:
        dist.destroy_process_group()
        sys.excepthook = told_by


def _messages(model: nn.Module, order: Sequence[str], world: int) -> list[Message]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    sent = list[Message]()

    def note(_: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # pyright: ignore[reportPrivateImportUsage] (DDP looks for it)
        buffer = bucket.buffer()
        found = tuple(names[id(parameter)] for parameter in bucket.parameters())
        sent.append(Message(found, buffer.numel() * buffer.element_size()))
        done = torch.futures.Future[Tensor]()
        done.set_result(buffer)
        return done

    nobody = Place(cast("Any", None), 0, world, torch.device("cpu"), None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ddp = cast("Any", nobody.in_step_with_others(_InOrder(model, order)))
        ddp.register_comm_hook(None, note)
        for _ in range(_PASSES):
            sent.clear()
            ddp(torch.zeros(1, requires_grad=True)).sum().backward()
    return sent
