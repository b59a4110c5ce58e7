"""The verb that shows many runs at a glance."""

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aedist.cli.terminal import at_work, open_console
from aedist.errors import UserError

if TYPE_CHECKING:
    from aedist.overview import Row


def add_verbs(verbs: Any) -> None:
    """The verb runs."""
    from_where = "folders with runs in them, at any depth, or runs (runs/ if left out)"
    runs = verbs.add_parser("runs", help="show the runs below a folder: state, progress, best metrics")
    runs.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help=from_where)
    runs.add_argument("--json", action="store_true", help="the same for programs: one JSON object a line, a run each")
    runs.add_argument(
        "--sort",
        metavar="KEY",
        default="age",
        help="age (the newest last, if left out), name, state, model, data, progress, duration, or a metric such as "
        "psnr (the best last)",
    )
    runs.set_defaults(run=_runs)


def _runs(arguments: argparse.Namespace) -> None:
    folders = arguments.folders or [Path("runs")]
    with at_work("reading runs"):
        from aedist.overview import find_runs, read_rows

        for folder in folders:
            if not folder.is_dir():
                raise UserError(f"{folder}: there is no such folder; name one with runs in it, or a run")
        rows = sorted_rows(
            read_rows(list(dict.fromkeys(found for folder in folders for found in find_runs(folder)))), arguments.sort
        )
    if arguments.json:
        for row in rows:
            print(json.dumps(row.record(), allow_nan=False))
        return
    if not rows:
        print(f"no runs in {', '.join(map(str, folders))}; 'aedist train CONFIG' makes one", file=sys.stderr)
        return
    from aedist.cli.runtable import lines_of_runs

    console = open_console()
    roots = [folder for folder in folders if folder not in {row.folder for row in rows}]
    for line in lines_of_runs(rows, roots, console.width if console.is_terminal else None, datetime.now(UTC)):
        console.print(line, soft_wrap=True)


def sorted_rows(rows: "list[Row]", key: str) -> "list[Row]":
    """By a key; what has none comes first.

    Raises:
        UserError: if no run has such a key.
    """
    from aedist.tracking.words import HIGHER_IS_BETTER

    keys: dict[str, Callable[[Row], Any]] = {
        "name": lambda row: str(row.folder),
        "state": lambda row: row.state,
        "model": lambda row: row.model,
        "data": lambda row: row.data,
        "progress": lambda row: row.share or 0.0,
        "duration": lambda row: row.seconds or 0.0,
    }
    if key == "age":
        return rows
    if key in keys:
        return sorted(rows, key=keys[key])
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
    if key not in metrics and rows:
        raise UserError(f"--sort: {key} is refused: it should be one of {', '.join(['age', *keys, *metrics])}")
    sign = 1 if key in HIGHER_IS_BETTER else -1
    return sorted(rows, key=lambda row: (key in row.metrics, sign * row.metrics.get(key, 0.0)))
