"""How weights, gradients and encodings are distributed, as histograms small enough to be in a record.

The gradients are their running mean that Adam keeps, which is there at an evaluation, when the last step's own
gradient is gone. Of each part of the model about 65,536 numbers are looked at, evenly spaced, so it takes no time.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from aedist.tracking.tracker import Record
from aedist.training.state import TrainState

_BINS = 32
_MOST_NUMBERS = 2**16
_GRADIENT = "exp_avg"


def histograms(state: TrainState, latent: Tensor | None) -> dict[str, Record]:
    """By name, ``low``, ``high`` and the ``counts`` of 32 bins of equal width.

    ``weights/PART`` and ``gradients/PART`` for each part of the model, such as its encoder, and ``latents``.

    Args:
        state: the run's, after a step or before the first.
        latent: encodings of some images, of any shape.
    """
    sets = dict[str, list[Tensor]]()
    for name, parameter in state.model.named_parameters():
        part = name.partition(".")[0]
        sets.setdefault(f"weights/{part}", []).append(parameter.detach())
        moments: Mapping[str, Tensor] = state.optimizer.state.get(parameter, {})
        if _GRADIENT in moments:
            sets.setdefault(f"gradients/{part}", []).append(moments[_GRADIENT])
    if latent is not None:
        sets["latents"] = [latent]
    return {name: one for name, tensors in sets.items() if (one := _histogram(tensors)) is not None}


def _histogram(tensors: Iterable[Tensor]) -> Record | None:
    """None where there is no finite number."""
    pieces = [tensor.detach().flatten() for tensor in tensors]
    every = -(-sum(len(piece) for piece in pieces) // _MOST_NUMBERS) or 1
    values = torch.cat([piece[::every].to("cpu", torch.float64) for piece in pieces]).numpy()
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = values.min(), values.max()
    if not low + (high - low) / _BINS > low:  # no room for bins between them, as double precision may leave
        half = max(0.5, abs(low))
        low, high = low - half, high + half
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    return {"low": float(edges[0]), "high": float(edges[-1]), "counts": counts.tolist()}
