"""The models: plain modules that encode, decode and know neither processes nor losses.

``get_model`` builds one by name; a new model is a file here and a line in ``MODELS``.
"""

from typing import Any

from torch import nn

from aedist.models.conv import Conv
from aedist.models.mlp import MLP
from aedist.models.residual import Residual
from aedist.models.vae import VAE

MODELS: dict[str, type[nn.Module]] = {"mlp": MLP, "conv": Conv, "vae": VAE, "residual": Residual}


def get_model(kind: str, **options: Any) -> nn.Module:
    """A freshly initialised model.

    Args:
        kind: a name in ``MODELS``.
        options: the model's own, such as ``image_shape=(height, width, channels)`` and ``latent_dim``.

    Raises:
        ValueError: if there is no such model, or it does not fit the images.
    """
    if kind not in MODELS:
        raise ValueError(f"there is no model {kind!r}; there are {', '.join(MODELS)}")
    return MODELS[kind](**options)


def count_parameters(model: nn.Module) -> int:
    """The number of trainable numbers in a model."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
