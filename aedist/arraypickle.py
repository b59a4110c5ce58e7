"""Arrays of numbers out of a pickle that somebody else wrote, with nothing in it that could run.

Some packages hold their data as pickled numpy arrays. A pickle can name any function and call it; here it may name
what an array is rebuilt with, and nothing else.
"""

import gzip
import io
import pickle
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

_RECONSTRUCT = np.zeros(0).__reduce__()[0]


def load_arrays(file: BinaryIO | gzip.GzipFile | bytes) -> Any:
    """What a pickle holds: arrays of numbers in tuples, lists and dicts.

    Args:
        file: the pickle, of Python 2 or 3.

    Raises:
        ValueError: if it asks for anything else, is cut short, or is not a pickle.
    """
    stream = io.BytesIO(file) if isinstance(file, bytes) else file
    try:
        return _ArrayUnpickler(stream, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(str(error)) from error


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays of numbers and containers; nothing else can be named, so nothing can be run."""

    _allowed: Mapping[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
        ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """The allowed object of that name."""
        if (module_name, global_name) not in self._allowed:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, which is not allowed")
        return self._allowed[module_name, global_name]
