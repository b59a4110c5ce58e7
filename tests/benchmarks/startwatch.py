"""Runs an aedist command and notes when each part of its start was over; started by ``start.py``.

    python startwatch.py NOTES first|stop WORDS...

``first``: ends at once when the first step is done. ``stop``: asks the run to stop, by a signal, in its tenth step.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LAST_STEP = 10


def main() -> None:
    notes, end, words = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    stages = list[tuple[str, float]]()

    def note(name: str) -> None:
        stages.append((name, time.time()))

    def noting(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def noted(*args: Any, **options: Any) -> Any:
            found = function(*args, **options)
            note(name)
            return found

        return noted

    from aedist.cli import main as command
    from aedist.training import run

    note("Python and aedist imported")
    run.take_place = noting(run.take_place, "place taken")
    run.fresh_state = noting(run.fresh_state, "model made")
    run.open_batches = noting(run.open_batches, "images in memory")
    run.Ledger.add = _then(run.Ledger.add, lambda step: _at_step(step, end, notes, stages, note))
    command(words)


def _then(add: Callable[..., None], after: Callable[[int], None]) -> Callable[..., None]:
    """The ledger notes a step when its weights have moved."""
    count = [0]

    def noted(*args: Any) -> None:
        add(*args)
        count[0] += 1
        after(count[0])

    return noted


def _at_step(step: int, end: str, notes: Path, stages: list[tuple[str, float]], note: Callable[[str], None]) -> None:
    if end == "first" and step == 1:
        note("first step done")
        notes.write_text(json.dumps(stages), encoding="utf-8")
        os._exit(0)
    if end == "stop" and step == _LAST_STEP - 1:  # it is heard of when the next step begins
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)


if __name__ == "__main__":
    main()
