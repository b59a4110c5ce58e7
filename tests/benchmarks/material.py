"""The images that are read: shards by aedist's own index, and the same bytes as files and in memory, for the others.

A folder of third-party WebDataset tars is copied and indexed by ``aedist shards index``. Where none is given, pictures
with the spectrum of photographs are drawn: amplitudes that fall as one over the frequency, as natural images' do
(Field 1987).
"""

import io
import os
import shutil
import tarfile
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
import simplejpeg

from aedist.data.loader import Split
from aedist.data.source import open_split
from aedist.shards.describe import index_folder

SHARD_SAMPLES = 1000
_ENOUGH_IMAGES, _ENOUGH_BYTES = 10_000, 10**8
_IMAGES = ("jpg", "jpeg", "png")


@dataclass(frozen=True)
class Material:
    """One data set: where its shards are, and a folder for what others make of it."""

    name: str
    shards: Path
    folder: Path

    @cached_property
    def split(self) -> Split:
        """As aedist reads it."""
        return open_split(str(self.shards), "train")

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """How many samples the first shards have: as many shards as are enough to measure with."""
        samples, wanted = [shard.samples for shard in self.split.index.shards], self.images_of(_ENOUGH_BYTES)
        number = next((n for n in range(1, len(samples)) if sum(samples[:n]) >= wanted), len(samples))
        return tuple(samples[:number])

    def images_of(self, size: int) -> int:
        """How many images have so many bytes, decoded; no more than are enough to measure with."""
        return min(_ENOUGH_IMAGES, -(-size // prod(self.split.index.image_shape)))

    @cached_property
    def tars(self) -> list[Path]:
        """Those shards, in order."""
        return [self.shards / "train" / shard.file for shard in self.split.index.shards[: len(self.counts)]]

    @cached_property
    def extension(self) -> str:
        """Of its image files."""
        with tarfile.open(self.tars[0]) as tar:
            return next(name.rpartition(".")[2] for name in tar.getnames() if name.endswith(_IMAGES))

    @cached_property
    def encoded(self) -> list[bytes]:
        """The bytes of their image files."""
        found = list[bytes]()
        for path in self.tars:
            with tarfile.open(path) as tar:
                found += [tar.extractfile(member).read() for member in tar if member.name.endswith(self.extension)]  # type: ignore[union-attr]
        return found

    @cached_property
    def files(self) -> Path:
        """The same images as files, in two folders, as ImageFolder reads them."""
        folder = self.folder / "files"
        if not (folder / "whole").exists():
            for number, raw in enumerate(self.encoded):
                path = folder / f"{number % 2}" / f"{number:07d}.{self.extension}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(raw)
            (folder / "whole").touch()
        return folder


def from_shards(name: str, shards: Path, cache: Path) -> Material:
    """Shards that are here, indexed where they are not."""
    folder = cache / name
    if (shards / "train" / "index.json").exists():
        return Material(name, shards, folder)
    copied = folder / "shards"
    if not (copied / "train" / "index.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(shards, copied, copy_function=shutil.copyfile)
        for path in (copied, *copied.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        index_folder(copied, print)
    return Material(name, copied, folder)


def drawn(name: str, side: int, images: int, cache: Path) -> Material:
    """Drawn colour JPEGs of quality 90."""
    folder = cache / name
    shards = folder / "shards"
    if not (shards / "train" / "index.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        (shards / "train").mkdir(parents=True)
        for first in range(0, images, SHARD_SAMPLES):
            with tarfile.open(shards / "train" / f"{name}-{first // SHARD_SAMPLES:06d}.tar", "w") as tar:
                for number in range(first, min(images, first + SHARD_SAMPLES)):
                    raw = simplejpeg.encode_jpeg(_picture(number, side), quality=90, colorsubsampling="420")
                    for extension, body in (("cls", b"0"), ("jpg", raw)):
                        member = tarfile.TarInfo(f"{number:07d}.{extension}")
                        member.size = len(body)
                        tar.addfile(member, io.BytesIO(body))
        index_folder(shards, print)
    return Material(name, shards, folder)


def _picture(number: int, side: int) -> np.ndarray:
    """uint8 (side, side, 3)."""
    rng = np.random.default_rng(number)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])[..., None]
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(
        rng.standard_normal((side, side, 1)) + 0.3 * rng.standard_normal((side, side, 3)), axes=(0, 1)
    )
    x = np.fft.ifft2(spectrum / frequency, axes=(0, 1)).real
    x -= x.mean()
    return np.ascontiguousarray((127 + 55 * x / x.std()).clip(0, 255).astype(np.uint8))


def cache_folder() -> Path:
    """Where drawn pictures and the peers' environments are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "aedist-benchmarks"
