"""A page from its template: what every page has, whatever it is about."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from aedist.errors import UserError
from aedist.report import figures as still
from aedist.report import words, zoomable
from aedist.report.panels import Figure
from aedist.report.read import number
from aedist.report.scripts import scripts
from aedist.whole import write_whole


def fill(template: str, figures: Mapping[str, Figure], **values: Any) -> str:
    """The page as HTML; every value is escaped unless it says that it is markup."""
    made = list(figures.values())
    return (
        _environment()
        .get_template(template)
        .render(
            words=words,
            number=number,
            figures=figures,
            still={name: still.draw(figure) for name, figure in figures.items()},
            element_id=zoomable.element_id,
            scripts=scripts(made),
            **values,
        )
    )


def save_page(path: Path, page: str) -> Path:
    """Write a page whole or not at all, and return its path.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, page)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another place by --out") from error
    return path


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
