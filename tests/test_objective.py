"""The objective is the notebook's loss for one image, weighted, with gradients to match, and a sum of named terms."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aedist.config import Objective as Weights
from aedist.config import Optim
from aedist.configfile import parse_config
from aedist.errors import UserError
from aedist.models import get_model
from aedist.models.output import Gaussian, Output
from aedist.objective import LIKELIHOODS, Objective, bits_per_dim, make_objective
from aedist.training.optimiser import make_optimizer


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    """Images and guesses at them, (B, C, H, W) = (6, 3, 4, 5), in fp64."""
    generator = torch.Generator().manual_seed(0)
    x, guess = torch.rand(2, 6, 3, 4, 5, generator=generator, dtype=torch.float64)
    return x, guess.requires_grad_()


def output_of(reconstruction: Tensor) -> Output:
    return Output(reconstruction, torch.zeros(len(reconstruction), 2))


def objective_of(*, variational: bool = False, **weights: float) -> Objective:
    """The objective of a configuration in which nothing else has a weight."""
    return make_objective(Weights.model_validate({"squared_error": 0.0, "kl": 0.0, **weights}), variational=variational)


def test_squared_error_is_the_notebooks_sum_over_the_images_of_a_batch(images: tuple[Tensor, Tensor]) -> None:
    x, guess = images
    loss, terms = objective_of(squared_error=1.0)(x, output_of(guess))
    notebook = ((guess - x) ** 2).sum() / len(x)
    torch.testing.assert_close(loss, notebook, rtol=1e-14, atol=0)
    assert terms[0].tolist() == pytest.approx([notebook.item()], rel=1e-14)
    assert not terms.requires_grad
    by_image = ((guess.detach().numpy() - x.numpy()) ** 2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(LIKELIHOODS["squared_error"](x, output_of(guess)).detach().numpy(), by_image, rtol=1e-14)


def test_the_gradient_is_the_weight_times_the_notebooks_over_b(images: tuple[Tensor, Tensor]) -> None:
    x, guess = images
    loss, _ = objective_of(squared_error=0.25)(x, output_of(guess))
    (gradient,) = torch.autograd.grad(loss, guess)
    torch.testing.assert_close(gradient, 0.25 * 2 * (guess.detach() - x) / 6, rtol=1e-14, atol=0)


def test_the_loss_is_the_sum_of_weight_times_term_and_terms_are_unweighted(images: tuple[Tensor, Tensor]) -> None:
    x, guess = images
    objective = objective_of(absolute_error=3.0, squared_error=0.5, cross_entropy=0.1)
    assert objective.names == ("squared_error", "absolute_error", "cross_entropy")
    loss, terms = objective(x, output_of(guess))
    a, b = x.numpy(), guess.detach().numpy()
    squared, absolute = ((b - a) ** 2).sum((1, 2, 3)).mean(), np.abs(b - a).sum((1, 2, 3)).mean()
    crossed = -(a * np.log(b) + (1 - a) * np.log(1 - b)).sum((1, 2, 3)).mean()
    assert terms[0].tolist() == pytest.approx([squared, absolute, crossed], rel=1e-12)
    assert loss.item() == pytest.approx(0.5 * squared + 3 * absolute + 0.1 * crossed, rel=1e-12)


def test_the_mean_over_equal_micro_batches_is_the_mean_over_the_step(images: tuple[Tensor, Tensor]) -> None:
    x, guess = images
    objective = objective_of(squared_error=1.0)
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
    loss, _ = objective_of(squared_error=1.0)(x, output_of(guess))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(3072 * 0.0625**2, rel=1e-6)


@pytest.mark.parametrize("name", ["squared_error", "absolute_error", "cross_entropy"])
def test_a_reconstruction_that_is_not_a_number_is_a_value_of_its_image_alone_and_no_crash(
    images: tuple[Tensor, Tensor], name: str
) -> None:
    """torch's cross-entropy raises at it, and on a GPU takes the process along; the loop is to skip the step."""
    x, guess = images
    whole = objective_of(**{"squared_error": 0.0, name: 1.0})(x, output_of(guess), micro_batches=6)[1]
    spoilt = guess.detach().clone()
    spoilt[2, 0, 0, 0] = torch.nan
    loss, terms = objective_of(**{"squared_error": 0.0, name: 1.0})(x, output_of(spoilt), micro_batches=6)
    assert loss.isnan()
    assert terms[:, 0].isnan().nonzero().flatten().tolist() == [2]
    others = [0, 1, 3, 4, 5]
    assert torch.equal(terms[others], whole[others])


