"""The notebook's variational autoencoder of faces: three convolutions, a wide hidden layer, a Gaussian posterior.

3x256x256 -> 8x128x128 -> 16x64x64 -> 32x31x31 -> 1,024 -> mean and logarithm of the standard deviation of 100 numbers,
and back. Convolutions of kernel 3 and stride 2; the third has no padding, hence 31. Batch normalisation where the
notebook has it: after the second convolution and after two of the three that lead back. 63,332,411 parameters, of
which 63 million stand in the two linear layers between 30,752 and 1,024.
"""

from torch import Tensor, nn

from aedist.models.norm import BatchNorm
from aedist.models.output import Gaussian, Output, at_least_single, to_unit


class VAE(nn.Module):
    """A convolutional variational autoencoder with a vector latent and the prior N(0, 1)."""

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (256, 256, 3),
        latent_dim: int = 100,
        hidden_dim: int = 1024,
        width: int = 8,
    ) -> None:
        """Build it.

        Args:
            image_shape: (height, width, channels).
            latent_dim: numbers in an encoding.
            hidden_dim: width of the linear layer on either side of the latent.
            width: channels after the first convolution; the next have two and four times as many.

        Raises:
            ValueError: if the image's sides are not multiples of 8 from 16 on.
        """
        super().__init__()
        height, wide, colours = image_shape
        if height % 8 or wide % 8 or min(height, wide) < 16:
            raise ValueError(f"images of {height} x {wide} do not fit; their sides must be multiples of 8, from 16 on")
        smallest = (4 * width, height // 8 - 1, wide // 8 - 1)
        flat = smallest[0] * smallest[1] * smallest[2]
        self.noise_shape = (latent_dim,)
        self.features = nn.Sequential(
            nn.Conv2d(colours, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            BatchNorm(2 * width),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(flat, hidden_dim),
            nn.ReLU(),
        )
        self.mean = nn.Linear(hidden_dim, latent_dim)
        self.log_std = nn.Linear(hidden_dim, latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, flat),
            nn.ReLU(),
            nn.Unflatten(1, smallest),
            nn.ConvTranspose2d(4 * width, 2 * width, 3, stride=2, output_padding=1),
            BatchNorm(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1),
            BatchNorm(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, colours, 3, stride=2, padding=1, output_padding=1),
        )

    def posterior(self, x_bchw: Tensor) -> Gaussian:
        """Images (B, C, H, W) in [0, 1] to q(z | x), (B, latent_dim)."""
        hidden = self.features(x_bchw)
        return Gaussian(at_least_single(self.mean(hidden)), at_least_single(self.log_std(hidden)))

    def encode(self, x_bchw: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] to the means of their posteriors, (B, latent_dim)."""
        return self.posterior(x_bchw).mode

    def decode(self, z_bd: Tensor) -> Tensor:
        """Encodings (B, latent_dim) to images (B, C, H, W) in [0, 1]."""
        return to_unit(self.decoder(z_bd))

    def forward(self, x_bchw: Tensor, noise: Tensor | None = None) -> Output:
        """Encode and decode: through the posterior's mode, or through mean + std x ``noise`` (B, latent_dim)."""
        posterior = self.posterior(x_bchw)
        z_bd = posterior.mode if noise is None else posterior.sample(noise)
        return Output(self.decode(z_bd), z_bd, posterior)
