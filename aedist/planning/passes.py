"""What one forward and backward pass needs, found out without memory and without computing: it runs on fake tensors.

They have shapes and lifetimes but no contents, so that the bytes alive at any moment, the operations, their FLOPs and
the order in which gradients arrive are those of the real pass. Scratch space inside an operation is not seen.
"""

import contextlib
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from aedist.architecture import build_model
from aedist.config import Config
from aedist.modelconfig import has_posterior
from aedist.models.norm import batch_statistics
from aedist.objective import make_objective
from aedist.perceptual import sketch_perceptual


@dataclass(frozen=True)
class Pass:
    """A forward and backward pass of so many images."""

    images: int
    saved_bytes: int
    """Kept from forward for backward, without weights."""
    peak_bytes: int
    """The most that is alive at once besides weights, buffers and their gradients."""
    flops: int
    moved_bytes: int
    """Read and written by operations, each by itself."""
    operations: int
    arrivals: tuple[tuple[str, float], ...]
    """Parameters in the order in which their gradients arrive, and the share of the backward pass's traffic by then."""
    perceptual_bytes: int
    """Weights of the network that the objective looks with."""


@dataclass(frozen=True)
class ModelSize:
    """How many numbers a model has, and what lies beside them."""

    parameters: int
    buffers_bytes: int
    statistics: int
    """Numbers that batch normalisation leaves in each pass."""


class _Seen(TorchDispatchMode):
    """Counts operations, the bytes they move, and the bytes alive; memory of ``owned`` tensors is not counted."""

    def __init__(self, owned: Iterable[Tensor]) -> None:
        super().__init__()
        self._owned = {_name(tensor) for tensor in owned}
        self._alive = dict[int, int]()
        self.now = self.peak = self.moved = self.operations = 0

    def disown(self, tensor: Tensor) -> None:
        """Count a tensor's memory no more."""
        self._owned.add(_name(tensor))
        self.now -= self._alive.pop(_name(tensor), 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        new = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        for tensor in new:
            self._meet(tensor)
        if not func.is_view and new and "empty" not in func.name() and "detach" not in func.name():
            touched = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)] + new
            self.moved += sum(tensor.numel() * tensor.element_size() for tensor in touched)
            self.operations += 1
        return result

    def _meet(self, tensor: Tensor) -> None:
        name, storage = _name(tensor), tensor.untyped_storage()
        if name in self._alive or name in self._owned:
            return
        self._alive[name] = storage.nbytes()
        self.now += self._alive[name]
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._part, name)

    def _part(self, name: int) -> None:
        self.now -= self._alive.pop(name, 0)
        self._owned.discard(name)


def _name(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage] (fake tensors have no address)


def model_size(model: nn.Module) -> ModelSize:
    """The size of a model, which may have no memory."""
    return ModelSize(
        parameters=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        buffers_bytes=sum(buffer.numel() * buffer.element_size() for buffer in model.buffers()),
        statistics=sum(statistic.numel() for statistic in batch_statistics(model)),
    )


def training_pass(config: Config, image_shape: tuple[int, int, int], micro_batches: int, *, real: bool = False) -> Pass:
    """The pass of ``micro_batches`` micro-batches in one, as the training runs it; in double precision, twice as large.

    Args:
        config: model, objective, micro-batch and precision.
        image_shape: (height, width, channels).
        micro_batches: how many go through together.
        real: compute it after all, with memory; for tests.
    """
    height, width, channels = image_shape
    images = config.batch.micro * micro_batches
    perceptual = sketch_perceptual(config.objective.lpips_net) if config.objective.lpips else None
    with contextlib.nullcontext() if real else FakeTensorMode(allow_non_fake_inputs=True):
        model = build_model(config.model, image_shape).train()
        objective = make_objective(config.objective, variational=has_posterior(config.model), perceptual=perceptual)
        owned = [*_owned(model), *(_owned(perceptual) if perceptual is not None else ())]
        seen, flops = _Seen(owned), FlopCounterMode(display=False)
        saved, arrivals = dict[int, int](), list[tuple[str, int]]()
        own = {_name(tensor) for tensor in owned}

        def keep(tensor: Tensor) -> Tensor:
            if _name(tensor) not in own:
                saved[_name(tensor)] = tensor.untyped_storage().nbytes()
            return tensor

        def arrived(name: str, parameter: Tensor) -> None:
            arrivals.append((name, seen.moved))
            if parameter.grad is not None:
                seen.disown(parameter.grad)

        for name, parameter in model.named_parameters():
            parameter.register_post_accumulate_grad_hook(partial(arrived, name))
        with seen, flops:
            x_bchw = torch.rand(images, channels, height, width)
            shape = getattr(model, "noise_shape", None)
            noise = torch.rand(images, *shape) if shape is not None else None
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                with _autocast(config):
                    output = model(x_bchw, noise)
                loss, _ = objective(x_bchw, output, 0, micro_batches)
            forward_bytes = seen.moved
            loss.backward()
        backward_bytes = max(1, seen.moved - forward_bytes)
        return Pass(
            images=images,
            saved_bytes=_width(config) * sum(saved.values()),
            peak_bytes=_width(config) * seen.peak,
            flops=flops.get_total_flops(),
            moved_bytes=_width(config) * seen.moved,
            operations=seen.operations,
            arrivals=tuple((name, (moved - forward_bytes) / backward_bytes) for name, moved in arrivals),
            perceptual_bytes=_width(config) * sum(t.numel() * t.element_size() for t in _owned(perceptual))
            if perceptual
            else 0,
        )


def evaluation_peak_bytes(config: Config, image_shape: tuple[int, int, int]) -> int:
    """The most that is alive at once, without weights, in a forward pass of the evaluation's batch."""
    height, width, channels = image_shape
    with FakeTensorMode(), torch.no_grad():
        model = build_model(config.model, image_shape).eval()
        with _Seen(_owned(model)) as seen:
            x_bchw = torch.rand(config.evaluate.batch, channels, height, width)
            with _autocast(config):
                model(x_bchw)
        return _width(config) * seen.peak


def _owned(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _width(config: Config) -> int:
    """How many times as wide as single precision the run's numbers are."""
    return 2 if config.train.precision == "fp64" else 1


def _autocast(config: Config) -> contextlib.AbstractContextManager[Any]:
    """Half precision where the run has it; fake tensors lie on the CPU, and take part in its rules."""
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.train.precision)
    return torch.autocast("cpu", dtype=half) if half is not None else contextlib.nullcontext()
