"""What a model gives back: the reconstruction, the encoding it was decoded from, and the posterior that gave it.

A model is an ``nn.Module`` with these, and nothing else is asked of it:

- ``encode(x_bchw) -> z``: the encoding of images, the posterior's mode where there is one;
- ``decode(z) -> x_bchw``: images in [0, 1];
- ``forward(x_bchw, noise=None) -> Output``: both, through the posterior's mode, or through mean + std x noise;
- ``noise_shape``: the shape of one image's noise, or None where encoding is deterministic.

Noise is an argument: a model draws nothing itself, so that whoever calls it decides by which key it is drawn.
"""

from dataclasses import dataclass
from typing import Protocol, TypeGuard

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Gaussian:
    """A diagonal normal posterior q(z | x), independent in every number of an encoding."""

    mean: Tensor
    """(B, ...) of the encoding's shape."""
    log_std: Tensor
    """(B, ...): the natural logarithm of the standard deviation."""

    @property
    def mode(self) -> Tensor:
        """Its most likely encoding: the mean."""
        return self.mean

    def sample(self, noise: Tensor) -> Tensor:
        """Reparameterised: mean + std x noise, with ``noise`` standard normal of the encoding's shape."""
        return self.mean + self.log_std.exp() * noise

    def kl(self) -> Tensor:
        """KL(q(z | x) || N(0, 1)) of every number of the encoding, in nats, (B, ...).

        Kingma and Welling, "Auto-encoding variational Bayes", 2014, appendix B.
        """
        return (self.log_std * 2).exp() / 2 + self.mean.square() / 2 - self.log_std - 0.5


@dataclass(frozen=True)
class Output:
    """One forward pass of any model."""

    reconstruction: Tensor
    """(B, C, H, W) in [0, 1]."""
    latent: Tensor
    """What was decoded: (B, latent_dim), or (B, c, h, w) for a spatial latent."""
    posterior: Gaussian | None = None
    """What it was drawn from; None where encoding is deterministic."""


class Variational(Protocol):
    """What a model with a Gaussian posterior has besides."""

    noise_shape: tuple[int, ...]

    def posterior(self, x_bchw: Tensor) -> Gaussian:
        """q(z | x) of images."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """Encodings to images in [0, 1]."""
        ...


def is_variational(model: nn.Module) -> TypeGuard[Variational]:
    """Whether the model has a Gaussian posterior, so that its prior N(0, 1) can be sampled."""
    return getattr(model, "noise_shape", None) is not None


def to_unit(logits: Tensor) -> Tensor:
    """A decoder's last step: the logistic function, in single precision at least.

    In half precision it would reach exactly 0 and 1 from logits of 6 on, and cross-entropy has no gradient there.
    """
    return torch.sigmoid(at_least_single(logits))


def at_least_single(tensor: Tensor) -> Tensor:
    """The same numbers in single precision where autocast left them in half, else as they are.

    A posterior's too: in half precision its KL would have two or three digits, and overflow from means of 256 on.
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
