"""Files that lie in a folder or in a zip, read in place, by their path below it; and what a folder holds besides.

Names are told apart from images by their extension alone. Hidden files and files that are no images are counted and
named, never dropped silently; links are followed, and one that leads back to where it came from is refused.
"""

import hashlib
import os
import stat
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aedist.errors import UserError
from aedist.shards.samples import Looked, Unreadable, name_some

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_MAX_FILE_BYTES = 2**28
_PIECE_BYTES = 2**24


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder and of all folders in it."""

    place: Path

    def sizes(self) -> dict[str, int]:
        """Every file's path below the place, with ``/`` between folders, and its bytes, in the order of the paths."""
        return dict(sorted(_walk(self.place, "", ())))

    def read(self, name: str) -> bytes:
        """The bytes of a file; raises ``Unreadable``."""
        path = self.place / name
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for whoever writes to it
                raise Unreadable(shown(name), "is no regular file")
            with path.open("rb") as file:
                raw = file.read(_MAX_FILE_BYTES + 1)
        except OSError as error:
            raise Unreadable(shown(name), f"cannot be read: {error.strerror}") from error
        if len(raw) > _MAX_FILE_BYTES:
            raise Unreadable(shown(name), f"is longer than {_MAX_FILE_BYTES:,} bytes")
        return raw


@dataclass(frozen=True)
class ZipFiles:
    """The files of a zip. Each process opens it for itself; the CRC-32 of each file is compared as it is read."""

    place: Path
    below: str = ""
    _open: list[zipfile.ZipFile] = field(default_factory=list[zipfile.ZipFile], repr=False, compare=False)

    def __reduce__(self) -> tuple[type["ZipFiles"], tuple[Path, str]]:
        return ZipFiles, (self.place, self.below)  # an open file stays where it is

    def sizes(self) -> dict[str, int]:
        """As ``FolderFiles.sizes``."""
        found: dict[str, int] = {}
        for info in self._archive().infolist():
            if info.is_dir() or not info.filename.startswith(self.below):
                continue
            name = info.filename.removeprefix(self.below)
            if name in found:
                raise UserError(f"{self.place}: holds {shown(name)} twice; make the zip anew")
            found[name] = info.file_size
        return dict(sorted(found.items()))

    def read(self, name: str) -> bytes:
        """As ``FolderFiles.read``."""
        try:
            with self._archive().open(self.below + name) as file:
                raw = file.read(_MAX_FILE_BYTES + 1)
        except (OSError, KeyError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise Unreadable(shown(name), f"cannot be unpacked: {error}") from error
        if len(raw) > _MAX_FILE_BYTES:
            raise Unreadable(shown(name), f"is longer than {_MAX_FILE_BYTES:,} bytes")
        return raw

    def _archive(self) -> zipfile.ZipFile:
        if not self._open:
            try:
                self._open.append(zipfile.ZipFile(self.place))
            except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
                raise UserError(
                    f"{self.place}: is no zip that can be read ({error}); copy or download it again"
                ) from error
        return self._open[0]


Files = FolderFiles | ZipFiles


@dataclass(frozen=True)
class Sorted:
    """The files of a place by kind."""

    images: tuple[str, ...]
    hidden: tuple[str, ...]
    others: tuple[str, ...]


def sort_kinds(names: Sequence[str]) -> Sorted:
    """Images by their extension, hidden files (a name or folder that begins with a dot, Thumbs.db), and the rest."""
    images: list[str] = []
    hidden: list[str] = []
    others: list[str] = []
    for name in names:
        parts = name.split("/")
        if any(part.startswith(".") for part in parts) or parts[-1].lower() in ("thumbs.db", "desktop.ini"):
            hidden.append(name)
        elif name.lower().endswith(IMAGE_SUFFIXES):
            images.append(name)
        else:
            others.append(name)
    return Sorted(tuple(images), tuple(hidden), tuple(others))


def shown(name: str) -> str:
    """A name as it can be printed on one line: what cannot is escaped as Python does."""
    return name if name.isprintable() else name.encode("unicode_escape").decode()


def shown_some(names: Sequence[str]) -> str:
    """As ``name_some``, each as ``shown``."""
    return name_some([shown(name) for name in names])


def file_digest(path: Path, algorithm: str, looked: Looked) -> str:
    """The digest of a file by an algorithm of ``hashlib``, in hexadecimal; ``looked`` is told of the bytes.

    Raises:
        UserError: if it cannot be read.
    """
    digest, done = hashlib.new(algorithm, usedforsecurity=False), 0
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                done += len(piece)
                looked(f"bytes of {path.name}", done, size)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); copy it again, or mend its rights") from error
    return digest.hexdigest()


def _walk(folder: Path, below: str, above: tuple[tuple[int, int], ...]) -> list[tuple[str, int]]:
    """(path, bytes) of the files in a folder and the folders in it; -1 bytes where a link leads nowhere."""
    try:
        here = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"{shown(str(folder))}: cannot be read ({error.strerror}); give a folder that can be"
        ) from error
    if (here.st_dev, here.st_ino) in above:
        raise UserError(f"{shown(str(folder))}: is a link to a folder that holds it; remove the link")
    found: list[tuple[str, int]] = []
    for entry in entries:
        try:
            is_folder = entry.is_dir()
        except OSError:  # a link that leads to itself
            is_folder = False
        if is_folder:
            found += _walk(Path(entry.path), f"{below}{entry.name}/", (*above, (here.st_dev, here.st_ino)))
            continue
        try:
            found.append((below + entry.name, entry.stat().st_size))
        except OSError:
            found.append((below + entry.name, -1))
    return found