@pytest.fixture
def drawn(images: tuple[Tensor, Tensor]) -> tuple[Tensor, Output]:
    """The images and an output with a posterior over 4 numbers, some of them all but collapsed."""
    x, guess = images
    generator = torch.Generator().manual_seed(1)
    mean, log_std = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 0.5, 0.01, 0.0])
    return x, Output(guess, mean, Gaussian(mean.requires_grad_(), log_std.requires_grad_()))


def test_squared_error_and_kl_of_weight_one_are_the_notebooks_loss_for_one_image(drawn: tuple[Tensor, Output]) -> None:
    x, output = drawn
    loss, terms = objective_of(variational=True, squared_error=1.0, kl=1.0)(x, output)
    assert output.posterior is not None
    mu, std = output.posterior.mean, output.posterior.log_std.exp()
    notebook = ((x - output.reconstruction) ** 2).sum() + ((std**2) / 2 + (mu**2) / 2 - torch.log(std) - 0.5).sum()
    torch.testing.assert_close(loss, notebook / len(x), rtol=1e-13, atol=0)
    assert terms[0].sum().item() == pytest.approx(loss.item())


def test_free_nats_are_a_floor_under_each_numbers_mean_and_take_its_gradient_away(
    drawn: tuple[Tensor, Output],
) -> None:
    x, output = drawn
    assert output.posterior is not None
    objective = objective_of(variational=True, squared_error=1.0, kl=2.0, free_nats=0.1)
    assert objective.names == ("squared_error", "kl", "rate"), "what is minimised, and what it truly is"
    loss, terms = objective(x, output, micro_batches=2)
    by_number = output.posterior.kl().detach().numpy().reshape(2, 3, 4).mean(1)
    assert (by_number < 0.1).any()
    np.testing.assert_allclose(terms[:, 1], np.maximum(by_number, 0.1).sum(1), rtol=1e-12)
    np.testing.assert_allclose(terms[:, 2], by_number.sum(1), rtol=1e-12)
    assert loss.item() == pytest.approx(float((terms[:, 0] + 2 * terms[:, 1]).mean()), rel=1e-12)
    (gradient,) = torch.autograd.grad(loss, output.posterior.mean)
    assert (gradient[:, 3] == 0).all()
    assert (gradient[:, 0] != 0).all()


def test_the_weight_of_kl_rises_over_the_warm_up_and_no_other_does(drawn: tuple[Tensor, Output]) -> None:
    x, output = drawn
    objective = objective_of(variational=True, squared_error=1.0, kl=0.5, kl_warmup_images=100)
    assert [objective.weights_at(images) for images in (0, 25, 100, 1000)] == [[1, 0], [1, 0.125], [1, 0.5], [1, 0.5]]
    loss, terms = objective(x, output, images=50)
    assert loss.item() == pytest.approx(float(terms[0, 0] + 0.25 * terms[0, 1]), rel=1e-12)


def test_rate_and_distortion_are_told_in_nats_an_image_and_bits_a_number(drawn: tuple[Tensor, Output]) -> None:
    objective = objective_of(variational=True, squared_error=2.0, cross_entropy=0.5, kl=0.1, free_nats=0.5)
    nats = objective.nats({"squared_error": 10.0, "cross_entropy": 8.0, "kl": 9.0, "rate": 7.0})
    assert nats == {"rate": 7.0, "distortion": 24.0}, "the rate is the KL itself, whatever its weight and floor"
    assert bits_per_dim(nats, (4, 5, 3)) == pytest.approx(
        {"rate": 7 / 60 / np.log(2), "distortion": 24 / 60 / np.log(2)}
    )
    assert objective_of(squared_error=1.0).nats({"squared_error": 3.0}) == {}


def test_a_normal_likelihoods_bound_is_distortion_and_rate_up_to_its_constant(drawn: tuple[Tensor, Output]) -> None:
    """Weight w of the squared error is a variance of 1 / (2 w): torch's log probability differs by a constant alone."""
    x, output = drawn
    weight = 3.0
    objective = objective_of(variational=True, squared_error=weight, kl=1.0)
    means = dict(zip(objective.names, objective(x, output)[1][0].tolist(), strict=True))
    normal = torch.distributions.Normal(output.reconstruction, (1 / (2 * weight)) ** 0.5)
    exact = torch.distributions.Normal(x, (1 / (2 * weight)) ** 0.5)
    worse = (exact.log_prob(x) - normal.log_prob(x)).flatten(1).sum(1).mean()
    assert objective.nats(means)["distortion"] == pytest.approx(worse.item(), rel=1e-10)


