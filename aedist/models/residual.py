"""The family to train when the notebook's models are not enough: residual convolutions, any latent, any posterior.

An image is folded by ``patch`` into channels, passes levels of residual blocks of which each has half the side of
the one before, and becomes an encoding; the way back is the mirror image::

    (C, H, W) -fold-> (channels[0], H/p, W/p) -blocks, halve-> ... -blocks-> (channels[-1], h, w) -> latent

What varies is a part: the latent is a vector or keeps the last level's (h, w), the posterior is a point or a
Gaussian, attention stands at the lowest resolution or not. Group normalisation (Wu and He, 2018) sees one image at a
time, so a model of this family behaves the same in training and in evaluation, for any batch. A residual block begins
as the identity but for a constant (the weights of its last convolution are zero), so that training starts from a
linear autoencoder, which finds the largest variances quickly, and departs from there.
"""

from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its usual name)

from aedist.models.output import Gaussian, Output, at_least_single, to_unit

PRESETS: dict[int, tuple[int, tuple[int, ...]]] = {
    64: (2, (64, 128, 256)),
    256: (4, (32, 64, 128, 256, 256)),
}
"""``patch`` and ``channels`` by the images' longer side, where they are not given.

Never changed: runs and exported models that left them out are opened by them. A better one gets another name.
"""

_GROUP_CHANNELS = 16
_LARGEST_LOG_STD = 5.0


class Residual(nn.Module):
    """A residual convolutional autoencoder, deterministic or variational, with a vector or a spatial latent."""

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (64, 64, 3),
        latent: str = "spatial",
        latent_dim: int = 8,
        posterior: str = "point",
        patch: int | None = None,
        channels: tuple[int, ...] | None = None,
        blocks: int = 1,
        attention: bool = False,
    ) -> None:
        """Build it.

        Args:
            image_shape: (height, width, channels).
            latent: ``spatial``: encodings (latent_dim, h, w) at the lowest resolution; ``vector``: (latent_dim,).
            latent_dim: channels of a spatial latent, numbers of a vector.
            posterior: ``point`` or ``gaussian``.
            patch: pixels of an image's side that are folded into channels; from ``PRESETS`` where left out.
            channels: of each level; from ``PRESETS`` where left out.
            blocks: residual blocks of a level.
            attention: whether attention follows the blocks of the lowest level.

        Raises:
            ValueError: if the image cannot be folded and halved so often, or there is no preset for its size.
        """
        super().__init__()
        height, width, colours = image_shape
        if patch is None or channels is None:
            if max(height, width) not in PRESETS:
                raise ValueError(
                    f"there is no preset for images of {height} x {width} (only for sides of "
                    f"{' and '.join(map(str, PRESETS))}); set model.patch and model.channels"
                )
            preset_patch, preset_channels = PRESETS[max(height, width)]
            patch, channels = patch or preset_patch, channels or preset_channels
        factor = patch * 2 ** (len(channels) - 1)
        if height % factor or width % factor:
            raise ValueError(
                f"images of {height} x {width} do not fit model.patch {patch} and the {len(channels)} of "
                f"model.channels; their sides must be multiples of {factor}"
            )
        lowest = (channels[-1], height // factor, width // factor)
        heads = 2 if posterior == "gaussian" else 1
        self._is_gaussian = posterior == "gaussian"
        latent_shape = (latent_dim,) if latent == "vector" else (latent_dim, *lowest[1:])
        self.noise_shape = latent_shape if self._is_gaussian else None

        down: list[nn.Module] = [nn.PixelUnshuffle(patch), nn.Conv2d(colours * patch**2, channels[0], 3, padding=1)]
        up: list[nn.Module] = []
        for before, after in pairwise(channels):
            down += [*_level(before, blocks), nn.Conv2d(before, after, 2, stride=2)]
        for after, before in reversed(list(pairwise(channels))):
            up += [nn.ConvTranspose2d(before, after, 2, stride=2), *_level(after, blocks)]
        middle = [*_level(channels[-1], blocks), *([Attention(channels[-1])] if attention else [])]
        mirror = [*([Attention(channels[-1])] if attention else []), *_level(channels[-1], blocks)]
        to_latent: list[nn.Module]
        from_latent: list[nn.Module]
        if latent == "vector":
            to_latent = [nn.Flatten(), nn.Linear(prod(lowest), heads * latent_dim)]
            from_latent = [nn.Linear(latent_dim, prod(lowest)), nn.Unflatten(1, lowest)]
        else:
            to_latent = [nn.Conv2d(channels[-1], heads * latent_dim, 3, padding=1)]
            from_latent = [nn.Conv2d(latent_dim, channels[-1], 3, padding=1)]
        self.encoder = nn.Sequential(*down, *middle, *to_latent)
        self.decoder = nn.Sequential(
            *from_latent,
            *mirror,
            *up,
            nn.Conv2d(channels[0], colours * patch**2, 3, padding=1),
            nn.PixelShuffle(patch),
        )

    def posterior(self, x_bchw: Tensor) -> Gaussian:
        """Images (B, C, H, W) in [0, 1] to q(z | x); for the Gaussian posterior alone.

        The logarithm of the standard deviation is bent to stay within -5 and 5, since its exponential would let one
        bad step of training run away (as in Vahdat and Kautz, "NVAE", 2020, their code).
        """
        mean, log_std = at_least_single(self.encoder(x_bchw)).chunk(2, dim=1)
        return Gaussian(mean, _LARGEST_LOG_STD * torch.tanh(log_std / _LARGEST_LOG_STD))

    def encode(self, x_bchw: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] to encodings, (B, latent_dim) or (B, latent_dim, h, w)."""
        return self.posterior(x_bchw).mode if self._is_gaussian else self.encoder(x_bchw)

    def decode(self, z: Tensor) -> Tensor:
        """Encodings, (B, latent_dim) or (B, latent_dim, h, w), to images (B, C, H, W) in [0, 1]."""
        return to_unit(self.decoder(z))

    def forward(self, x_bchw: Tensor, noise: Tensor | None = None) -> Output:
        """Encode and decode: through the posterior's mode, or through mean + std x ``noise``."""
        if not self._is_gaussian:
            z = self.encoder(x_bchw)
            return Output(self.decode(z), z)
        posterior = self.posterior(x_bchw)
        z = posterior.mode if noise is None else posterior.sample(noise)
        return Output(self.decode(z), z, posterior)


class ResidualBlock(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), as in He et al., "Identity mappings in deep residual networks", 2016."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.residual = nn.Sequential(
            _norm(channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1), _norm(channels), nn.SiLU(), last
        )

    def forward(self, x_bchw: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        return x_bchw + self.residual(x_bchw)


class Attention(nn.Module):
    """x + attention of every place to every other, one head (Vaswani et al., 2017), over the h x w places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1)
        self.last = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.last.weight)

    def forward(self, x_bchw: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        places = self.query_key_value(self.norm(x_bchw)).flatten(2).transpose(1, 2)  # (B, h w, 3 C)
        query, key, value = places.chunk(3, dim=2)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return x_bchw + self.last(mixed.transpose(1, 2).unflatten(2, x_bchw.shape[2:]))


def _level(channels: int, blocks: int) -> list[nn.Module]:
    return [ResidualBlock(channels) for _ in range(blocks)]


def _norm(channels: int) -> nn.GroupNorm:
    """Group normalisation in groups of 16 channels, or of all where they do not divide."""
    return nn.GroupNorm(channels // _GROUP_CHANNELS if channels % _GROUP_CHANNELS == 0 else 1, channels)
