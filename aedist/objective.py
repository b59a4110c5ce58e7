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

    def __call__(self, x_bchw: Tensor, output: Output, micro_batches: int = 1) -> tuple[Tensor, Tensor]:
        """The loss and the terms of one pass over ``micro_batches`` micro-batches, one behind another in ``x_bchw``.

        Returns:
            The weighted sum of the terms, a mean over all images, a scalar; and each term unweighted, a mean over the
            images of each micro-batch, (micro_batches, T).
        """
        terms = torch.stack([TERMS[name](x_bchw, output) for name in self.weights], dim=1)
        terms = terms.unflatten(0, (micro_batches, -1)).mean(1)
        weights = torch.tensor(list(self.weights.values()), dtype=terms.dtype, device=terms.device)
        return (terms * weights).sum() / micro_batches, terms.detach()


def make_objective(weights: dict[str, float]) -> Objective:
    """The objective of the terms whose weight is not zero."""
    return Objective({name: weight for name, weight in weights.items() if weight})
