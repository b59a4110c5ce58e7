"""The split that a plan is for: as its index says, or where it is not built on this machine, as its recipe promises."""

from dataclasses import dataclass
from pathlib import Path

from aedist.config import Data
from aedist.data.address import is_address
from aedist.data.loader import Split
from aedist.data.source import open_split, shard_cache
from aedist.errors import UserError
from aedist.planning.constants import Constants
from aedist.shards.index import Index, Shard
from aedist.shards.recipe import Recipe, read_recipe

_TAR_BLOCK = 512


@dataclass(frozen=True)
class Described:
    """A split, and whether its bytes are estimates from a recipe."""

    split: Split
    is_estimate: bool


def describe(data: Data, name: str, cache: Path | None, constants: Constants, images: int | None) -> Described:
    """The split ``name``.

    Args:
        data: where its shards are.
        name: the split.
        cache: where this machine keeps what was fetched.
        constants: how many bytes an image takes where nobody knows.
        images: how many images a split has that is neither here nor counted in its recipe.

    Raises:
        UserError: if it is not there, and no recipe says what it would be.
    """
    folder = Path(data.shards)
    recipe_path = folder.with_name(f"{folder.name}.yaml")
    if is_address(data.shards) or folder.is_dir() or not recipe_path.is_file():
        return Described(open_split(data.shards, name, shard_cache(data, cache)), is_estimate=False)
    recipe = read_recipe(recipe_path)
    if name not in recipe.splits:
        raise UserError(
            f"data.split, evaluate.split: {recipe_path} has no split {name!r} (it has {', '.join(recipe.splits)}); "
            f"name one of them"
        )
    count = recipe.splits[name].samples or images
    if count is None:
        raise UserError(
            f"data.shards: {folder} is not built here, and {recipe_path} does not say how many images {name} has; "
            f"build it, or say how many with --images N"
        )
    return Described(Split(folder / name, _promised(recipe, name, count, constants)), is_estimate=True)


def _promised(recipe: Recipe, split: str, count: int, constants: Constants) -> Index:
    """The index that shards by a recipe would have, but for bytes and sha256."""
    height, width, channels = recipe.image_shape
    image = (
        constants.png_share * height * width * channels
        if recipe.image.encoding == "png"
        else constants.jpg_byte_a_pixel * height * width
    )
    # an image and its class, each behind a header and filled up to whole blocks
    sample = 3 * _TAR_BLOCK + -(-int(image) // _TAR_BLOCK) * _TAR_BLOCK
    starts = range(0, count, recipe.samples_per_shard)
    sizes = [min(recipe.samples_per_shard, count - start) for start in starts]
    shards = tuple(
        Shard(f"{recipe.name}-{split}-{number:06d}.tar", size, size * sample, "", ())
        for number, size in enumerate(sizes)
    )
    return Index(recipe.name, split, recipe.image_shape, recipe.classes, shards)
