"""What a program hears of a run: one JSON object a line, each with its ``kind``."""

import json
from pathlib import Path
from typing import Any, Protocol

from aedist.tracking.jsonl import finite
from aedist.tracking.outlook import Outlook
from aedist.tracking.tracker import Record


class Stream(Protocol):
    """What lines are written to."""

    def write(self, text: str, /) -> int:
        """Take text."""
        ...

    def flush(self) -> None:
        """Hand it on."""
        ...


class JsonStream:
    """Writes lines, each at once."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def write(self, kind: str, **values: Any) -> None:
        """A line of a kind."""
        self.record({"kind": kind, **values})

    def started(self, outlook: Outlook) -> None:
        """The line before the first record: where the run goes."""
        self.write(
            "started",
            run=str(outlook.run),
            attempt=outlook.attempt,
            step=outlook.first_step,
            last_step=outlook.last_step,
            images_per_step=outlook.images_per_step,
            steps_per_epoch=outlook.steps_per_epoch,
            evaluate_steps=outlook.evaluate_steps,
            checkpoint_steps=outlook.checkpoint_steps,
            world=outlook.world,
            device=outlook.device,
        )

    def record(self, record: Record) -> None:
        self._stream.write(json.dumps(finite(record), allow_nan=False) + "\n")
        self._stream.flush()

    def picture(self, name: str, path: Path, record: Record) -> None:
        self.write("picture", name=name, path=str(path), step=record["step"])

    def sync(self) -> None:
        """Nothing is buffered."""

    def close(self, exit_code: int) -> None:
        """Whoever began the run tells of its end, with what it has left behind."""
