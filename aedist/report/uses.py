"""The uses of the encodings that a run has been put to: each picture's caption is what the record beside it says."""

import json
from pathlib import Path
from typing import Any

_OF_VERB = {
    "reconstruct": "Images above their reconstructions.",
    "sample": "Images decoded from encodings that were drawn at random.",
    "interpolate": "From one image's encoding to another's, on a line and on an arc.",
    "traverse": "One direction of the encodings a row.",
    "arithmetic": "Mean encodings of groups of images, added and subtracted.",
    "measure": "Images without an attribute, with its vector added, beside their true partners.",
}
_OWN_WORDS = {"measure": "verdict"}
"""What a record says of itself that belongs into its caption; the picture itself shows the rest."""


def captions(run: Path) -> list[tuple[Path, str]]:
    """The pictures in ``run/explore``, by name, each with its caption; its name alone where no record is readable."""
    return [(path, _caption(path)) for path in sorted((run / "explore").glob("*.png"))]


def _caption(path: Path) -> str:
    record = _record(path.with_suffix(".json"))
    verb = str(record.get("verb"))
    what, own = _OF_VERB.get(verb, ""), record.get(_OWN_WORDS.get(verb, ""))
    words = f"{what} {own[:1].upper()}{own[1:]}." if isinstance(own, str) else what
    return f"{path.stem}: {words}" if words else path.stem


def _record(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
