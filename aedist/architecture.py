"""From the ``model`` section of a configuration to a model."""

import torch
from torch import nn

from aedist.errors import UserError
from aedist.modelconfig import Model, model_options
from aedist.models import get_model


def build_model(model: Model, image_shape: tuple[int, int, int]) -> nn.Module:
    """The configured model for images of (height, width, channels), its weights drawn from torch's generator.

    Raises:
        UserError: if it does not fit the images, or no machine's memory.
    """
    try:
        return get_model(model.kind, **model_options(model, image_shape))
    except ValueError as error:
        raise UserError(f"model.kind: {model.kind}: {error}") from error
    except (RuntimeError, TypeError, OverflowError) as error:  # of sizes that torch cannot count or has no memory for
        reason = str(error).splitlines()[0]
        raise UserError(f"model.kind: {model.kind}: is too large ({reason}); lower its widths or latent_dim") from error


def sketch_model(model: Model, image_shape: tuple[int, int, int]) -> nn.Module:
    """The same without memory for its weights: enough to count them, and to refuse a model that does not fit."""
    with torch.device("meta"):
        return build_model(model, image_shape)


def check_micro_batch(sketch: nn.Module, image_shape: tuple[int, int, int], micro: int) -> None:
    """Refuse a micro-batch in which batch normalisation would have one number of a channel to normalise.

    Args:
        sketch: the model as ``sketch_model`` gives it.
        image_shape: (height, width, channels).
        micro: images in a micro-batch.

    Raises:
        UserError: if it is so small.
    """
    height, width, channels = image_shape
    try:
        sketch.train()(torch.empty(micro, channels, height, width, device="meta"))
    except ValueError as error:
        raise UserError(
            f"batch.micro: {micro} image of {height} x {width} leaves batch normalisation one number of a channel; "
            f"take 2 or more"
        ) from error
