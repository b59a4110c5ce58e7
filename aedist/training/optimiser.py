"""The optimiser, and the learning rate as a pure function of the images seen."""

from math import cos, pi

import torch
from torch import nn

from aedist.config import Optim


def make_optimizer(optim: Optim, model: nn.Module) -> torch.optim.Optimizer:
    """Adam or AdamW over all parameters, in one fused pass over the memory.

    The fused pass adds in another order than the plain one: losses differ by rounding alone.
    """
    cls = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optim.name]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return cls(parameters, lr=optim.lr, betas=optim.betas, eps=optim.eps, weight_decay=optim.weight_decay, fused=True)


def learning_rate(optim: Optim, images: int, images_per_step: int, total_images: int) -> float:
    """The rate of the step that begins when ``images`` have been seen, of ``total_images`` in the whole run."""
    if images + images_per_step <= optim.warmup_images:
        return optim.lr * (images + images_per_step) / optim.warmup_images
    if optim.schedule == "step" and optim.drop_every_images is not None:
        return optim.lr * optim.drop_factor ** (images // optim.drop_every_images)
    if optim.schedule == "cosine":
        progress = (images - optim.warmup_images) / max(1, total_images - optim.warmup_images)
        return optim.lr * (1 + cos(pi * min(1.0, max(0.0, progress)))) / 2
    return optim.lr


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Write the rate into every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate
