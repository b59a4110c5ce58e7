"""A folder of pictures, a recipe that makes shards of it, and what a build of them left: for tests of building."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_pictures(folder: Path, count: int, height: int, width: int) -> Path:
    """So many pictures of noise, the same every time."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{number:03d}.png")
    return folder


def recipe_of_pictures(size: int, **values: object) -> dict[str, object]:
    """The values of a recipe of such a folder for images of ``size`` x ``size``, with others besides or instead."""
    return {
        "name": "mine",
        "source": "folder",
        "licence": "none",
        "credit": "the test",
        "options": {"test_fraction": 0.2},
        "splits": {"train": {}, "test": {}},
        "image": {"height": size, "width": size, "channels": 3, "encoding": "png"},
        **values,
    }


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def ignore(_: object) -> None:
    """Nobody listens."""
