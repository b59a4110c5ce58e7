"""Rows of runs laid out for a terminal of some width: a line each where that fits, else two."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import zip_longest
from pathlib import Path

from rich.text import Text

from aedist.overview import Row
from aedist.tracking.words import metrics, number, rough

_SHOWN_FIRST = ("mse", "psnr", "ssim")
_LONGEST_NAME, _LONGEST_STATE, _NUM_OF_WORDS = 40, 11, 4
_STYLES = {
    "running": "bold green",
    "finished": "green",
    "interrupted": "yellow",
    "killed": "yellow",
    "untrained": "dim",
}


def lines_of_runs(rows: list[Row], roots: Sequence[Path], width: int | None, now: datetime) -> list[Text]:
    """A line a run where ``width`` allows for it, with as many metrics as fit; else two. None is any width.

    Runs have their names from the first of ``roots`` that they lie in.
    """
    names = [_name(row.folder, roots) for row in rows]
    there = dict.fromkeys(name for row in rows for name in row.metrics)
    shown = [*(name for name in _SHOWN_FIRST if name in there), *(name for name in there if name not in _SHOWN_FIRST)]
    for count in range(len(shown), min(len(shown), len(_SHOWN_FIRST)) - 1, -1):
        lines = _in_one_line(rows, names, shown[:count], now)
        if width is None or max(map(len, lines)) <= width:
            return lines
    return _in_two_lines(rows, names, shown[: len(_SHOWN_FIRST)], width or 0, now)


def _name(folder: Path, roots: Iterable[Path]) -> str:
    """Where a run lies in the folders that were named, short enough for a table."""
    name = next((str(folder.relative_to(root)) for root in roots if folder.is_relative_to(root)), str(folder))
    return name if len(name) <= _LONGEST_NAME else f"...{name[3 - _LONGEST_NAME :]}"


def _in_one_line(rows: list[Row], names: Sequence[str], shown: Sequence[str], now: datetime) -> list[Text]:
    titles = ["run", "state", "model", "data", "epochs", "images", "done", "on", "again", *shown, "took", "last sign"]
    cells = [
        [
            name,
            row.state,
            *(
                (
                    row.model,
                    row.data,
                    f"{row.epoch:.4g}",
                    f"{row.images:,}",
                    "" if row.share is None else f"{row.share:.0%}",
                    str(row.processes or ""),
                    str(row.interruptions or ""),
                    *(number(row.metrics[metric]) if metric in row.metrics else "" for metric in shown),
                    _took(row),
                    _age(row, now),
                )
                if row.state != "broken"
                else ()
            ),
        ]
        for name, row in zip(names, rows, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip_longest(titles, *cells, fillvalue="")]
    lines = [Text("  ".join(_padded(titles, widths)).rstrip(), style="dim")]
    for row, told in zip(rows, cells, strict=True):
        name, state, *others = _padded(told, widths)
        rest = row.problem if row.state == "broken" else "  ".join(others)
        lines.append(Text.assemble(name, "  ", (state, _style(row)), f"  {rest}".rstrip()))
    return lines


def _in_two_lines(rows: list[Row], names: Sequence[str], shown: Sequence[str], width: int, now: datetime) -> list[Text]:
    lines, longest = list[Text](), max(map(len, names))
    for name, row in zip(names, rows, strict=True):
        done = "" if row.share is None else f"{row.share:.0%}"
        if row.share:
            done += f" of {row.epoch / row.share:.4g} epochs"
        told = row.problem or ", ".join(filter(None, (done, _age(row, now))))
        head = (f"{name:{longest}}", "bold"), "  ", (f"{row.state:{_LONGEST_STATE}}", _style(row)), f"  {told}"
        lines.append(Text.assemble(*head))
        if row.state != "broken":
            again = f"started {row.interruptions + 1} times" if row.interruptions else ""
            processes = f"{row.processes} process{'es' if row.processes != 1 else ''}" if row.processes else ""
            what = ", ".join(filter(None, (f"{row.model} on {row.data}", processes, _took(row), again)))
            best = metrics({key: row.metrics[key] for key in shown if key in row.metrics})
            lines.append(Text(f"  {what}" + (f"  {best}" if best else ""), style="dim"))
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def _padded(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Words to the left, numbers to the right."""
    return [
        f"{cell:{width}}" if place < _NUM_OF_WORDS else f"{cell:>{width}}"
        for place, (cell, width) in enumerate(zip(cells, widths, strict=False))
    ]


def _style(row: Row) -> str:
    return _STYLES.get(row.state, "red")


def _took(row: Row) -> str:
    return "" if row.seconds is None else rough(row.seconds)


def _age(row: Row, now: datetime) -> str:
    return "" if row.touched is None else f"{rough(max(0.0, (now - row.touched).total_seconds()))} ago"
