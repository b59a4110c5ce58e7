"""A group of keys that a user writes, in a configuration or a recipe: typed, documented, frozen."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_SIZES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def _parse_bytes(value: object) -> object:
    """``4GiB`` and the like to a number of bytes; anything else is left for pydantic to judge."""
    return parse_bytes(value) if isinstance(value, str) else value


def parse_bytes(text: str) -> int:
    """``4GiB`` and the like to a number of bytes.

    Raises:
        ValueError: saying what it must be.
    """
    number, unit = text[:-3].strip(), text[-3:]
    if unit not in _SIZES or not number.replace(".", "", 1).isdigit():
        raise ValueError("must be a size such as 512MiB or 4GiB")
    if len(number) > 12:
        raise ValueError("is larger than any memory")
    return int(float(number) * _SIZES[unit])


Bytes = Annotated[int, BeforeValidator(_parse_bytes), Field(ge=0)]


def key(default: Any, sentence: str, *, placement: bool = False, **rules: Any) -> Any:
    """A configuration key: its default, the sentence that says what it is, and its rules."""
    return Field(default, description=sentence, json_schema_extra={"placement": placement}, **rules)


class Section(BaseModel):
    """A frozen group of keys; unknown keys and wrong types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)
