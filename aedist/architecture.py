"""From the ``model`` section of a configuration to a model."""

import torch
from torch import nn

from aedist.config import Model, model_options
from aedist.errors import UserError
from aedist.models import get_model


def build_model(model: Model, image_shape: tuple[int, int, int]) -> nn.Module:
    """The configured model for images of (height, width, channels), its weights drawn from torch's generator.

    Raises:
        UserError: if it does not fit the images.
    """
    try:
        return get_model(model.kind, **model_options(model, image_shape))
    except ValueError as error:
        raise UserError(f"model.kind: {model.kind}: {error}") from error


def sketch_model(model: Model, image_shape: tuple[int, int, int]) -> nn.Module:
    """The same without memory for its weights: enough to count them, and to refuse a model that does not fit."""
    with torch.device("meta"):
        return build_model(model, image_shape)
