"""Files that are whole or absent: written beside their place and renamed into it."""

import os
from pathlib import Path


def beside(path: Path) -> Path:
    """Where a file is written before it takes its place; what a kill leaves there is written over."""
    return path.with_name(path.name + ".part")


def write_whole(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write ``content`` to ``path`` so that a reader finds all of it or what was there before.

    Args:
        path: the file; its folder is there.
        content: text, written as UTF-8, or bytes.
        durable: whether the bytes must be on the disk before they take the place of others, and the file be there
            after a loss of power.
    """
    with beside(path).open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    beside(path).replace(path)
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put a folder's list of files on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
