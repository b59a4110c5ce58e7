"""A recipe: which data set a folder of shards is made of, from which originals, under which licence, and how.

Shards are a function of the recipe and the originals it names by sha256. Reading one recipe is all that this file
does; ``build`` follows it.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from aedist.configfile import read_yaml
from aedist.errors import UserError
from aedist.section import Section, key

_Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]  # also a file's name, so nothing that could lead away
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

_LONGEST_SHOWN = 100
_LONGEST_SIDE = 8192  # an image is held in memory whole


class SplitRecipe(Section):
    """One split of the data set."""

    samples: int | None = key(None, "How many samples it must have; left out, what the originals hold.", ge=1)


class ImageRecipe(Section):
    """What every image of the data set is."""

    height: int = key(..., "Rows.", ge=1, le=_LONGEST_SIDE)
    width: int = key(..., "Columns.", ge=1, le=_LONGEST_SIDE)
    channels: Literal[1, 3] = key(..., "1 grey, 3 colour.")
    encoding: Literal["png", "jpg"] = key(..., "The extension of the image's file.")


class Recipe(Section):
    """How a data set becomes shards."""

    name: _Name = key(..., "The data set's name, with which every shard's name begins.")
    source: _Name = key(..., "The source in aedist/shards/sources that opens the originals.")
    licence: str = key(..., "The licence of the originals.", min_length=1)
    credit: str = key(..., "Whom to credit, and for what.", min_length=1)
    originals: dict[str, _Sha256] = key({}, "The sha256 of every original file, by name; none if they are the user's.")
    options: dict[str, Any] = key({}, "What the source is told; each source has keys of its own.")
    splits: dict[_Name, SplitRecipe] = key(..., "The splits, by name.", min_length=1)
    classes: tuple[str, ...] = key((), "The classes' names by their numbers; left out, the originals'.", strict=False)
    image: ImageRecipe = key(..., "What every image is.")
    samples_per_shard: int = key(10_000, "Samples of a shard; the last of a split may have fewer.", ge=1)
    seed: int = key(0, "Names the order in which samples are laid into shards.", ge=0, lt=2**63)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.image.height, self.image.width, self.image.channels


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file.

    Raises:
        UserError: one line for each mistake.
    """
    try:
        values = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a recipe that is there") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text; name a recipe") from error
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        known = [*Recipe.model_fields, *ImageRecipe.model_fields, *SplitRecipe.model_fields]
        raise UserError("\n".join(tell(detail, f"{path}: ", known) for detail in error.errors())) from error


def tell(detail: Any, where: str, known: Sequence[str], above: str = "") -> str:
    """One of pydantic's complaints as a line of ours.

    Args:
        detail: the complaint.
        where: what the line begins with.
        known: the keys that there are, of which the nearest to an unknown one is named.
        above: the key that the complaint's keys stand below, with its dot.
    """
    place = _printable(above + ".".join(str(part) for part in detail["loc"] if part != "[key]"))
    if detail["type"] == "missing":
        return f"{where}{place} is not set and has no default; set it"
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        close = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        there = f"the keys are {', '.join(known)}" if known else "there is none to set"
        return f"{where}unknown key {place}; {f'did you mean {above}{close[0]}?' if close else there}"
    if not detail["loc"]:
        return f"{where}{_shown(detail['input'])} is no recipe; write keys such as 'name: mnist'"
    rule = str(detail["msg"]).removeprefix("Value error, ")
    rule = (rule[0].lower() + rule[1:]).replace("input should", "it should")
    return f"{where}{place or above[:-1]}: {_shown(detail['input'])} is refused: {_printable(rule)}"


def _shown(value: object) -> str:
    """A value as a message shows it, not longer than a line bears."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _printable(text: str) -> str:
    """A text on one line of bearable length: what cannot be printed is escaped as Python does."""
    text = text if text.isprintable() else text.encode("unicode_escape").decode()
    return text if len(text) <= 2 * _LONGEST_SHOWN else f"{text[: 2 * _LONGEST_SHOWN]}..."
