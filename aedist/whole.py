"""Files that are whole or absent: written beside their place and renamed into it."""

import os
from pathlib import Path


def beside(path: Path) -> Path:
    """Where a file is written before it takes its place; what a kill leaves there is written over."""
    return path.with_name(path.name + ".part")


def write_whole(path: Path, text: str, *, durable: bool = False) -> None:
    """Write ``text`` to ``path`` so that a reader finds all of it or what was there before.

    Args:
        path: the file; its folder is there.
        text: its content.
        durable: whether the bytes must be on the disk before they take the place of others.
    """
    with beside(path).open("w", encoding="utf-8") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    beside(path).replace(path)
