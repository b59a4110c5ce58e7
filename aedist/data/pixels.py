"""Between bytes and numbers: uint8 images in NHWC on one side, floating point in [0, 1] and NCHW on the other."""

import torch
from torch import Tensor


def to_unit_range(images_bhwc: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 (B, H, W, C) to ``dtype`` (B, C, H, W) in [0, 1], as torchvision's ToTensor scales."""
    return images_bhwc.permute(0, 3, 1, 2).contiguous().to(dtype).div_(255)


def to_bytes(x_bchw: Tensor) -> Tensor:
    """Floating point (B, C, H, W) to uint8 (B, H, W, C): clamped to [0, 1] and rounded, as a saved picture is.

    What is not a number becomes 0: bytes have no other word for it.
    """
    return x_bchw.nan_to_num(0).clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
