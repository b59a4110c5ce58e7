"""The notebook's autoencoder of digits: one hidden layer on either side of the latent.

784-200-20-200-784 for MNIST, ReLU between, a sigmoid at the end: 322,804 parameters.
"""

from math import prod

from torch import Tensor, nn

from aedist.models.output import Output, to_unit


class MLP(nn.Module):
    """A fully connected autoencoder of images of one shape."""

    noise_shape = None

    def __init__(
        self, image_shape: tuple[int, int, int] = (28, 28, 1), hidden_dim: int = 200, latent_dim: int = 20
    ) -> None:
        """``image_shape`` is (height, width, channels)."""
        super().__init__()
        height, width, channels = image_shape
        pixels = prod(image_shape)
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, latent_dim)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, pixels),
            nn.Unflatten(1, (channels, height, width)),
        )

    def encode(self, x_bchw: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] to encodings (B, latent_dim)."""
        return self.encoder(x_bchw)

    def decode(self, z_bd: Tensor) -> Tensor:
        """Encodings (B, latent_dim) to images (B, C, H, W) in [0, 1]."""
        return to_unit(self.decoder(z_bd))

    def forward(self, x_bchw: Tensor, noise: None = None) -> Output:
        """Encode and decode."""
        z_bd = self.encode(x_bchw)
        return Output(self.decode(z_bd), z_bd)
