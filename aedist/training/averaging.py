"""The moving average of the weights (EMA): a second model that follows the trained one and is what gets used.

After every step each weight of the average moves towards the trained one, by 1 - decay of the way. In the first steps
the decay is lower, (1 + step) / (10 + step), so that the first weights, which are noise, are soon forgotten. Buffers,
such as the running statistics of batch normalisation, are averages already and are taken as they are.
(Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.)
"""

import torch
from torch import nn


def decay_at(decay: float, step: int) -> float:
    """The decay that is used after step number ``step``, from 1."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move ``average`` towards ``model``, in place."""
    for kept, current in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(current, 1 - decay)
    for kept, current in zip(average.buffers(), model.buffers(), strict=True):
        kept.copy_(current)
