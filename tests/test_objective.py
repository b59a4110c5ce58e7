"""The objective is the notebook's loss for one image, weighted, with gradients to match."""

import numpy as np
import pytest
import torch
from torch import Tensor

from aedist.config import Objective as Weights
from aedist.configfile import parse_config
from aedist.errors import UserError
from aedist.models.output import Output
from aedist.objective import TERMS, Objective, make_objective


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    """Images and guesses at them, (B, C, H, W) = (6, 3, 4, 5), in fp64."""
    generator = torch.Generator().manual_seed(0)
    x, guess = torch.rand(2, 6, 3, 4, 5, generator=generator, dtype=torch.float64)
    return x, guess.requires_grad_()


def output_of(reconstruction: Tensor) -> Output:
    return Output(reconstruction, torch.zeros(len(reconstruction), 2))


def test_squared_error_is_the_notebooks_sum_over_the_images_of_a_batch(images: tuple[Tensor, Tensor]) -> None:
    x, guess = images
    loss, terms = make_objective({"squared_error": 1.0})(x, output_of(guess))
    notebook = ((guess - x) ** 2).sum() / len(x)
    torch.testing.assert_close(loss, notebook, rtol=1e-14, atol=0)
    assert terms[0].tolist() == pytest.approx([notebook.item()], rel=1e-14)
    assert not terms.requires_grad
    by_image = ((guess.detach().numpy() - x.numpy()) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(TERMS["squared_error"](x, output_of(guess)).detach().numpy(), by_image, rtol=1e-14)


def test_the_gradient_is_the_weight_times_the_notebooks_over_b(images: tuple[Tensor, Tensor]) -> None:
    x, guess = images
    loss, _ = make_objective({"squared_error": 0.25})(x, output_of(guess))
    (gradient,) = torch.autograd.grad(loss, guess)
    torch.testing.assert_close(gradient, 0.25 * 2 * (guess.detach() - x) / 6, rtol=1e-14, atol=0)


def test_the_loss_is_the_sum_of_weight_times_term_and_terms_are_unweighted(
    images: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, guess = images
    monkeypatch.setitem(TERMS, "largest", lambda x, output: (output.reconstruction - x).abs().amax(dim=(1, 2, 3)))
    objective = make_objective({"largest": 3.0, "squared_error": 0.5})
    assert objective.names == ("largest", "squared_error")
    loss, terms = objective(x, output_of(guess))
    difference = (guess.detach() - x).numpy()
    largest, squared = np.abs(difference).max(axis=(1, 2, 3)).mean(), (difference**2).sum(axis=(1, 2, 3)).mean()
    assert terms[0].tolist() == pytest.approx([largest, squared], rel=1e-13)
    assert loss.item() == pytest.approx(3.0 * largest + 0.5 * squared, rel=1e-13)


def test_the_mean_over_equal_micro_batches_is_the_mean_over_the_step(images: tuple[Tensor, Tensor]) -> None:
    x, guess = images
    objective = make_objective({"squared_error": 1.0})
    whole, _ = objective(x, output_of(guess))
    parts = [objective(x[i : i + 2], output_of(guess[i : i + 2]))[0] for i in (0, 2, 4)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole, rtol=1e-14, atol=0)
    fused, terms = objective(x, output_of(guess), micro_batches=3)
    torch.testing.assert_close(fused, whole, rtol=1e-14, atol=0)
    torch.testing.assert_close(terms[:, 0], torch.stack(parts).detach(), rtol=1e-14, atol=0)


def test_a_half_precision_reconstruction_is_compared_in_full_precision() -> None:
    """Summed in bfloat16, 3,072 errors of 2 to the -8 would stick at a small number."""
    x = torch.full((1, 3, 32, 32), 0.25)
    guess = torch.full_like(x, 0.3125).bfloat16()
    loss, _ = make_objective({"squared_error": 1.0})(x, output_of(guess))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(3072 * 0.0625**2, rel=1e-6)


def test_terms_of_weight_zero_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert make_objective({"squared_error": 2.0, "never": 0.0}) == Objective({"squared_error": 2.0})


def test_a_configuration_needs_a_weight_above_zero_and_names_only_terms_there_are() -> None:
    base = {"data": {"shards": "s"}, "model": {"kind": "mlp"}}
    with pytest.raises(UserError, match="give at least one term of objective a weight above zero"):
        parse_config({**base, "objective": {"squared_error": 0.0}}, "here")
    with pytest.raises(UserError, match="greater than or equal to 0"):
        parse_config({**base, "objective": {"squared_error": -1.0}}, "here")
    assert set(Weights.model_fields) == set(TERMS)
