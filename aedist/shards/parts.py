"""Several builds that make one data set together, each its own shards; whichever finds all of them there finishes it.

Shard n of a data set, counted through all its splits, is written by part n mod N. A part writes nothing else, and
needs no other part: they may run at the same time, one after another, on other machines, be killed and started again.
Two moments of a split are taken in turn, by a lock: the beginning, where all parts must mean the same split, and the
end, where one of them compares every byte of all shards with the notes of those who wrote them, writes the index and
renames the folder. The others find it finished.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aedist.errors import UserError
from aedist.lease import in_turn
from aedist.routes import Say
from aedist.shards.lock import LOCK_NAME, clear_locks
from aedist.shards.making import Making, Progress, finish_split, prove_shards, tell_unreadable, write_shards
from aedist.shards.splitfolder import is_finished, join, put_if_described, refuse_other_originals
from aedist.shards.write import Written, is_noted

_MOST_PARTS = 100_000
_MOST_NAMED = 8


@dataclass(frozen=True)
class Part:
    """One of ``count`` builds that make a data set together."""

    number: int
    """From 1 to ``count``."""
    count: int

    def __str__(self) -> str:
        return f"part {self.number} of {self.count}"


def parse_part(text: str) -> Part:
    """The part that ``I/N`` spells.

    Raises:
        UserError: if it spells none.
    """
    named = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if named is None or not 1 <= int(named[1]) <= int(named[2]) <= _MOST_PARTS:
        raise UserError(
            f"--part: {text!r} is refused: it should be I/N with I from 1 to N, such as 2/4; in a job array, submit "
            f"with --array=1-N and give $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
        )
    return Part(int(named[1]), int(named[2]))


def build_part(
    makings: Sequence[Making], to_do: Sequence[str], part: Part, say: Say, *, workers: int, progress: Progress | None
) -> None:
    """Write a part's shards of the splits that are not finished, and finish those whose shards are then all there.

    Args:
        makings: every split of the data set.
        to_do: the names of those that were not finished a moment ago.
        part: which.
        say: is told what happens, and at the end how far all parts are.
        workers: how many processes write, and compare.
        progress: is told of this part's samples.

    Raises:
        UserError: if other parts make another split there, or this one's shards cannot be written.
    """
    wrote, there, total = 0, 0, 0
    lacking = set[int]()
    for making in makings:
        number_of = {path: total + number for number, path in enumerate(making.jobs)}
        total += len(making.jobs)
        own = dict[Path, Written]()
        if making.split in to_do and _begin(making, say):
            mine = [path for path, number in number_of.items() if number % part.count == part.number - 1]
            kept = prove_shards(mine, workers, with_unreadable=making.samples.skip_unreadable)
            if kept:
                say(f"{making.unfinished}: {len(kept)} shards of {part} are right and are kept")
            own = write_shards(making, mine, kept, say, workers, progress)
            wrote += len(own) - len(kept)
            tell_unreadable(making, list(own.values()), say)
        absent = _finish(making, own, say, workers) if making.split in to_do else []
        there += len(making.jobs) - len(absent)
        lacking |= {number_of[path] % part.count + 1 for path in absent}
    if not lacking:
        clear_locks(makings[0].folder.parent)
    tell_part(part, wrote, say, there, total, sorted(lacking))


def tell_part(part: Part, wrote: int, say: Say, there: int = 0, total: int = 0, lacking: Sequence[int] = ()) -> None:
    """Say what a part did, how far all are, and who finishes the data set."""
    if not lacking:
        say(f"{part}: wrote {wrote:,} shards; all {f'{total:,} ' if total else ''}are there: the data set is finished")
        return
    named = f"part{'s' * (len(lacking) > 1)} {', '.join(map(str, lacking[:_MOST_NAMED]))}"
    more = f" and {len(lacking) - _MOST_NAMED} more" if len(lacking) > _MOST_NAMED else ""
    say(
        f"{part}: wrote {wrote:,} shards; {there:,} of {total:,} are there, the others are for {named}{more} to "
        f"write; whichever writes the last one finishes the data set"
    )


def _gate(making: Making) -> Path:
    return making.folder.with_name(f"{LOCK_NAME}-split-{making.folder.name}")


def _begin(making: Making, say: Say) -> bool:
    """Open the split's folder with the other parts. False if there is nothing to do, since one has finished it."""
    with in_turn(_gate(making), say, f"finishes {making.folder}"):
        if _was_finished(making) or put_if_described(making.unfinished, making.folder, making.record, say):
            return False
        join(making.unfinished, making.record)
    return True


def _finish(making: Making, own: dict[Path, Written], say: Say, workers: int) -> list[Path]:
    """Finish the split if all its shards are there; gives those that are not."""
    skips = making.samples.skip_unreadable
    with in_turn(_gate(making), say, f"finishes {making.folder}"):
        if _was_finished(making):
            return []
        absent = [path for path in making.jobs if path not in own and not is_noted(path, with_unreadable=skips)]
        if absent:
            return absent
        others = [path for path in making.jobs if path not in own]
        if others:
            say(f"{making.folder}: all shards are there; comparing the {len(others):,} that others wrote")
        proved = prove_shards(others, workers, with_unreadable=skips)
        damaged = [path for path in others if path not in proved]
        for path in damaged:
            say(f"{path}: has not the bytes that were written; its part must write it again")
        if not damaged:
            finish_split(making, own | proved, say)
        return damaged


def _was_finished(making: Making) -> bool:
    """Whether another part has finished the split in the meantime."""
    if not is_finished(making.folder, making.recipe, making.split, lambda _: None):
        return False
    refuse_other_originals(making.folder, making.samples)
    return True
