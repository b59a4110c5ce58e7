"""What is minimised: named scalar terms of an output, and the sum of weight x term.

Every term is a mean over the images of a micro-batch of a sum over each image's pixels. The notebook's loss
is the sum over the images too, B times as much; Adam divides its step by the gradient's own size, so the
two train alike but for epsilon. A mean keeps gradients of one size for any batch, which the exact reduction
needs, and makes the mean over micro-batches the mean over the step's images.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from aedist.models.output import Output

Term = Callable[[Tensor, Output], Tensor]
"""(images (B, C, H, W), output) to one number for each image, (B,)."""


def squared_error(x_bchw: Tensor, output: Output) -> Tensor:
    """The squared error of each image, summed over its pixels, (B,)."""
    difference = output.reconstruction.to(x_bchw.dtype) - x_bchw
    return difference.square().flatten(1).sum(1)


TERMS: dict[str, Term] = {"squared_error": squared_error}


@dataclass(frozen=True)
class Objective:
    """The terms that are computed, by name, and their weights."""

    weights: dict[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        """The terms in order; their values come in this order."""
        return tuple(self.weights)

    def __call__(self, x_bchw: Tensor, output: Output) -> tuple[Tensor, Tensor]:
        """(the weighted sum, a scalar; the terms unweighted, (T,)), each a mean over the images."""
        terms = [TERMS[name](x_bchw, output).mean() for name in self.weights]
        weighted = [weight * term for weight, term in zip(self.weights.values(), terms, strict=True)]
        return torch.stack(weighted).sum(), torch.stack(terms).detach()


def make_objective(weights: dict[str, float]) -> Objective:
    """The objective of the terms whose weight is not zero."""
    return Objective({name: weight for name, weight in weights.items() if weight})
