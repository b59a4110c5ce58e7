"""The notebook's three autoencoders and its loop, written anew as plainly as the notebook has them.

A DataLoader over PIL images and ToTensor in the process itself, Adam as it comes, a loss summed over the batch, its
value taken every step. Widths are arguments, so that the convolutional ones can be made small enough for a CPU; at
their defaults they are the notebook's. So that results can be compared, the order of the samples can be given.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as everywhere)
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Resize, ToTensor

Loss = Callable[[nn.Module, Tensor], Tensor]
"""Of a model and a batch (B, C, H, W) in [0, 1]: the scalar that is minimised."""


class Digits(Dataset[tuple[Tensor, int]]):
    """As torchvision's MNIST: bytes in memory, a PIL image for each item."""

    def __init__(self, images: Tensor) -> None:
        """``images``: uint8 (N, 28, 28)."""
        self._images, self._to_tensor = images, ToTensor()

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._to_tensor(Image.fromarray(self._images[index].numpy(), mode="L")), 0


def pictures(folder: Path, side: int | None = None) -> ImageFolder:
    """Images in folders of classes, resized to ``side`` where it is given."""
    return ImageFolder(str(folder), Compose([Resize(side), ToTensor()]) if side else ToTensor())


class AE(nn.Module):
    """784-200-20-200-784."""

    def __init__(self, input_dim: int = 784, z_dim: int = 20, h_dim: int = 200) -> None:
        super().__init__()
        self.common, self.encoded = nn.Linear(input_dim, h_dim), nn.Linear(h_dim, z_dim)
        self.l1, self.decode = nn.Linear(z_dim, h_dim), nn.Linear(h_dim, input_dim)

    def forward(self, x: Tensor) -> Tensor:
        z = self.encoded(F.relu(self.common(x)))
        return torch.sigmoid(self.decode(F.relu(self.l1(z))))


class ConvAE(nn.Module):
    """Four convolutions that halve, a linear latent with ReLU, four back; batch normalisation between."""

    def __init__(self, width: int = 64, latent_dim: int = 512) -> None:
        super().__init__()
        c = [3, width, 2 * width, 4 * width, 8 * width]
        down, up = list[nn.Module](), list[nn.Module]()
        for i in range(4):
            down += [nn.Conv2d(c[i], c[i + 1], 4, 2, 1), nn.BatchNorm2d(c[i + 1]), nn.ReLU()]
        for i in range(4, 1, -1):
            up += [nn.ConvTranspose2d(c[i], c[i - 1], 4, 2, 1), nn.BatchNorm2d(c[i - 1]), nn.ReLU()]
        up += [nn.ConvTranspose2d(c[1], 3, 4, 2, 1), nn.Sigmoid()]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(c[4] * 16, latent_dim), nn.ReLU())
        self.decoder = nn.Sequential(nn.Linear(latent_dim, c[4] * 16), nn.Unflatten(1, (c[4], 4, 4)), *up)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


class VAE(nn.Module):
    """Three convolutions of stride 2, two linear layers, a Gaussian posterior, and back."""

    def __init__(self, latent_dim: int = 100, hidden_dim: int = 1024) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(31 * 31 * 32, hidden_dim), nn.ReLU()),
        )
        self.mean, self.log_std = nn.Linear(hidden_dim, latent_dim), nn.Linear(hidden_dim, latent_dim)
        self.decoder = nn.Sequential(
            *(nn.Linear(latent_dim, hidden_dim), nn.ReLU(True), nn.Linear(hidden_dim, 31 * 31 * 32), nn.ReLU(True)),
            *(nn.Unflatten(1, (32, 31, 31)), nn.ConvTranspose2d(32, 16, 3, 2, output_padding=1)),
            *(nn.BatchNorm2d(16), nn.ReLU(True), nn.ConvTranspose2d(16, 8, 3, 2, 1, output_padding=1)),
            *(nn.BatchNorm2d(8), nn.ReLU(True), nn.ConvTranspose2d(8, 3, 3, 2, 1, output_padding=1), nn.Sigmoid()),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = self.features(x)
        mean, std = self.mean(hidden), torch.exp(self.log_std(hidden))
        return mean, std, self.decoder(mean + std * torch.randn_like(std))


def flat_squared_error(model: nn.Module, x: Tensor) -> Tensor:
    """Of the digits: summed over the batch, images as rows."""
    x = x.view(len(x), -1)
    return ((model(x) - x) ** 2).sum()


def mean_squared_error(model: nn.Module, x: Tensor) -> Tensor:
    """Of Tiny ImageNet: the mean over all pixels."""
    return F.mse_loss(model(x), x)


def negative_bound(model: nn.Module, x: Tensor) -> Tensor:
    """Of the faces: squared error and KL, both summed."""
    mean, std, out = model(x)
    return ((x - out) ** 2).sum() + (std**2 / 2 + mean**2 / 2 - torch.log(std) - 0.5).sum()


def loop(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Dataset[tuple[Tensor, int]],
    order: Iterable[int],
    batch: int,
    loss_of: Loss,
    device: str = "cpu",
) -> float:
    """One pass in a given order. Returns the sum of the losses."""
    total = 0.0
    for images, _ in DataLoader(data, batch_size=batch, sampler=list(order)):  # type: ignore[arg-type]
        loss = loss_of(model, images.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total
