"""A mistake in a configuration as a line: the place, the key, its value, the rule, the fix, in the user's words."""

import difflib
import re
from collections.abc import Callable, Collection
from typing import Any

from aedist.config import describe_keys, sections
from aedist.modelconfig import kind_of

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
"""What is a number to a person; to YAML, ``1e-4`` is text."""

_LONGEST_SHOWN = 100


def tell_mistake(detail: Any, where: str, origins: Collection[str]) -> str:
    """One of pydantic's complaints about a configuration as a line of ours.

    Args:
        detail: the complaint, as ``ValidationError.errors()`` gives it.
        where: the configuration's file.
        origins: the keys that came from the command line instead.
    """
    value, kind, loc = detail["input"], detail["type"], list(detail["loc"])
    model_kind = loc.pop(1) if loc[:1] == ["model"] and len(loc) > 1 else None  # which of the models was meant
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        loc.append("kind")
        value = value.get("kind") if isinstance(value, dict) else value
    path = ".".join(str(part) for part in loc)
    from_word = any(f"{path}.".startswith(f"{origin}.") for origin in origins)
    if kind == "extra_forbidden":  # of a section that is unknown, no key is looked at
        from_word |= any(origin.startswith(f"{path}.") for origin in origins)
    place = "command line" if from_word else where
    path = _shown(path, str if path.isprintable() else repr)
    if kind in ("extra_forbidden", "invalid_key"):
        return f"{place}: unknown key {path}{_nearest(path, model_kind)}"
    if kind == "missing" and isinstance(value, (list, tuple)):
        return f"{place}: {path.rpartition('.')[0]}: {_shown(value)} is refused: it has too few items"
    if kind in ("missing", "union_tag_not_found"):
        return f"{place}: {path} is not set and has no default; set it"
    rule = str(detail["msg"]).removeprefix("Value error, ")
    rule = rule[0].lower() + rule[1:]
    if isinstance(value, str) and kind in ("float_type", "int_type") and NUMBER.fullmatch(value):
        return f"{place}: {path}: {_shown(value)} is text, not a number; {_as_number(value, kind)}"
    if kind == "value_error" and rule.startswith("give "):
        return f"{place}: {rule}"
    if kind == "union_tag_invalid":
        rule = f"it should be one of {', '.join(_kinds())}"
    rule = _RULES.get(str(kind), rule).replace("input should be", "it should be")
    return f"{place}: {path}: {_shown(value)} is refused: {rule}"


_RULES = {
    "model_type": "it should be a group of keys, such as {name: value}",
    "model_attributes_type": "it should be a group of keys, such as {kind: mlp}",
    "tuple_type": "it should be a list, such as [a, b]",
    "string_type": "it should be text; where it looks like something else, put it in quotes",
}
"""In our words, where pydantic's would mislead."""


def _shown(value: object, spell: Callable[[object], str] = repr) -> str:
    """A value as a message shows it, not longer than a line bears."""
    text = spell(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _as_number(value: str, kind: str) -> str:
    """How to write ``value`` so that YAML reads a number."""
    if kind == "int_type":
        number = float(value)
        example = int(number) if number.is_integer() and abs(number) < 1e15 else 10
        return f"write a whole number without quotes, such as {example}"
    mantissa, mark, exponent = value.lower().partition("e")
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"write {mantissa}{mark}{exponent} without quotes"


def _kinds() -> list[str]:
    """The kinds of models."""
    return [kind for cls in sections()["model"] if (kind := kind_of(cls))]


def _nearest(path: str, kind: str | None) -> str:
    """The hint for an unknown key: the key of that name elsewhere, else the closest spelling, else what there is."""
    section, dot, leaf = path.partition(".")
    if not dot:
        section, leaf = "", path
    whole = {name: name for name in sections()}
    known_keys = [dotted for dotted, _, _ in describe_keys(kind)]
    own = {key.partition(".")[2]: key for key in known_keys if key.startswith(f"{section}.")} or whole
    everywhere = {dotted.rpartition(".")[2]: dotted for dotted in known_keys} | whole
    for known, cutoff in ((everywhere, 1.0), (own, 0.6), (everywhere, 0.6)):
        if close := difflib.get_close_matches(leaf, known, n=1, cutoff=cutoff):
            return f"; did you mean {known[close[0]]}?"
    whose = f"a model of kind {kind}" if kind else section if section in whole else "a configuration"
    return f"; {whose} has {', '.join(own)}"
