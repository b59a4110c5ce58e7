"""What a sample's ``.json`` says of it: attributes, each true or false, a whole number, or a short text.

A split's index sums them up, so that what may be asked of the data is known without reading it: for each name ``bool``,
``int``, or the texts that occur. An attribute has one kind throughout a split; a sample may lack it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

MAX_JSON_BYTES = 2**16
MAX_TEXTS = 1000  # of one attribute: more are names of the samples rather than a property that they share

Value = bool | int | str
Kinds = dict[str, str | set[str]]
"""Name to ``bool``, ``int``, or the texts seen so far."""
Summary = dict[str, str | tuple[str, ...]]
"""Name to ``bool``, ``int``, or the sorted texts."""


def parse_attributes(raw: bytes) -> dict[str, Value]:
    """The attributes in a ``.json`` field.

    Raises:
        ValueError: with the reason, if it is not a JSON object of such values.
    """
    if len(raw) > MAX_JSON_BYTES:
        raise ValueError(f".json holds {len(raw):,} bytes, but attributes take {MAX_JSON_BYTES:,} at most")
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(".json is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f".json is not read ({error})") from error
    if not isinstance(found, dict):
        raise ValueError(".json holds no object, but attributes are written as {name: value}")
    for name, value in found.items():
        if type(value) not in (bool, int, str):
            raise ValueError(
                f".json: {name!r} is {_shown(value)}, but an attribute is true, false, a whole number or a text"
            )
        if not name or not _is_text(name) or (isinstance(value, str) and not _is_text(value)):
            raise ValueError(f".json: {name!r}: {_shown(value)} is no attribute: it is empty or cannot be printed")
    return found


def write_attributes(attributes: Mapping[str, Value]) -> bytes:
    """The ``.json`` field of these attributes; the same bytes for the same attributes, in any order."""
    return json.dumps(dict(attributes), sort_keys=True, ensure_ascii=False).encode()


def note(kinds: Kinds, attributes: Mapping[str, Value]) -> None:
    """Add what one sample has to the kinds seen so far.

    Raises:
        ValueError: if an attribute was of another kind before, or has too many texts.
    """
    for name, value in attributes.items():
        kind: str | set[str] = {value} if isinstance(value, str) else type(value).__name__
        _join(kinds, name, kind)


def merge(parts: Iterable[Mapping[str, str | Iterable[str]]]) -> Kinds:
    """The kinds of several shards together.

    Raises:
        ValueError: as ``note``.
    """
    kinds: Kinds = {}
    for part in parts:
        for name, kind in part.items():
            _join(kinds, name, kind if isinstance(kind, str) else set(kind))
    return kinds


def summarise(kinds: Kinds) -> Summary:
    """The kinds as an index holds them, names and texts sorted."""
    return {name: kind if isinstance(kind, str) else tuple(sorted(kind)) for name, kind in sorted(kinds.items())}


def _join(kinds: Kinds, name: str, kind: str | set[str]) -> None:
    before = kinds.setdefault(name, kind if isinstance(kind, str) else set())
    if isinstance(before, set) and isinstance(kind, set):
        before |= kind
        if len(before) > MAX_TEXTS:
            raise ValueError(f".json: attribute {name!r} has more than {MAX_TEXTS} texts, so it is no shared property")
    elif before != kind:
        raise ValueError(f".json: attribute {name!r} is {_kind(kind)} here and {_kind(before)} in other samples")


def _kind(kind: str | set[str]) -> str:
    return {"bool": "true or false", "int": "a whole number"}[kind] if isinstance(kind, str) else "a text"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _is_text(text: str) -> bool:
    """Whether it can be written out: JSON can spell halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
