"""The notebook's autoencoder of Tiny ImageNet: convolutions that halve, a latent with ReLU, the mirror image back.

3x64x64 -> 64x32x32 -> 128x16x16 -> 256x8x8 -> 512x4x4 -> 512 and back: convolutions of kernel 4, stride 2 and
padding 1, batch normalisation and ReLU after each but the last, which ends in a sigmoid; ReLU on the latent too, so
that encodings are not negative. 13,912,707 parameters.
"""

from itertools import pairwise

from torch import Tensor, nn

from aedist.models.norm import BatchNorm
from aedist.models.output import Output, to_unit


class Conv(nn.Module):
    """A convolutional autoencoder with a vector latent."""

    noise_shape = None

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (64, 64, 3),
        latent_dim: int = 512,
        width: int = 64,
        depth: int = 4,
    ) -> None:
        """Build it.

        Args:
            image_shape: (height, width, channels).
            latent_dim: numbers in an encoding.
            width: channels after the first convolution; each further one has twice as many.
            depth: convolutions on either side.

        Raises:
            ValueError: if the image cannot be halved ``depth`` times.
        """
        super().__init__()
        height, wide, colours = image_shape
        if height % 2**depth or wide % 2**depth:
            raise ValueError(
                f"images of {height} x {wide} cannot be halved {depth} times (model.depth); "
                f"their sides must be multiples of {2**depth}"
            )
        channels = [colours, *(width * 2**level for level in range(depth))]
        smallest = (channels[-1], height // 2**depth, wide // 2**depth)
        flat = smallest[0] * smallest[1] * smallest[2]
        down: list[nn.Module] = []
        for before, after in pairwise(channels):
            down += [nn.Conv2d(before, after, 4, stride=2, padding=1), BatchNorm(after), nn.ReLU()]
        up: list[nn.Module] = []
        for before, after in pairwise(channels[:0:-1]):
            up += [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), BatchNorm(after), nn.ReLU()]
        up.append(nn.ConvTranspose2d(channels[1], colours, 4, stride=2, padding=1))
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(flat, latent_dim), nn.ReLU())
        self.decoder = nn.Sequential(nn.Linear(latent_dim, flat), nn.Unflatten(1, smallest), *up)

    def encode(self, x_bchw: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] to encodings (B, latent_dim), none negative."""
        return self.encoder(x_bchw)

    def decode(self, z_bd: Tensor) -> Tensor:
        """Encodings (B, latent_dim) to images (B, C, H, W) in [0, 1]."""
        return to_unit(self.decoder(z_bd))

    def forward(self, x_bchw: Tensor, noise: None = None) -> Output:
        """Encode and decode."""
        z_bd = self.encode(x_bchw)
        return Output(self.decode(z_bd), z_bd)
