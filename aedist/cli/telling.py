"""How train and evaluate tell of themselves: to a person, with ``--quiet``, or with ``--json`` to programs."""

import argparse
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aedist.cli.launcher import rank_told
from aedist.cli.terminal import GoesOn, Work, open_console
from aedist.errors import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_USER_ERROR, Fault, Interrupted, UserError
from aedist.stop import StopRequest

if TYPE_CHECKING:
    from aedist.tracking.outlook import Outlook
    from aedist.tracking.tracker import Sink
    from aedist.tracking.voice import Voice


@dataclass(frozen=True)
class Telling:
    """What a command tells while it goes on, and in the end."""

    voice: "Voice"
    done: Callable[[dict[str, Any], Iterable[str]], None]
    """Tells what came of it: values for programs, lines for people."""


def add_ways_to_tell(verb: argparse.ArgumentParser) -> None:
    """The options ``--quiet`` and ``--json``."""
    ways = verb.add_mutually_exclusive_group()
    ways.add_argument("--quiet", action="store_true", help="tell the end alone, and what goes wrong")
    ways.add_argument("--json", action="store_true", help="tell programs: one JSON object a line")


@contextmanager
def telling(arguments: argparse.Namespace, doing: str, stop: StopRequest | None = None) -> Generator[Telling]:
    """How a command tells, while it lasts; of several processes that a launcher started, the first one alone.

    Args:
        arguments: with ``quiet`` and ``json``.
        doing: what a terminal shows until there is more to show.
        stop: what is to tell of a signal in the same way.
    """
    from aedist.tracking.voice import SILENT, of_quiet

    if rank_told() != "0":
        if stop is not None and sys.stderr.isatty():  # a Ctrl-C reaches all of them, and is told once
            stop.tell = SILENT.say
        yield Telling(SILENT, lambda values, lines: None)
    elif arguments.json:
        yield from _to_programs()
    elif arguments.quiet:
        yield Telling(of_quiet(), _print)
    else:
        yield from _to_a_person(doing, stop)


def _to_a_person(doing: str, stop: StopRequest | None) -> Generator[Telling]:
    """What is at work, until the run's own panel or lines take its place."""
    from aedist.tracking.voice import of_person

    console = open_console()
    work = Work(console, doing)
    if stop is not None and work.shows:
        stop.tell = lambda line: work(f"aedist: {line}")
    voice = of_person(console)

    def opened(outlook: "Outlook") -> "list[Sink]":
        work.end()
        return voice.sinks(outlook)

    def done(values: dict[str, Any], lines: Iterable[str]) -> None:
        work.end()
        _print(values, lines)

    try:
        yield Telling(replace(voice, say=work, sinks=opened), done)
    finally:
        work.end()


def _to_programs() -> Generator[Telling]:
    """Whatever the end is, if there is time for it, the last line is of the kind ``finished``, with the exit code."""
    from aedist.tracking.jsonstream import JsonStream
    from aedist.tracking.voice import of_program

    lines = JsonStream(GoesOn(sys.stdout))

    def finished(exit_code: int, **values: Any) -> None:
        lines.write("finished", exit_code=exit_code, **values)

    try:
        yield Telling(of_program(lines), lambda values, lines: finished(0, **values))
    except Interrupted as stop:
        finished(EXIT_INTERRUPTED, reason=str(stop))
        raise
    except UserError as error:
        finished(EXIT_USER_ERROR, reason=str(error))
        raise
    except Fault as fault:
        finished(fault.code, reason=str(fault))
        raise
    except Exception as error:
        finished(EXIT_FAULT, reason=f"{type(error).__name__}: {error}")
        raise


def _print(values: dict[str, Any], lines: Iterable[str]) -> None:
    for line in lines:
        print(line)
