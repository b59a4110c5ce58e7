"""The command line: verbs to functions, mistakes to one line, endings to exit codes.

A file here has the verbs of one kind: their words, and what each calls. Each verb imports what it needs when it runs,
so that ``--help`` answers at once. In this package alone the environment is read: what the launcher says of this
process (rank, world size), and where caches lie.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from aedist.cli import doctor, explore, fetch, models, overview, planning, runs, shards, track
from aedist.cli.launcher import rank_told
from aedist.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, Fault, FoundByOne, Interrupted, ToldByRankZero, UserError

_EXIT_OF_CTRL_C = 130
"""As shells have it."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 the user's mistake, 75 interrupted and checkpointed, 1 a fault."""
    arguments = _parse(argv)
    rank = rank_told()
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except UserError as error:
        if _tells(error, rank):
            for line in str(error).splitlines():
                print(f"aedist: {line}" if rank == "0" else f"aedist: process {rank}: {line}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except Interrupted as stop:
        if rank == "0":
            print(f"aedist: {stop}", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except Fault as fault:
        print(f"aedist: {fault}" if rank == "0" else f"aedist: process {rank}: {fault}", file=sys.stderr)
        _leave_now(fault.code)
    except KeyboardInterrupt:  # train hears of signals in its own way
        print("aedist: stopped; the same command starts again", file=sys.stderr)
        sys.exit(_EXIT_OF_CTRL_C)
    except BrokenPipeError:  # the reader of our output went away, as in 'aedist config | head'
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leave_now(code: int) -> NoReturn:
    """End without waiting for what may never come, such as a library's farewell to processes that are gone."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def _tells(error: UserError, rank: str) -> bool:
    """Whether this process is the one to tell a mistake.

    What rank zero found, it tells; damaged data or a full disk, whoever came upon it. Any other mistake every process
    of a machine finds for itself, and the first of each machine tells it, since the next machine's files may differ.
    """
    if isinstance(error, ToldByRankZero):
        return rank == "0"
    return isinstance(error, FoundByOne) or os.environ.get("LOCAL_RANK", rank) == "0"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of a command; ``key=value`` words may also follow an option, where argparse knows none."""
    parser = _parser()
    arguments, left = parser.parse_known_args(argv)
    strangers = [word for word in left if word.startswith("-") or "words" not in arguments]
    if strangers:
        minus = "; put -- before an expression that begins with a minus sign" if "expression" in arguments else ""
        parser.error(f"unrecognized arguments: {' '.join(strangers)}{minus}")
    if left:
        arguments.words = [*arguments.words, *left]
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aedist",
        description="Distributed training of autoencoders and VAEs from WebDataset shards.",
        epilog="Exit codes: 0 done; 2 a mistake in what was given, told in one line; 75 interrupted and safely "
        "checkpointed, start again; 1 a fault.",
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for kind in (shards, fetch, runs, planning, overview, explore, models, track, doctor):
        kind.add_verbs(verbs)
    return parser
