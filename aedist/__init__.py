"""aedist: distributed training of autoencoders and VAEs from WebDataset shards.

``get_model``, ``count_parameters``, ``load`` and ``push_to_hub`` are the API; they are imported when first used, so
that the command line answers at once.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aedist.models import count_parameters, get_model
    from aedist.pretrained import load, push_to_hub

__all__ = ["count_parameters", "get_model", "load", "push_to_hub"]

_HOME = {
    "count_parameters": "aedist.models",
    "get_model": "aedist.models",
    "load": "aedist.pretrained",
    "push_to_hub": "aedist.pretrained",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'aedist' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 (only when the API is used)

    return getattr(import_module(_HOME[name]), name)
