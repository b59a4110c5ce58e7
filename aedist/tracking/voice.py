"""How a run speaks to whoever started it: to a person, to one who wants to hear of its end alone, to a program."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from aedist.tracking.console import say_nothing, speaker, watched
from aedist.tracking.jsonstream import JsonStream
from aedist.tracking.outlook import Outlook
from aedist.tracking.tracker import Sink


@dataclass(frozen=True)
class Voice:
    """The ways to tell."""

    say: Callable[[str], None]
    """What happens, in a line."""
    warn: Callable[[str], None]
    """What went wrong and does not end the run."""
    sinks: Callable[[Outlook], list[Sink]]
    """Opens what shows the run's records."""


SILENT = Voice(say_nothing, say_nothing, lambda outlook: [])
"""That of the processes other than rank zero."""


def of_person(console: Console) -> Voice:
    """A live panel in a terminal, timestamped lines in a log."""
    say = speaker(console)
    return Voice(say, say, lambda outlook: [watched(console, outlook)])


def of_quiet() -> Voice:
    """Nothing but what goes wrong."""
    return Voice(say_nothing, lambda line: print(line, file=sys.stderr), lambda outlook: [])


def of_program(lines: JsonStream) -> Voice:
    """One JSON object a line."""

    def opened(outlook: Outlook) -> list[Sink]:
        lines.started(outlook)
        return [lines]

    return Voice(lambda line: lines.write("said", line=line), lambda line: lines.write("warning", line=line), opened)
