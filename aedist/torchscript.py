"""Arrays of numbers out of a TorchScript archive that somebody else wrote, with nothing in it that could run.

Such an archive is a zip: the modules' attributes as one pickle, the numbers of each tensor as a member of its own, and
the modules' code, which is not looked at. In the pickle a module may be named, which becomes a plain mapping, and what
a tensor is rebuilt with, which becomes a numpy array; nothing else.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MODULES = "__torch__."  # what the names of an archive's own classes begin with


def load_module(content: bytes) -> Mapping[str, Any]:
    """The outermost module: its attributes by name, each a mapping (a module), a float32 array, or a plain value.

    Args:
        content: the archive, with tensors in single precision.

    Raises:
        ValueError: if it asks for anything else, is cut short, or is no such archive.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            (root,) = {name.partition("/")[0] for name in archive.namelist()}
            return _attributes(_ModuleUnpickler(archive, root).load())
    except (pickle.UnpicklingError, zipfile.BadZipFile, EOFError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"is not a TorchScript archive of plain numbers ({error})") from error


class _Module:
    """A module of the archive: attributes and nothing else."""


class _Single:
    """Stands for the storage of single-precision numbers."""


class _ModuleUnpickler(pickle.Unpickler):
    """Unpickles modules without their code; nothing else can be named, so nothing can be run."""

    _allowed: Mapping[tuple[str, str], Any]

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive, self._root = archive, root
        self._allowed = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch", "FloatStorage"): _Single,
            ("torch.jit._pickle", "build_intlist"): list,
            ("collections", "OrderedDict"): OrderedDict,
        }

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """The allowed object of that name."""
        if module_name.startswith(_MODULES):
            return _Module
        if (module_name, global_name) not in self._allowed:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, which is not allowed")
        return self._allowed[module_name, global_name]

    def persistent_load(self, pid: Any) -> NDArray[np.float32]:
        """The numbers of a storage, which the pickle calls by (``storage``, its type, member, device, length)."""
        kind, of, member, _, length = pid
        if kind != "storage" or of is not _Single:
            raise pickle.UnpicklingError("it holds tensors that are not in single precision")
        return np.frombuffer(self._archive.read(f"{self._root}/data/{member}"), "<f4", length)


def _tensor(
    storage: NDArray[np.float32], begin: int, shape: tuple[int, ...], steps: tuple[int, ...], *_: object
) -> NDArray[np.float32]:
    """The array that a storage's numbers from ``begin`` on make up, row by row."""
    end = begin + int(np.prod(shape, dtype=np.int64))
    array = storage[begin:end].reshape(shape)
    if any(size > 1 and step * 4 != stride for size, step, stride in zip(shape, steps, array.strides, strict=True)):
        raise pickle.UnpicklingError("it holds tensors that are not stored row by row")
    return array


def _attributes(value: Any) -> Any:
    """A module as a mapping, and those in it too."""
    return {name: _attributes(held) for name, held in vars(value).items()} if isinstance(value, _Module) else value
