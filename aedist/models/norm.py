"""Batch normalisation whose training and evaluation do not depend on the number of processes.

In training every micro-batch is normalised by its own mean and variance, so that its forward and backward pass are
the same on whichever process it runs. What evaluation uses, the running statistics, moves once a step, not once a
pass: each pass leaves its statistics in ``batch_mean`` and ``batch_var``; the training's reduction puts their mean
over the step's M micro-batches there, added like gradients; ``move_running_statistics`` then takes one momentum step::

    running <- (1 - momentum) running + momentum / M (statistics of micro-batch 1 + ... + statistics of micro-batch M)

With one micro-batch a step this is what ``nn.BatchNorm2d`` does (Ioffe and Szegedy, "Batch normalization", 2015): the
same names in ``state_dict``, the same numbers, the variance unbiased in the running statistics alone.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its usual name)

_MOMENTUM = 0.1


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the micro-batch of (b, C, H, W)."""

    batch_mean: Tensor
    batch_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=_MOMENTUM)
        self.register_buffer("batch_mean", torch.zeros(channels), persistent=False)
        self.register_buffer("batch_var", torch.zeros(channels), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """In training, normalise and leave the statistics; in evaluation, as ``nn.BatchNorm2d``."""
        if not self.training:
            return super().forward(input)
        # running statistics that move by all of their momentum are the batch's own
        self.batch_mean.zero_()
        self.batch_var.zero_()
        return F.batch_norm(
            input, self.batch_mean, self.batch_var, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps
        )


def batch_norms(model: nn.Module) -> list[BatchNorm]:
    """The model's batch normalisations, in order."""
    return [module for module in model.modules() if isinstance(module, BatchNorm)]


def batch_statistics(model: nn.Module) -> list[Tensor]:
    """What the last pass left: the mean and the variance of each batch normalisation, in order, (C,) each."""
    return [statistic for norm in batch_norms(model) for statistic in (norm.batch_mean, norm.batch_var)]


@torch.no_grad()
def move_running_statistics(model: nn.Module) -> None:
    """One momentum step of every running statistic towards what ``batch_statistics`` holds."""
    for norm in batch_norms(model):
        for running, batch in ((norm.running_mean, norm.batch_mean), (norm.running_var, norm.batch_var)):
            assert running is not None  # noqa: S101 (they are kept)
            running.lerp_(batch, _MOMENTUM)
        assert norm.num_batches_tracked is not None  # noqa: S101
        norm.num_batches_tracked += 1
