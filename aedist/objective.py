"""What is minimised: named scalar terms of an output, and the sum of weight x term.

Every term is a mean over the images of a micro-batch of a sum over each image's pixels (LPIPS: of one distance an
image). The notebook's losses are sums over the batch's images too, B times as much. Adam divides its step by the
gradient's own size, so the two train alike but for what is added to a gradient or to its size: with the mean,
epsilon and the L2 weight decay must be divided by B to give the notebook's steps exactly::

    notebook   g = B g_mean + decay theta        step = lr g / (sqrt(g^2 averaged) + eps)
    here       g = g_mean + (decay / B) theta    step = lr g / (sqrt(g^2 averaged) + eps / B)      the same step

A mean keeps gradients of one size for any batch, which the exact reduction needs, and makes the mean over
micro-batches the mean over the step's images. The KL is a sum over the encoding's numbers, so that weights of one
for ``squared_error`` and ``kl`` are the notebook's sum of both: the negative evidence bound of a normal likelihood of
variance 1/2, up to a constant.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its usual name)

from aedist.config import Objective as Weights
from aedist.models.output import Output

Term = Callable[[Tensor, Output, int], Tensor]
"""(images (B, C, H, W), output, M' micro-batches of equal size in them) to a mean for each micro-batch, (M',)."""


def squared_error(x_bchw: Tensor, output: Output) -> Tensor:
    """The squared error of each image, summed over its pixels, (B,)."""
    difference = output.reconstruction.to(x_bchw.dtype) - x_bchw
    return difference.square().flatten(1).sum(1)


def absolute_error(x_bchw: Tensor, output: Output) -> Tensor:
    """The absolute error (L1) of each image, summed over its pixels, (B,)."""
    difference = output.reconstruction.to(x_bchw.dtype) - x_bchw
    return difference.abs().flatten(1).sum(1)


def cross_entropy(x_bchw: Tensor, output: Output) -> Tensor:
    """The binary cross-entropy of each image in nats, summed over its pixels, (B,).

    Pixels are probabilities of being lit, so it is not zero where grey is reproduced exactly.
    """
    reconstruction = output.reconstruction.to(x_bchw.dtype)
    # torch ends the process at a NaN, on a GPU even its context; here it is the value, and the loop skips the step
    lost = reconstruction.isnan()
    by_pixel = F.binary_cross_entropy(reconstruction.masked_fill(lost, 0.5), x_bchw, reduction="none")
    return by_pixel.masked_fill(lost, torch.nan).flatten(1).sum(1)


def rate(x_bchw: Tensor, output: Output) -> Tensor:
    """KL(q(z | x) || N(0, 1)) of each image in nats, summed over its encoding, (B,).

    Raises:
        ValueError: if the output has no posterior.
    """
    if output.posterior is None:
        raise ValueError("the model has no posterior")
    return output.posterior.kl().flatten(1).sum(1).to(x_bchw.dtype)


def free_kl(free_nats: float) -> Term:
    """The KL in which a number of the encoding costs at least ``free_nats``, so that less is not worth having.

    The floor is under each number's mean over the micro-batch: Kingma et al., "Improving variational inference with
    inverse autoregressive flow", 2016, equation 15.
    """

    def term(x_bchw: Tensor, output: Output, micro_batches: int) -> Tensor:
        if output.posterior is None:
            raise ValueError("the model has no posterior")
        by_number = output.posterior.kl().flatten(1).unflatten(0, (micro_batches, -1)).mean(1)
        return by_number.clamp_min(free_nats).sum(1).to(x_bchw.dtype)

    return term


def _perceptual(network: nn.Module) -> Callable[[Tensor, Output], Tensor]:
    """The LPIPS distance of each image, (B,), as ``network`` sees it."""
    return lambda x_bchw, output: network(x_bchw, output.reconstruction.to(x_bchw.dtype))


def _mean(by_image: Callable[[Tensor, Output], Tensor]) -> Term:
    """The term that is a plain mean over images."""

    def term(x_bchw: Tensor, output: Output, micro_batches: int) -> Tensor:
        return by_image(x_bchw, output).reshape(micro_batches, -1).mean(1)

    return term


LIKELIHOODS = {"squared_error": squared_error, "absolute_error": absolute_error, "cross_entropy": cross_entropy}
"""The terms that are minus the logarithm of a likelihood, up to a constant: normal, Laplace, Bernoulli."""


@dataclass(frozen=True)
class Objective:
    """Terms by name and their weights; a term of weight zero is only watched."""

    terms: Mapping[str, Term]
    weights: Mapping[str, float]
    kl_warmup_images: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The terms in order; their values come in this order."""
        return tuple(self.terms)

    def weights_at(self, images: int) -> list[float]:
        """The weights of the step that begins when ``images`` have been seen, in the order of the terms."""
        warm = min(1.0, images / self.kl_warmup_images) if self.kl_warmup_images else 1.0
        return [self.weights[name] * (warm if name == "kl" else 1.0) for name in self.terms]

    def __call__(
        self, x_bchw: Tensor, output: Output, images: int = 0, micro_batches: int = 1
    ) -> tuple[Tensor, Tensor]:
        """The loss and the terms of one pass over ``micro_batches`` micro-batches, one behind another in ``x_bchw``.

        Returns:
            The weighted sum of the terms, a mean over all images, a scalar; and each term unweighted, a mean over the
            images of each micro-batch, (micro_batches, T).
        """
        terms = torch.stack([term(x_bchw, output, micro_batches) for term in self.terms.values()], dim=1)
        weights = torch.tensor(self.weights_at(images), dtype=terms.dtype, device=terms.device)
        return (terms * weights).sum() / micro_batches, terms.detach()

    def nats(self, means: Mapping[str, float]) -> dict[str, float]:
        """Rate and distortion in nats an image, from the terms' means; empty for a model without a posterior.

        The distortion is how much less likely an image is than if it were reproduced exactly, under the likelihood
        exp(-weight x error): the weighted error itself (of cross-entropy, all of it). Alemi et al., "Fixing a broken
        ELBO", 2018.
        """
        if "kl" not in means:
            return {}
        distortion = sum(self.weights[name] * means[name] for name in LIKELIHOODS if name in means)
        return {"rate": means.get("rate", means["kl"]), "distortion": distortion}


def bits_per_dim(nats: Mapping[str, float], image_shape: tuple[int, int, int]) -> dict[str, float]:
    """Nats an image as bits for each of its H x W x C numbers."""
    height, width, channels = image_shape
    return {name: value / (height * width * channels * log(2)) for name, value in nats.items()}


def make_objective(objective: Weights, *, variational: bool, perceptual: nn.Module | None = None) -> Objective:
    """The objective that a configuration describes.

    Args:
        objective: its weights; terms whose weight is zero are left out.
        variational: whether the model has a posterior: its KL is then watched whatever its weight.
        perceptual: the network of the LPIPS term, where it has a weight.
    """
    terms: dict[str, Term] = {name: _mean(term) for name, term in LIKELIHOODS.items() if objective.weights[name]}
    weights = dict(objective.weights)
    if variational:
        terms["kl"] = free_kl(objective.free_nats) if objective.free_nats else _mean(rate)
        if objective.free_nats:
            terms["rate"], weights["rate"] = _mean(rate), 0.0
    if perceptual is not None:
        terms["lpips"] = _mean(_perceptual(perceptual))
    return Objective(terms, weights, objective.kl_warmup_images)
