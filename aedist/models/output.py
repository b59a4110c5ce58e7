"""What a model gives back: the reconstruction and the encoding it was decoded from."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Output:
    """One forward pass of any model."""

    reconstruction: Tensor
    """(B, C, H, W) in [0, 1]."""
    latent: Tensor
    """(B, latent_dim), or (B, c, h, w) for a spatial latent."""
