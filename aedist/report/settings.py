"""The configuration of a run beside the defaults, so that a reader sees at once what was chosen.

The defaults are those of the version that writes the report. A key this version does not know, and a key
that has no default, count as chosen.
"""

import json
from dataclasses import dataclass
from typing import Any

from aedist.config import describe_keys
from aedist.configfile import parse_config
from aedist.errors import UserError


@dataclass(frozen=True)
class Setting:
    """One key of a run's configuration, its values spelled as text."""

    key: str
    value: str
    default: str | None
    """None where there is none."""
    differs: bool
    sentence: str


def settings(config: dict[str, Any]) -> list[Setting]:
    """Every key of a config.yaml's sections, in its order."""
    told = {name: sentence for name, _, sentence in describe_keys(_kind(config))}
    defaults = _defaults(config)
    found: list[Setting] = []
    for section, keys in config.items():
        for name, value in keys.items():
            path, known = f"{section}.{name}", name in defaults.get(section, {})
            default = defaults.get(section, {}).get(name)
            spelled = _spelled(default) if known else None
            found.append(Setting(path, _spelled(value), spelled, not known or default != value, told.get(path, "")))
    return found


def _kind(config: dict[str, Any]) -> str:
    return str(config.get("model", {}).get("kind", "mlp"))


def _defaults(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the keys would be, had only those without a default been given; of those, nothing."""
    given = {
        "data": {"shards": config.get("data", {}).get("shards", "")},
        "model": {"kind": _kind(config)},
    }
    try:
        full = parse_config(given, "defaults").model_dump(mode="json")
    except UserError:  # a run of another version, with a model this one does not know: all of it is then shown
        return {}
    return {
        section: {name: value for name, value in keys.items() if name not in given.get(section, {})}
        for section, keys in full.items()
    }


def _spelled(value: Any) -> str:
    """A value as YAML would have it on one line."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