def test_the_notebooks_vae_is_trained_step_for_step(rng: np.random.Generator) -> None:
    """Five steps of its own loop (sums, epsilon 1e-8, decay 1e-5) against ours (means, both divided by B)."""
    torch.manual_seed(0)
    size, batch = {"image_shape": (16, 16, 3), "width": 2, "hidden_dim": 12, "latent_dim": 4}, 6
    notebook, ours = get_model("vae", **size).double(), get_model("vae", **size).double()
    ours.load_state_dict(notebook.state_dict())
    theirs = torch.optim.Adam(notebook.parameters(), lr=1e-4, weight_decay=1e-5)
    optimizer = make_optimizer(Optim(lr=1e-4, eps=1e-8 / batch, weight_decay=1e-5 / batch), ours)
    objective = objective_of(variational=True, squared_error=1.0, kl=1.0)
    for _ in range(5):
        imgs, noise = (
            torch.from_numpy(rng.uniform(size=(batch, 3, 16, 16))),
            torch.from_numpy(rng.normal(size=(batch, 4))),
        )
        out = notebook(imgs, noise)
        mu, std = out.posterior.mean, torch.exp(out.posterior.log_std)
        reconstruction_loss = ((imgs - out.reconstruction) ** 2).sum()
        kl = ((std**2) / 2 + (mu**2) / 2 - torch.log(std) - 0.5).sum()
        theirs.zero_grad()
        (reconstruction_loss + kl).backward()
        theirs.step()
        optimizer.zero_grad()
        objective(imgs, ours(imgs, noise))[0].backward()
        optimizer.step()
    for (name, a), b in zip(notebook.named_parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=1e-10, msg=lambda told, name=name: f"{name}: {told}")
        assert not torch.equal(a, get_model("vae", **size).double().state_dict()[name])


class Brightness(nn.Module):
    """Stands in for LPIPS: the squared difference of two images' means, (B,)."""

    def forward(self, x_bchw: Tensor, y_bchw: Tensor) -> Tensor:
        return (x_bchw.flatten(1).mean(1) - y_bchw.flatten(1).mean(1)).square()


def test_the_perceptual_term_is_what_its_network_says_of_original_and_reconstruction(
    images: tuple[Tensor, Tensor],
) -> None:
    x, guess = images
    weights = Weights.model_validate({"squared_error": 1.0, "lpips": 300.0})
    objective = make_objective(weights, variational=False, perceptual=Brightness())
    assert objective.names == ("squared_error", "lpips")
    loss, terms = objective(x, output_of(guess), micro_batches=3)
    by_image = (x.flatten(1).mean(1) - guess.flatten(1).mean(1)).square()
    torch.testing.assert_close(terms[:, 1], by_image.detach().reshape(3, 2).mean(1), rtol=1e-13, atol=0)
    (both,) = torch.autograd.grad(loss, guess, retain_graph=True)
    (alone,) = torch.autograd.grad(objective_of(squared_error=1.0)(x, output_of(guess))[0], guess)
    expected = alone + 300 * torch.autograd.grad(by_image.mean(), guess)[0]
    torch.testing.assert_close(both, expected, rtol=1e-10, atol=1e-12)


def test_terms_of_weight_zero_are_not_computed_but_the_kl_is_always_watched() -> None:
    assert objective_of(squared_error=2.0).names == ("squared_error",)
    watched = objective_of(variational=True, squared_error=2.0)
    assert watched.names == ("squared_error", "kl")
    assert watched.weights_at(0) == [2.0, 0.0]


BASE = {"data": {"shards": "s"}, "model": {"kind": "mlp"}}


def test_a_configuration_needs_something_to_reconstruct() -> None:
    with pytest.raises(UserError, match="give at least one term of objective besides kl a weight above zero"):
        parse_config({**BASE, "objective": {"squared_error": 0.0}}, "here")
    with pytest.raises(UserError, match="greater than or equal to 0"):
        parse_config({**BASE, "objective": {"squared_error": -1.0}}, "here")


def test_kl_belongs_to_models_with_a_posterior_and_is_1_there_unless_given() -> None:
    for keys in ({"kl": 0.5}, {"free_nats": 0.1}, {"kl_warmup_images": 5}):
        with pytest.raises(UserError, match="to a variational model alone; mlp has no posterior"):
            parse_config({**BASE, "objective": keys}, "here")
    gaussian = {"kind": "residual", "posterior": "gaussian"}
    assert parse_config({**BASE, "model": {"kind": "vae"}}, "here").objective.kl == 1.0
    assert parse_config({**BASE, "model": gaussian, "objective": {"kl": 0.0}}, "here").objective.kl == 0.0
    assert parse_config(BASE, "here").objective.kl is None
