"""Standard normal numbers by key: the same on every machine's CPU, whatever the device they are used on."""

import torch
from torch import Tensor

from aedist.keys import torch_seed


def keyed_normal(shape: tuple[int, ...], *parts: int) -> Tensor:
    """The normal numbers that the non-negative integers ``parts`` name: float32 of ``shape``, on the CPU."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(torch_seed(*parts)))
