"""Tensors as a safetensors file, piece by piece: nothing is held a second time, and no piece holds up other threads.

The format (https://huggingface.co/docs/safetensors) is the length of a header as 64 bits, little-endian; the header,
a JSON object that gives each tensor's type, shape and place; and the tensors' bytes, without gaps. The widest types
come first, so that every tensor begins where its type may. The library would do the same, but into a private file.
"""

import json
import struct
from collections.abc import Iterator

import torch
from torch import Tensor

from aedist.errors import UserError

_PIECE_BYTES = 2**22
_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def file_pieces(tensors: dict[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file, in order, at most a few MiB at a time.

    Args:
        tensors: by name; contiguous, on the CPU. They must not change while they are read.

    Raises:
        UserError: if a tensor is of a type that the file cannot hold.
    """
    header, end = dict[str, dict[str, object]](), 0
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    for name in order:
        tensor = tensors[name]
        if tensor.dtype not in _TYPES:
            raise UserError(f"{name}: is of type {tensor.dtype}, which a checkpoint cannot hold; keep it as float32")
        start, end = end, end + tensor.element_size() * tensor.numel()
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for name in order:
        if tensors[name].numel():
            body = tensors[name].reshape(-1).view(torch.uint8).numpy().data
            for start in range(0, len(body), _PIECE_BYTES):
                yield body[start : start + _PIECE_BYTES]
