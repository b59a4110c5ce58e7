"""Folders of images such as users have, written by the tests of what is made of them."""

from pathlib import Path
from typing import Any

from PIL import Image

from aedist.shards.recipe import ImageRecipe
from aedist.shards.samples import FOLDER, Described
from aedist.shards.sources.imagefolder import FolderOptions, by_class

RECIPES = Path(__file__).parent.parent / "shards"
PNG8 = ImageRecipe(height=8, width=8, channels=3, encoding="png")


def ignore(_: str) -> None:
    """Nobody listens."""


def _nobody_looks(_what: str, _done: int, _total: int) -> None:
    """Nobody is told how far a look has come."""


def save(path: Path, colour: int = 100, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Path:
    """An image whose first pixel differs from the rest; ``size`` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new(mode, size, colour if mode == "L" else (colour, 20, 30, 255)[: len(mode)])
    image.save(path)
    return path


def glasses(folder: Path, each: int = 10) -> Path:
    """Two classes of as many images."""
    for number in range(each):
        save(folder / "glasses" / f"{number}.png", 10 + number)
        save(folder / "no_glasses" / f"{number}.jpg", 110 + number)
    return folder


def opened(place: Path, split: str = "train", source: Any = by_class, **options: Any) -> Described:
    """A split of a folder, as the recipes ``faces`` and ``folder`` open it."""
    return source({FOLDER: place}, FolderOptions(**options), PNG8, _nobody_looks)(split)
