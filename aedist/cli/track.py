"""The verb that gives W&B what it lacks."""

import argparse
from pathlib import Path
from typing import Any

from aedist.cli.terminal import at_work


def add_verbs(verbs: Any) -> None:
    """The verb sync."""
    sync = verbs.add_parser("sync", help="send W&B what it lacks of runs that were offline or interrupted")
    sync.add_argument("folders", type=Path, nargs="+", metavar="RUN", help="a run's directory")
    sync.set_defaults(run=_sync)


def _sync(arguments: argparse.Namespace) -> None:
    from aedist.tracking.sync import sync_run

    for folder in arguments.folders:
        with at_work(f"sending {folder} to W&B") as work:
            lines = sync_run(folder, work)
        for line in lines:
            print(line)
