"""The moving average of the weights follows the rule that its page states."""

import copy

import pytest
import torch

from aedist.models import get_model
from aedist.training.averaging import decay_at, follow


def test_the_average_is_the_weighted_sum_of_all_weights_so_far() -> None:
    torch.manual_seed(0)
    model = get_model("conv", image_shape=(8, 8, 1), latent_dim=3, width=2, depth=2).double()
    average = copy.deepcopy(model)
    expected = [weight.detach().clone() for weight in model.parameters()]
    for step in range(1, 6):
        with torch.no_grad():
            for tensor in (*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())):
                tensor.add_(torch.randn_like(tensor))
        decay = decay_at(0.9, step)
        follow(average, model, decay)
        expected = [decay * e + (1 - decay) * w.detach() for e, w in zip(expected, model.parameters(), strict=True)]
    for kept, wanted in zip(average.parameters(), expected, strict=True):
        torch.testing.assert_close(kept, wanted, rtol=0, atol=1e-14)
    for kept, current in zip(average.buffers(), model.buffers(), strict=True):
        assert torch.equal(kept, current), "running statistics are averages already"


def test_the_first_weights_are_soon_forgotten() -> None:
    assert [decay_at(0.999, step) for step in (1, 8)] == pytest.approx([2 / 11, 0.5])
    assert decay_at(0.999, 100_000) == 0.999
    assert decay_at(0.0, 5) == 0.0
