"""How the micro-batches' gradients become the step's gradient, the same on every process.

Two reductions leave in every ``grad`` the mean over the M micro-batches. ``Fast`` is DDP's all-reduce in
floating point, overlapped with the last backward pass: its rounding depends on which process ran what.
``Exact`` adds the gradients of single micro-batches as 64-bit fixed-point integers: integer sums do not depend
on their order, so the parameters are bit-identical for any number of processes.

The statistics of batch normalisation, which each pass leaves behind, are brought together in the same way. A
non-finite loss is made a non-finite gradient, so that every process learns of it by the reduction itself.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from aedist.errors import UserError
from aedist.models.norm import batch_statistics
from aedist.place import Place


class Reduction(Protocol):
    """What the loop needs: a context around each round, its backward pass, and the end of the step."""

    @property
    def module(self) -> nn.Module:
        """The module to call in training."""
        ...

    def round(self, *, last: bool) -> AbstractContextManager[Any]:
        """Around the forward and backward pass of one round; ``last`` is this process's last of the step."""
        ...

    def backward(self, loss: Tensor, micro_batches: int) -> None:
        """The backward pass of a round's loss, a mean over the images of its micro-batches."""
        ...

    def finish(self) -> None:
        """After the last round: every ``grad`` holds the mean over the M micro-batches, or non-finite numbers.

        Under fp16 they are still multiplied by the scaler's scale. The model's ``batch_statistics`` hold their mean
        over the M micro-batches.
        """
        ...


class Fast:
    """DDP's own all-reduce, in the gradients' floating point."""

    def __init__(self, place: Place, model: nn.Module, num_micro: int) -> None:
        self.module = place.in_step_with_others(model)
        self._place = place
        # DDP divides the sum over W processes by W; with this the result is the mean over the M micro-batches
        # also where processes run different numbers of them
        self._scale = place.world / num_micro
        self._num_micro = num_micro
        self._statistics = batch_statistics(model)
        self._sums = _flat(self._statistics).double().zero_()

    def round(self, *, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self._place.no_sync(self.module)

    def backward(self, loss: Tensor, micro_batches: int) -> None:
        self._place.backward(_spoil_if_not_finite(loss) * (self._scale * micro_batches))
        self._sums += _flat(self._statistics)

    def finish(self) -> None:
        """The last backward pass reduced the gradients; only batch statistics are left to be brought together."""
        if self._statistics:
            self._place.add(self._sums)
            _unflatten(self._sums / self._num_micro, self._statistics)
            self._sums.zero_()


class Exact:
    """Sums of 64-bit fixed-point integers, 2^-40 apart.

    Every gradient is rounded to a multiple of 2^-40 (9.1e-13) once, before it is added. A gradient of a
    micro-batch may be as large as 2^22 / M before the sum of M could overflow; larger ones are refused.
    """

    STEPS_PER_ONE = 2.0**40

    def __init__(self, place: Place, model: nn.Module, num_micro: int, scaler: GradScaler | None) -> None:
        self.module = model
        self._place, self._num_micro, self._scaler = place, num_micro, scaler
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._largest = 2.0**22 / num_micro
        self._statistics = batch_statistics(model)
        # All gradients are views of one flat tensor, so that a micro-batch costs a few passes over memory. Behind them
        # stand the batch statistics, which are added in the same way.
        self._num_gradients = sum(parameter.numel() for parameter in self._parameters)
        size = self._num_gradients + sum(statistic.numel() for statistic in self._statistics)
        like = self._parameters[0]
        self._flat = torch.zeros(size, dtype=like.dtype, device=like.device)
        self._rounded = torch.zeros(size, dtype=torch.int64, device=like.device)
        # the last two count the micro-batches with a non-finite and with a too large number
        self._sums = torch.zeros(size + 2, dtype=torch.int64, device=like.device)

    def round(self, *, last: bool) -> AbstractContextManager[Any]:
        start = 0
        for parameter in self._parameters:
            parameter.grad = self._flat[start : start + parameter.numel()].view_as(parameter)
            start += parameter.numel()
        return nullcontext()

    def backward(self, loss: Tensor, micro_batches: int) -> None:
        if micro_batches != 1:
            raise ValueError("the exact reduction takes the micro-batches one by one")
        self._flat.zero_()
        self._place.backward(_spoil_if_not_finite(loss))
        if self._scale_of_loss() != 1:
            self._flat.div_(self._scale_of_loss())
        self._flat[self._num_gradients :] = _flat(self._statistics)
        largest = torch.linalg.vector_norm(self._flat, torch.inf)  # NaN if any is
        self._sums[-2] += ~largest.isfinite()
        self._sums[-1] += largest.isfinite() & (largest > self._largest)
        # scaling by a power of two is exact, so the one rounding is to the nearest step
        self._rounded.copy_(self._flat.mul_(self.STEPS_PER_ONE).round_())
        self._sums[:-2] += self._rounded

    def finish(self) -> None:
        """Add over all processes; give every parameter its gradient, and the model its mean batch statistics.

        Raises:
            UserError: if a gradient or statistic is too large for the fixed point.
        """
        self._place.add(self._sums)
        not_finite, too_large = (int(count) for count in self._sums[-2:].tolist())
        if too_large:
            raise UserError(
                f"train.reduce: exact holds gradients and batch statistics up to {self._largest:g} in size, and "
                f"{too_large} of {self._num_micro} micro-batches had larger ones; lower the objective's weights, or "
                f"use fast"
            )
        scale = 1 / self.STEPS_PER_ONE / self._num_micro if not not_finite else torch.nan
        self._flat.copy_(self._sums[:-2].double().mul_(scale))
        _unflatten(self._flat[self._num_gradients :], self._statistics)
        if self._scale_of_loss() != 1:
            self._flat.mul_(self._scale_of_loss())  # as the optimiser's scaler expects; a power of two, so exact
        self._sums.zero_()

    def _scale_of_loss(self) -> float:
        """fp16's loss scale, a power of two; gradients are added without it and given back with it."""
        return self._scaler.get_scale() if self._scaler else 1.0


def _flat(statistics: list[Tensor]) -> Tensor:
    """Batch statistics one behind another; empty where there are none."""
    return torch.cat(statistics) if statistics else torch.empty(0)


def _unflatten(flat: Tensor, statistics: list[Tensor]) -> None:
    """Put what ``_flat`` has laid one behind another back into its places."""
    for part, statistic in zip(flat.split([len(s) for s in statistics]), statistics, strict=True):
        statistic.copy_(part)


def _spoil_if_not_finite(loss: Tensor) -> Tensor:
    """The loss, with a gradient of NaN where the loss is not finite; decided on the device, without a wait."""
    return loss * torch.where(loss.detach().isfinite(), 1.0, float("nan"))


def make_reduction(name: str, place: Place, model: nn.Module, num_micro: int, scaler: GradScaler | None) -> Reduction:
    """The reduction that ``train.reduce`` names."""
    return Exact(place, model, num_micro, scaler) if name == "exact" else Fast(place, model, num_micro)
