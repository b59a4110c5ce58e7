"""Histograms of a training state: each number once, by part, whatever is not finite left out, no more than a sample."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aedist.training.histograms import histograms
from aedist.training.state import Progress, TrainState


class Pair(nn.Module):
    def __init__(self, width: int = 7) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(5, width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


def state_of(model: nn.Module) -> TrainState:
    return TrainState(model, torch.optim.Adam(model.parameters()), None, Progress())


def numbers_of(module: nn.Module) -> np.ndarray:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()]).double().numpy()


def test_weights_gradients_and_encodings_are_counted_by_part() -> None:
    torch.manual_seed(0)
    model = Pair()
    state, latent = state_of(model), torch.randn(3, 2, 2)
    assert histograms(state, None).keys() == {"weights/encoder", "weights/decoder"}
    model(torch.randn(4, 5)).square().sum().backward()
    state.optimizer.step()
    found = histograms(state, latent)
    parts = ("encoder", "decoder")
    assert found.keys() == {"latents", *(f"{kind}/{part}" for kind in ("weights", "gradients") for part in parts)}
    for part in parts:
        values = numbers_of(getattr(model, part))
        one = found[f"weights/{part}"]
        assert (one["low"], one["high"]) == (values.min(), values.max())
        edges = np.linspace(one["low"], one["high"], 33)
        expected = [int(((values >= low) & (values < high)).sum()) for low, high in pairwise(edges)]
        expected[-1] += int((values == edges[-1]).sum())
        assert one["counts"] == expected
        assert sum(found[f"gradients/{part}"]["counts"]) == len(values)
    assert sum(found["latents"]["counts"]) == 12


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_left_out(value: float) -> None:
    model = Pair()
    with torch.no_grad():
        model.encoder.weight.fill_(value)
        model.decoder.weight.fill_(value)
        model.decoder.bias.fill_(value)
    found = histograms(state_of(model), torch.full((2, 2), value))
    assert found.keys() == {"weights/encoder"}, "of the others there is nothing to count"
    assert sum(found["weights/encoder"]["counts"]) == 7


def test_of_a_large_part_an_even_sample_is_counted() -> None:
    model = Pair(width=50_000)
    counts = {name: sum(one["counts"]) for name, one in histograms(state_of(model), torch.zeros(10, 10_000)).items()}
    assert all(2**15 <= count <= 2**16 + 4 for count in counts.values()), counts


@pytest.mark.parametrize("low", [0.0, 1.0, -3e17])
def test_numbers_that_hardly_differ_are_counted_too(low: float) -> None:
    latent = torch.tensor([low, np.nextafter(low, np.inf)], dtype=torch.float64)
    found = histograms(state_of(Pair()), latent)["latents"]
    assert sum(found["counts"]) == 2
    assert found["low"] < low < found["high"]
