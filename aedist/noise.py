"""Standard normal numbers by key: the same on every machine's CPU, whatever the device they are used on.

torch's single-precision normal numbers differ in their last bits between a CPU with AVX2 and one without. So they are
drawn in double precision and rounded, which leaves nothing of the last bits of a logarithm or a cosine.
"""

import torch
from torch import Tensor

from aedist.keys import torch_seed


def keyed_normal(shape: tuple[int, ...], *parts: int) -> Tensor:
    """The normal numbers that the non-negative integers ``parts`` name: float32 of ``shape``, on the CPU."""
    generator = torch.Generator().manual_seed(torch_seed(*parts))
    return torch.randn(shape, dtype=torch.float64, generator=generator).float()
