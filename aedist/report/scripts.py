"""What runs in a page, and the policy that lets nothing else run.

A page carries its scripts within itself; its policy names each by its SHA-256 and forbids every other, every address,
and the making of code from text, so that no name in a record could ever run as one.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from aedist.report import zoomable
from aedist.report.panels import Figure


@dataclass(frozen=True)
class Scripts:
    """The scripts of a page in their order, the data of its curves, and its policy."""

    texts: tuple[Markup, ...]
    curves: Markup
    """JSON, or empty where there are no curves."""
    policy: str


def scripts(figures: Sequence[Figure]) -> Scripts:
    """What a page with these figures needs: the plotting library only if there is anything to plot."""
    texts = [zoomable.library()] if figures else []
    texts.append((Path(__file__).parent / "behaviour.js").read_text(encoding="utf-8"))
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(t.encode()).digest()).decode()}'" for t in texts)
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}"
    data = zoomable.document(figures).replace("<", "\\u003c") if figures else ""
    return Scripts(tuple(Markup(text) for text in texts), Markup(data), policy)  # noqa: S704
