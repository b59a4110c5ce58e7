"""The page that a model on the hub shows: what it is, what it was trained on, how well it did, how to load it."""

from collections.abc import Mapping
from typing import Any, cast

import yaml

_MOST_CLASSES = 20


def model_card(record: Mapping[str, Any], repository: str | None) -> str:
    """Markdown with the hub's head, from a model's config.json.

    Args:
        record: config.json; whatever a model has not been told of is left out.
        repository: ``owner/name``, or None where it is not known yet.
    """
    head = yaml.safe_dump({"library_name": "aedist", "tags": ["aedist", "autoencoder"]}, sort_keys=False)
    options = _mapping(record.get("options"))
    data, metrics = _mapping(record.get("data")), _mapping(record.get("metrics"))
    lines = [f"---\n{head}---", f"# {repository or record.get('kind')}", ""]
    lines += [
        f"An autoencoder of images, architecture `{record.get('kind')}`, trained with aedist {record.get('aedist')}.",
        "`encode` takes images (B, C, H, W) to encodings, `decode` takes them back, the model itself does both.",
        "",
    ]
    lines += _table("Model", options)
    told = {name: record[name] for name in ("value_range", "normalisation", "step", "weights") if name in record}
    lines += _table("Images and training", told)
    classes = cast(list[Any], data.get("classes") or [])
    if len(classes) > _MOST_CLASSES:
        data = {**data, "classes": [*classes[:_MOST_CLASSES], f"and {len(classes) - _MOST_CLASSES} more"]}
    lines += _table("Data", data)
    lines += _table("Measured", metrics)
    lines += ["## Use", "", "```python", "import aedist", "", f'model = aedist.load("{repository or "FOLDER"}")', "```"]
    return "\n".join(lines) + "\n"


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


def _table(title: str, values: Mapping[str, Any]) -> list[str]:
    """A section of names and values; nothing where there are none."""
    rows = [
        f"| {_cell(name)} | {_cell(_words(value))} |" for name, value in values.items() if value not in (None, [], ())
    ]
    return [f"## {title}", "", "| | |", "|---|---|", *rows, ""] if rows else []


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in cast(list[Any], value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    """Text that cannot end its cell."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
