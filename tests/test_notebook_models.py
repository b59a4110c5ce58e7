"""The notebook's convolutional models, worked out again here from its own description, on weights that are copied over.

The re-implementations are functions of an ordered list of weights, so that they share nothing with the models but
torch's elementary operations; batch normalisation is written out by its formula.
"""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import aedist

Norm = tuple[Tensor, Tensor, Tensor, Tensor]


def normalised(x: Tensor, norm: Norm) -> Tensor:
    """Batch normalisation in evaluation: (x - mean) / sqrt(var + 1e-5) times weight plus bias."""
    weight, bias, mean, var = (part[:, None, None] for part in norm)
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def weights_of(module: torch.nn.Module) -> list[Tensor]:
    """Parameters and running statistics in order, without the count of batches."""
    return [tensor for name, tensor in module.state_dict().items() if not name.endswith("num_batches_tracked")]


def notebook_conv(x: Tensor, encoder: list[Tensor], decoder: list[Tensor]) -> tuple[Tensor, Tensor]:
    """3-64-128-256-512, kernel 4, stride 2, padding 1, batch norm, ReLU; linear and ReLU; the mirror, sigmoid."""
    for layer in range(4):
        w, b, *norm = encoder[6 * layer : 6 * layer + 6]
        x = torch.relu(normalised(F.conv2d(x, w, b, stride=2, padding=1), (norm[0], norm[1], norm[2], norm[3])))
    z = torch.relu(x.flatten(1) @ encoder[24].T + encoder[25])
    y = (z @ decoder[0].T + decoder[1]).reshape(-1, 512, 4, 4)
    for layer in range(3):
        w, b, *norm = decoder[2 + 6 * layer : 8 + 6 * layer]
        y = F.conv_transpose2d(y, w, b, stride=2, padding=1)
        y = torch.relu(normalised(y, (norm[0], norm[1], norm[2], norm[3])))
    return torch.sigmoid(F.conv_transpose2d(y, *decoder[20:], stride=2, padding=1)), z


def notebook_vae(x: Tensor, features: list[Tensor], heads: list[Tensor], decoder: list[Tensor], noise: Tensor | None):
    """Three convolutions (the second normalised), 1024, mean and log std; two linears and three convolutions back."""
    x = torch.relu(F.conv2d(x, *features[0:2], stride=2, padding=1))
    x = F.conv2d(x, *features[2:4], stride=2, padding=1)
    x = torch.relu(normalised(x, (features[4], features[5], features[6], features[7])))
    x = torch.relu(F.conv2d(x, *features[8:10], stride=2, padding=0))
    hidden = torch.relu(x.flatten(1) @ features[10].T + features[11])
    mean, std = hidden @ heads[0].T + heads[1], torch.exp(hidden @ heads[2].T + heads[3])
    z = mean if noise is None else mean + std * noise
    y = torch.relu(torch.relu(z @ decoder[0].T + decoder[1]) @ decoder[2].T + decoder[3])
    y = F.conv_transpose2d(y.reshape(-1, 32, 31, 31), *decoder[4:6], stride=2, output_padding=1)
    y = torch.relu(normalised(y, (decoder[6], decoder[7], decoder[8], decoder[9])))
    y = F.conv_transpose2d(y, *decoder[10:12], stride=2, padding=1, output_padding=1)
    y = torch.relu(normalised(y, (decoder[12], decoder[13], decoder[14], decoder[15])))
    y = F.conv_transpose2d(y, *decoder[16:18], stride=2, padding=1, output_padding=1)
    return torch.sigmoid(y), mean, std


def scramble(model: torch.nn.Module) -> None:
    """Running statistics and normalisation weights away from 0 and 1, so that each of them counts."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                assert tensor is not None
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.1)


def test_conv_is_the_notebooks_autoencoder_of_tiny_imagenet() -> None:
    torch.manual_seed(0)
    model = aedist.get_model("conv", latent_dim=512).eval()
    assert aedist.count_parameters(model) == 13_912_707
    scramble(model)
    x = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        output = model(x)
        reconstruction, z = notebook_conv(x, weights_of(model.encoder), weights_of(model.decoder))
    assert z.std() > 0.01, "the encodings differ, so that the comparison says something"
    assert (z == 0).any(), "the latent has a ReLU"
    torch.testing.assert_close(output.latent, z, rtol=0, atol=1e-6)
    torch.testing.assert_close(output.reconstruction, reconstruction, rtol=0, atol=1e-6)


@pytest.mark.parametrize("drawn", [False, True])
def test_vae_is_the_notebooks_of_faces(drawn: bool) -> None:
    torch.manual_seed(0)
    model = aedist.get_model("vae").eval()
    assert aedist.count_parameters(model) == 63_332_411
    scramble(model)
    x, noise = torch.rand(2, 3, 256, 256), torch.randn(2, 100) if drawn else None
    with torch.no_grad():
        output = model(x, noise)
        heads = [*weights_of(model.mean), *weights_of(model.log_std)]
        reconstruction, mean, std = notebook_vae(x, weights_of(model.features), heads, weights_of(model.decoder), noise)
    assert mean.std() > 1e-3
    torch.testing.assert_close(output.posterior.mean, mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(output.posterior.log_std.exp(), std, rtol=0, atol=1e-6)
    torch.testing.assert_close(output.reconstruction, reconstruction, rtol=0, atol=1e-6)
    kl = ((std**2) / 2 + (mean**2) / 2 - torch.log(std) - 0.5).sum(1)
    torch.testing.assert_close(output.posterior.kl().sum(1), kl, rtol=1e-5, atol=1e-5)
