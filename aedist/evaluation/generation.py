"""What a model generates: encodings drawn from densities, decoded, and looked at by the network of FID.

The densities are the prior, where the model has one, and those that are fitted to the encodings of training images
afterwards: a Gaussian, and a mixture of ten. Rank zero fits; then every process draws, decodes and looks at its own
batches of draws. A draw is named by its number, so what is drawn does not depend on who draws it.
"""

from collections.abc import Callable, Iterator
from math import prod
from typing import Protocol, cast

import torch
from torch import Tensor

from aedist.data.loader import Split, Stretch
from aedist.data.pixels import to_bytes
from aedist.density import CannotFit, Density, draw, fit_gaussian, fit_mixture, prior
from aedist.evaluation.costs import Costs
from aedist.evaluation.gather import EvaluationPlan, Rows, gather
from aedist.evaluation.run import encodings, evaluate, read_batches
from aedist.models.output import is_variational
from aedist.progress import now_and_then
from aedist.tracking.console import say_nothing
from aedist.trained import Trained

COMPONENTS = 10
MOST_NUMBERS_OF_A_MIXTURE = 512
"""Full covariances of more numbers would take longer to fit than everything else."""
MOST_NUMBERS_OF_A_GAUSSIAN = 4096
"""The root of a full covariance of more numbers takes minutes; where there are fewer encodings, they are the root."""
_ENOUGH = 2 * COMPONENTS

DEFINITIONS = {
    "prior": "Samples: decoded draws of N(0, 1) in every number of an encoding.",
    "gaussian": "Samples: decoded draws of the Gaussian with the mean and full covariance of the encodings of training "
    "images (Ghosh et al., From variational to deterministic autoencoders, 2020).",
    "mixture": f"The same with a mixture of {COMPONENTS} Gaussians with full covariances, by expectation maximisation.",
}


class _Decodes(Protocol):
    def decode(self, z: Tensor) -> Tensor: ...


def encode_for_fits(trained: Trained, split: Split, count: int, costs: Costs) -> dict[str, Tensor]:
    """The encodings of a split's first ``count`` images, on rank zero, as ``encodings`` gives them."""
    plan = EvaluationPlan(count, trained.config.evaluate.batch)
    batches = read_batches(split, plan, trained.place, trained.config.data.workers)
    return evaluate(trained.model, batches, plan, trained.place, [encodings], costs)


def fit_densities(
    trained: Trained, fitted: Tensor | None, dim: int, seed: int, say: Callable[[str], None]
) -> tuple[dict[str, Density], list[str]]:
    """Each density by name, and a sentence for each that cannot be had, or not as it should be.

    Args:
        trained: the model.
        fitted: float64 (n, d), the encodings of training images.
        dim: d, the numbers of an encoding.
        seed: of the fit of the mixture.
        say: told what happens.
    """
    found, without = dict[str, Density](), list[str]()
    if is_variational(trained.model):
        found["prior"] = prior(dim)
    if fitted is None or len(fitted) < _ENOUGH:
        number = 0 if fitted is None else len(fitted)
        return found, [f"No density was fitted: that takes {_ENOUGH} encodings of training images, there are {number}."]
    if MOST_NUMBERS_OF_A_GAUSSIAN < dim < len(fitted):
        return found, [
            f"No density was fitted: an encoding has {dim:,} numbers, and a full covariance of more than "
            f"{MOST_NUMBERS_OF_A_GAUSSIAN:,} takes too long of more encodings than numbers; lower evaluate.fit_images."
        ]
    try:
        found["gaussian"] = fit_gaussian(fitted)
    except CannotFit as reason:
        return found, [f"No density was fitted to the encodings of training images: {reason}."]
    if dim > MOST_NUMBERS_OF_A_MIXTURE:
        without.append(
            f"No mixture was fitted: an encoding has {dim:,} numbers, and full covariances of more than "
            f"{MOST_NUMBERS_OF_A_MIXTURE} take too long."
        )
        return found, without
    say(f"fitting {COMPONENTS} Gaussians to {len(fitted):,} encodings of {dim:,} numbers")
    try:
        found["mixture"] = fit_mixture(fitted, COMPONENTS, seed, say)
        if not found["mixture"].has_converged:
            without.append("The mixture had not settled when its rounds were over; more evaluate.fit_images may help.")
    except CannotFit as reason:
        without.append(f"No mixture was fitted to the encodings of training images: {reason}.")
    return found, without


def describe(density: str, split: Split, num_fitted: int) -> str:
    """A density in words, such as ``10 Gaussians fitted to the first 10,000 encodings of mnist/train``."""
    fitted = f"fitted to the encodings of the first {num_fitted:,} images of {split.index.name}/{split.index.split}"
    words = {
        "prior": "samples of the prior",
        "gaussian": f"samples of a Gaussian {fitted}",
        "mixture": f"samples of {COMPONENTS} Gaussians {fitted}",
    }
    return words[density]


@torch.no_grad()
def decode_draws(
    trained: Trained, density: Density, stretch: Stretch, shape: tuple[int, ...], seed: int
) -> tuple[Tensor, Tensor]:
    """The draws of these numbers, decoded: uint8 (n, H, W, C) on the model's device, and which are all finite, (n,)."""
    z = draw(density, stretch[1] - stretch[0], seed, first=stretch[0]).to(next(trained.model.parameters()))
    decoded = cast(_Decodes, trained.model).decode(z.unflatten(1, shape))
    return to_bytes(decoded), decoded.isfinite().flatten(1).all(1)


def features_of_draws(
    trained: Trained,
    density: Density,
    plan: EvaluationPlan,
    shape: tuple[int, ...],
    inception: Callable[[Tensor], Tensor],
    seed: int,
    costs: Costs,
    say: Callable[[str], None] = say_nothing,
) -> Tensor | None:
    """The features of decoded draws in order, float32 (n, 2048), on rank zero; None on the others.

    Args:
        trained: the model and this process.
        density: what is drawn from.
        plan: how many draws, and how many at once.
        shape: of one encoding.
        inception: uint8 images to features.
        seed: names the draws.
        costs: told how long each part takes.
        say: told how far it is, now and then.
    """
    place, progress = trained.place, now_and_then(say)

    def pieces() -> Iterator[tuple[Stretch, Rows]]:
        for stretch in plan.batches(place.rank, place.world):
            with costs.of("decoding samples"):
                images, is_finite = decode_draws(trained, density, stretch, shape, seed)
            with costs.of("Inception"):
                found = inception(images).where(is_finite[:, None], torch.nan).cpu()
            yield stretch, {"features": found}
            progress(f"looked at {stretch[1]:,} of {plan.num_images:,} samples")

    return gather(pieces(), plan.num_images, place, "samples").get("features")


def latent_shape(trained: Trained) -> tuple[int, ...]:
    """The shape of one image's encoding: (d,), or (c, h, w)."""
    if is_variational(trained.model):
        return tuple(trained.model.noise_shape)
    height, width, channels = trained.split.index.image_shape
    parameter = next(trained.model.parameters())
    with torch.no_grad():
        blank = torch.zeros(1, channels, height, width, dtype=parameter.dtype, device=parameter.device)
        return tuple(trained.model(blank).latent.shape[1:])


def latent_numbers(trained: Trained) -> int:
    """How many numbers an encoding has."""
    return prod(latent_shape(trained))
