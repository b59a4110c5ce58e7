"""Reading a configuration: defaults < YAML file < ``key=value`` words, and telling mistakes in the user's words.

The YAML read here has no traps: a duplicate key is refused, ``no`` and ``off`` are text, ``1:30`` is text, and
text where a number belongs is refused with the spelling that YAML takes for a number (``1e-4`` is text to
YAML; ``1.0e-4`` is a number). On the command line, where nothing else could be meant, ``1e-4`` is a number.
Anchors, tags and deep nesting, with which a small file can make a huge or a strange value, are refused.
"""

import re
from collections.abc import Collection, Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from aedist.config import Config, is_placement
from aedist.errors import UserError
from aedist.mistakes import NUMBER, tell_mistake

_DEEPEST_NESTING = 20
_OTHER_LINE_BREAKS = "\x85\u2028\u2029"


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and knows only null, true/false, integers, floats and text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's own hook)
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None or event.tag is not None:
            raise _refusal("anchors (&), aliases (*) and tags (!) are not read here", event.start_mark)
        if self._depth > _DEEPEST_NESTING:
            raise _refusal(f"more than {_DEEPEST_NESTING} levels of nesting", event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refusal("a key must be a plain word", key_node.start_mark)
            if key_node.value in seen:
                raise _refusal(f"key {key_node.value!r} is given twice", key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: Any) -> Any:
        if "\0" in node.value:  # no file name and no label may hold one
            raise _refusal("text with a zero byte", node.start_mark)
        return super().construct_scalar(node)


def _refusal(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _integer(loader: yaml.SafeLoader, node: Any) -> int:
    """In tens alone: to YAML 1.1, 010 is eight and 1:30 is ninety."""
    try:
        return int(loader.construct_scalar(node))  # pyright: ignore[reportArgumentType]
    except ValueError as error:  # Python reads no number of thousands of digits
        raise _refusal("a number of too many digits", node.start_mark) from error


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?\d+", list("-+0123456789")),
    ("float", r"[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|nan)", list("-+0123456789.")),
):
    _PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first)
_PlainLoader.add_constructor("tag:yaml.org,2002:int", _integer)


def read_yaml(text: str, where: str) -> Any:
    """The value of one YAML document.

    Raises:
        UserError: naming ``where`` and the line, if it is not YAML or a key stands twice.
    """
    try:
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{where}{line}: {error.problem}; correct it") from error
    except yaml.YAMLError as error:
        raise UserError(f"{where}: is not YAML text: {str(error).splitlines()[0]}; correct it") from error


def load_config(path: Path, words: Sequence[str] = ()) -> Config:
    """The configuration in ``path`` with the ``section.key=value`` words laid over it.

    ``run.dir``, where nothing sets it, becomes ``runs/STEM`` after the file's name.

    Raises:
        UserError: one line for each mistake.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a configuration file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text; name a configuration file") from error
    values = read_yaml(text, str(path)) or {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: must hold sections of keys, such as 'train: {{epochs: 10}}'")
    origins: set[str] = set()
    for word in words:
        _lay_over(values, word, origins)
    run = values.setdefault("run", {})
    if isinstance(run, dict) and not run.get("dir"):
        run["dir"] = f"runs/{path.stem}"
    return parse_config(values, str(path), origins)


def parse_config(values: dict[str, Any], where: str, origins: Collection[str] = ()) -> Config:
    """The configuration that nested dictionaries spell.

    Messages name ``where`` as the source, or the command line for the keys in ``origins``.

    Raises:
        UserError: one line for each mistake.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        lines = dict.fromkeys(tell_mistake(detail, where, origins) for detail in error.errors())
        raise UserError("\n".join(lines)) from error


def differences(old: Config, new: Config) -> list[str]:
    """The keys that decide the result and differ, as ``key: old there, new here``.

    A run whose learning rate does not depend on its length may be made longer: at every step it is then
    the same run. Where the data lie is placement too; that they are the same data, the index tells. Of models of
    two kinds, ``model.kind`` and the keys that both have are told.
    """
    free = {"train.epochs", "train.steps"} if new.optim.schedule == "constant" else set[str]()
    there, here = result_keys(old), result_keys(new)
    return [
        f"{key}: {there[key]} there, {here[key]} here"
        for key in here
        if key in there and there[key] != here[key] and key not in free
    ]


def result_keys(config: Config) -> dict[str, Any]:
    """The keys that decide the result, and not only where the work is done, by dotted name."""
    return {
        f"{section}.{name}": getattr(group, name)
        for section, group in config
        for name in type(group).model_fields
        if not is_placement(section, name)
    }


def to_yaml(config: Config) -> str:
    """The whole configuration, defaults included, as YAML that ``load_config`` reads back unchanged."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=_PlainDumper, sort_keys=False, allow_unicode=True)


class _PlainDumper(yaml.SafeDumper):
    """SafeDumper that quotes text with a line break other than newline, which would be read back as a space."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = '"' if any(character in data for character in _OTHER_LINE_BREAKS) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_PlainDumper.add_representer(str, _PlainDumper.represent_str)


def _lay_over(values: dict[str, Any], word: str, origins: set[str]) -> None:
    """Put one ``section.key=value`` word into the nested values."""
    path, equals, text = word.partition("=")
    section, dot, name = path.partition(".")
    if not equals or not dot or not section or not name:
        raise UserError(f"{word}: must be section.key=value, such as train.epochs=3")
    value = float(text) if NUMBER.fullmatch(text) and not text.lstrip("+-").isdigit() else read_yaml(text, word)
    group = values.setdefault(section, {})
    if group is None:
        group = values[section] = {}
    if not isinstance(group, dict):
        raise UserError(f"{word}: section {section} of the file is not a group of keys")
    group[name] = value
    origins.add(path)
