"""What a condition of an expression means for a split: which of its classes and attributes are named, and which images
fulfil it.

Whether a condition holds can be unknown: where a sample has no class, or lacks the attribute. Unknown is told from
false as in Kleene's logic, so that ``!glasses`` takes the images that are known to show none, and no others.

A name that is a class and a true or false attribute, as ``glasses`` is where two folders became classes and attributes
too, means the attribute; ``class=glasses`` is always the class.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches

from aedist.errors import UserError
from aedist.explore.expression import And, Condition, Name, Not, mistake, printable
from aedist.shards.index import Index

Attributes = Mapping[str, bool | int | str]
Test = Callable[[int | None, Attributes], bool | None]
"""Whether a sample of some class (or none) with some attributes fulfils a condition; None where that is not known."""

_CLASS = "class"
_WHOLE = re.compile(r"-?[0-9]+")
_MOST_NAMES = 12


def compile_condition(condition: Condition, index: Index, text: str) -> Test:
    """The test that a condition is.

    Args:
        condition: what was written.
        index: what classes and attributes the split has.
        text: the whole expression, for errors.

    Raises:
        UserError: naming what is unknown or ambiguous, its place, and the nearest that there is.
    """
    if isinstance(condition, Name):
        return _compile_name(condition, index, text)
    if isinstance(condition, Not):
        inner = compile_condition(condition.condition, index, text)
        return lambda label, attributes: _not(inner(label, attributes))
    parts = [compile_condition(part, index, text) for part in condition.conditions]
    if isinstance(condition, And):
        return lambda label, attributes: _all(part(label, attributes) for part in parts)
    return lambda label, attributes: _not(_all(_not(part(label, attributes)) for part in parts))


def _not(known: bool | None) -> bool | None:
    return None if known is None else not known


def _all(known: Iterable[bool | None]) -> bool | None:
    """False if one is, else unknown if one is, else true."""
    found = set(known)
    return False if False in found else None if None in found else True


def _compile_name(name: Name, index: Index, text: str) -> Test:
    labels, kind = _labels(name.name, index), index.attributes.get(name.name)
    if name.value is not None:
        return _compile_value(name, name.value, index, text)
    if labels and kind != "bool":
        return lambda label, _: None if label is None else label in labels
    if kind is None:
        raise _unknown(name, name.name, [*index.classes, *index.class_ids, *index.attributes], index, text)
    if kind != "bool":
        values = "a whole number" if kind == "int" else f"one of {_listed(kind)}"
        raise mistake(text, name.position, f"{name.name} is not true or false; write {name.name}={values}")
    return lambda _, attributes: bool(attributes[name.name]) if name.name in attributes else None


def _compile_value(name: Name, value: str, index: Index, text: str) -> Test:
    kind = index.attributes.get(name.name)
    if name.name == _CLASS and kind is None:
        labels = _labels(value, index)
        if not labels:
            raise _unknown(name, value, [*index.classes, *index.class_ids], index, text)
        return lambda label, _: None if label is None else label in labels
    if kind is None:
        raise _unknown(name, name.name, list(index.attributes), index, text)
    values = ("true", "false") if kind == "bool" else kind
    if kind == "int":
        if not _WHOLE.fullmatch(value):
            raise mistake(text, name.position, f"{name.name} is a whole number, and {_shown(value)} is none")
        number = int(value)
        return lambda _, attributes: attributes[name.name] == number if name.name in attributes else None
    if value not in values:
        near = _nearest(value, values)
        raise mistake(text, name.position, f"{name.name} is never {_shown(value)}; {near}it is {_listed(values)}")
    return lambda _, attributes: _word(attributes[name.name]) == value if name.name in attributes else None


def _labels(name: str, index: Index) -> frozenset[int]:
    """The classes of that name or identifier; several classes may share a name."""
    named = {label for label, known in enumerate(index.classes) if known == name}
    return frozenset(named | {label for label, known in enumerate(index.class_ids) if known == name})


def _word(value: bool | int | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unknown(name: Name, asked: str, known: Sequence[str], index: Index, text: str) -> UserError:
    """The error that says what there is; where a name with a minus sign was meant, how to write that."""
    split = f"{index.name}/{index.split}"
    for whole in known:
        start = text.find(whole)
        if asked in whole and asked != whole and start != -1 and start <= name.position < start + len(whole):
            return mistake(text, name.position, f'{split} knows {whole} but not {asked}; write "{whole}" in quotes')
    if not known:
        return mistake(text, name.position, f"{split} has no classes and no attributes, so there are no groups")
    problem = f"{split} knows no class or attribute {printable(asked)}"
    return mistake(text, name.position, f"{problem}; {_nearest(asked, known)}there are {_listed(known)}")


def _nearest(asked: str, known: Sequence[str]) -> str:
    by_small = {name.lower(): name for name in reversed(known)}
    near = get_close_matches(asked.lower(), by_small, 1)
    return f"did you mean {by_small[near[0]]}? " if near else ""


def _shown(name: str) -> str:
    """A name as a line shows it, so that an empty text is seen."""
    return printable(name) or '""'


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(_shown(name) for name in names[:_MOST_NAMES]) + more
