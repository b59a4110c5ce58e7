"""The notebook's autoencoder, worked out again in NumPy, and the three functions of the API."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import aedist
from aedist.models import MODELS


def notebook(x: NDArray[np.float64], weights: dict[str, torch.Tensor]) -> tuple[NDArray[np.float64], ...]:
    """(output, encoding) of rows of pixels: relu(linear), linear, relu(linear), sigmoid(linear)."""
    layers = [tensor.double().numpy() for tensor in weights.values()]
    (w1, b1), (w2, b2), (w3, b3), (w4, b4) = zip(layers[::2], layers[1::2], strict=True)
    z = np.maximum(x @ w1.T + b1, 0) @ w2.T + b2
    logits = np.maximum(z @ w3.T + b3, 0) @ w4.T + b4
    return 1 / (1 + np.exp(-logits)), z


def test_the_mlp_is_the_notebooks_autoencoder(rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    model = aedist.get_model("mlp")
    x = rng.uniform(size=(5, 1, 28, 28))
    output = model(torch.from_numpy(x).float())
    reconstruction, z = notebook(x.reshape(5, 784), dict(model.state_dict()))
    assert z.std() > 0.01, "the encodings differ, so that the comparison says something"
    np.testing.assert_allclose(output.latent.detach().numpy(), z, rtol=0, atol=1e-6)
    assert output.reconstruction.shape == (5, 1, 28, 28)
    np.testing.assert_allclose(
        output.reconstruction.detach().numpy().reshape(5, 784), reconstruction, rtol=0, atol=1e-6
    )


def test_the_mlp_has_the_notebooks_parameters() -> None:
    model = aedist.get_model("mlp", image_shape=(28, 28, 1), hidden_dim=200, latent_dim=20)
    by_hand = (784 * 200 + 200) + (200 * 20 + 20) + (20 * 200 + 200) + (200 * 784 + 784)
    assert aedist.count_parameters(model) == by_hand == 322_804
    model.encoder.requires_grad_(False)
    assert aedist.count_parameters(model) == by_hand - (784 * 200 + 200) - (200 * 20 + 20)


def test_pixels_of_colour_images_keep_their_places() -> None:
    """With weights that pass pixels on, every channel, row and column comes out where it went in."""
    model = aedist.get_model("mlp", image_shape=(2, 3, 3), hidden_dim=18, latent_dim=18)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.eye(18) if name.endswith("weight") else torch.zeros(18))
    x = torch.rand(4, 3, 2, 3)
    torch.testing.assert_close(model(x).reconstruction, torch.sigmoid(x))
    torch.testing.assert_close(model.decode(model.encode(x)), torch.sigmoid(x))


@pytest.mark.parametrize("kind", MODELS)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(kind: str) -> None:
    states: list[dict[str, torch.Tensor]] = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(aedist.get_model(kind).state_dict())
    first, again, other = states
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_gives_images_of_the_shape_it_takes_and_no_image_depends_on_another(kind: str) -> None:
    model = aedist.get_model(kind, image_shape=(8, 12, 3)).eval()
    x = torch.rand(6, 3, 8, 12)
    output = model(x)
    assert output.reconstruction.shape == x.shape
    assert output.reconstruction.min() >= 0
    assert output.reconstruction.max() <= 1
    torch.testing.assert_close(model(x[2:3]).reconstruction, output.reconstruction[2:3])


def test_an_unknown_model_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="there is no model 'vit'; there are mlp"):
        aedist.get_model("vit")


def test_the_api_is_reachable_and_importing_the_package_alone_imports_nothing_heavy() -> None:
    code = (
        "import sys, aedist; heavy = {'torch', 'numpy', 'pydantic'} & set(sys.modules); assert not heavy, heavy; "
        "from aedist import count_parameters, get_model, load; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with pytest.raises(AttributeError, match="has no attribute 'train'"):
        aedist.train  # noqa: B018 (the look-up is the test)
