"""The noise that a variational model's encodings are drawn with: named by (seed, step, micro-batch slot).

A micro-batch's noise is the same on whichever process it runs, and after any interruption.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from aedist.models.output import is_variational
from aedist.noise import keyed_normal

Noise = Callable[[int, Sequence[int]], Tensor | None]
"""(step, slots) to the noise of these micro-batches, one behind another, (len(slots) b, ...); None for none."""

_POSTERIOR = 2  # what a key is for


def make_noise(model: nn.Module, seed: int, micro: int, device: torch.device, dtype: torch.dtype) -> Noise:
    """The noise of a model's training; none for a deterministic model."""
    if not is_variational(model):
        return lambda step, slots: None
    shape = (micro, *model.noise_shape)

    def noise(step: int, slots: Sequence[int]) -> Tensor:
        drawn = [keyed_normal(shape, _POSTERIOR, seed, step, slot) for slot in slots]
        return torch.cat(drawn).to(device, dtype, non_blocking=True)

    return noise
