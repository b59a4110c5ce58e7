"""Going on without the samples that cannot be used, where ``data.on_error`` is ``quarantine``: known before step 0.

A run's batches are a function of its configuration and its data, so a sample cannot be skipped when a process happens
to come upon it: that would change a batch, or a number of steps, by who found what when. Hence every shard is looked
through before the first step: its sha256, and each of its images decoded, dealt to the processes. What cannot be used
is written into ``quarantine.json`` with its reason, and the run is one of the data that remain: an index of fewer
samples, whose ids close up and whose fingerprint, which all processes, every resumption, checkpoint's evaluation and
``aedist verify`` compare, is another. Plan, loader, resident images and evaluation need to know nothing of it. It costs
one pass over the data, once: a run that goes on reads the list. A sample that fails later all the same stops the run.

What is lost of a shard: all of it if it is missing; where its sha256 is wrong, each sample that ``shards.salvage``
cannot prove; and each sample that cannot be read as it was written. A shard at an address comes with the right
sha256 or not at all, so there only the last is looked for, and one that cannot be had stops the run: servers recover.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aedist.data.loader import Split
from aedist.data.threads import as_done
from aedist.errors import ToldByRankZero, UserError
from aedist.shards.index import Index, Shard
from aedist.shards.salvage import Lost, lost_samples

FORMAT = "aedist-quarantine-1"
_MOST_LOST = 0.5

Share = Callable[[Any], list[Any]]
"""Every process's value, by rank, on every process."""
Quarantine = dict[str, Any]
"""What ``quarantine.json`` holds: by split its fingerprint, and the samples that are lost of it."""
LostByShard = Mapping[int, Sequence[Lost]]
"""By the number of a shard, what is lost of it."""


def look_through(
    split: Split, rank: int, world: int, share: Share, workers: int, say: Callable[[str], None]
) -> dict[int, list[Lost]]:
    """The samples of a split that cannot be used, the same on every process.

    Args:
        split: the data, as its index has them.
        rank: this process.
        world: how many look.
        share: how they hear of each other.
        workers: threads of each.
        say: told how far it is.

    Raises:
        UserError: on every process, if a shard at an address cannot be had, or too much is lost.
    """
    index, where = split.index, f"{split.index.name}/{split.index.split}"
    say(f"data.on_error: quarantine: looking through {index.num_samples:,} samples of {where}")
    lost = dict[int, list[Lost]]()
    at_once = world * max(
        1, workers
    )  # so that they hear of each other, and move, whenever each thread is done with one
    for start in range(0, len(index.shards), at_once):
        numbers = range(len(index.shards))[start : start + at_once]
        found = dict(as_done(lambda number: _of_shard(split, number), numbers[rank::world], max(1, workers)))
        for theirs in share(found):
            for number, outcome in theirs.items():
                if isinstance(outcome, str):
                    raise ToldByRankZero(outcome)
                if outcome:
                    lost[number] = outcome
        say(f"looked through {numbers[-1] + 1:,} of {len(index.shards):,} shards of {where}")
    lost = dict(sorted(lost.items()))
    count = sum(map(len, lost.values()))
    if count > _MOST_LOST * index.num_samples:
        first = next(iter(lost.values()))[0]
        raise ToldByRankZero(
            f"{split.folder}: {count:,} of {index.num_samples:,} samples cannot be used, more than a quarantine is for "
            f"(the first: {first.why}); build or copy the shards again"
        )
    if lost:
        told = f"{count:,} of {index.num_samples:,} samples, in {len(lost):,} shards"
        say(f"{where}: {told}, cannot be used and are left out")
    return lost


def _of_shard(split: Split, number: int) -> list[Lost] | str:
    """What is lost of a shard, or why that cannot be said."""
    shard = split.index.shards[number]
    try:
        folder = split.folder
        path = folder / shard.file if isinstance(folder, Path) else folder.obtain(shard)
        return lost_samples(path, shard, split.index)
    except UserError as error:
        return str(error)
    except Exception as error:  # a thread must not die without a word
        return f"{split.folder}/{shard.file}: {type(error).__name__}: {error}"


def describe(splits: Sequence[tuple[Split, LostByShard]]) -> Quarantine:
    """The record that ``quarantine.json`` holds, of splits as their indices have them."""
    return {
        "format": FORMAT,
        "splits": {
            split.index.split: {
                "fingerprint": split.index.fingerprint,
                "num_samples": split.index.num_samples,
                "num_lost": sum(map(len, lost.values())),
                "lost": [
                    {"id": first + one.number, "shard": shard.file, "key": one.key, "why": one.why}
                    for number, (shard, first) in enumerate(
                        zip(split.index.shards, _first_ids(split.index), strict=True)
                    )
                    for one in lost.get(number, ())
                ],
            }
            for split, lost in splits
        },
    }


def spell(record: Quarantine) -> str:
    """The text of ``quarantine.json``, a lost sample a line."""
    splits = list[str]()
    for name, split in record["splits"].items():
        head = json.dumps({key: value for key, value in split.items() if key != "lost"})[1:-1]
        lines = ",\n".join("   " + json.dumps(one) for one in split["lost"])
        splits.append(f"  {json.dumps(name)}: {{{head}, " + (f'"lost": [\n{lines}\n  ]}}' if lines else '"lost": []}'))
    return f'{{\n "format": {json.dumps(record["format"])},\n "splits": {{\n' + ",\n".join(splits) + "\n }\n}\n"


def read_quarantine(path: Path) -> Quarantine | None:
    """The record in a run's ``quarantine.json``; None if the run has none.

    Raises:
        UserError: if it is no such record.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT or not isinstance(record["splits"], dict):
            raise ValueError(f"not of format {FORMAT}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({str(error)[:200]}); put it back as the run wrote it") from error
    return record


def without_lost(split: Split, record: Quarantine | None, where: Path) -> Split:
    """A split without the samples that a record says are lost; as it is where the record does not know it.

    Raises:
        UserError: if the record is of other data.
    """
    told = record["splits"].get(split.index.split) if record else None
    if told is None:
        return split
    index, lost = split.index, dict[int, list[int]]()
    try:
        if told["fingerprint"] != index.fingerprint:
            raise UserError(
                f"{where}: is of {index.split} with fingerprint {str(told['fingerprint'])[:12]}, but {split.folder} "
                f"has {index.fingerprint[:12]}; give the shards that the run began with"
            )
        numbers = {shard.file: (number, first) for number, (shard, first) in _numbered(index)}
        for one in told["lost"]:
            number, first = numbers[one["shard"]]
            if type(one["id"]) is not int or not 0 <= one["id"] - first < index.shards[number].samples:
                raise ValueError(f"id {one['id']!r} is not in {one['shard']}")
            lost.setdefault(number, []).append(one["id"] - first)
        if sum(len(set(some)) for some in lost.values()) != told["num_lost"]:
            raise ValueError("num_lost is another number")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where}: is damaged ({str(error)[:200]}); put it back as the run wrote it") from error
    return replace(split, index=index.without(lost))


def _numbered(index: Index) -> Iterator[tuple[int, tuple[Shard, int]]]:
    return enumerate(zip(index.shards, _first_ids(index), strict=True))


def _first_ids(index: Index) -> list[int]:
    """The id of each shard's first sample."""
    first, ids = 0, list[int]()
    for shard in index.shards:
        ids.append(first)
        first += shard.samples
    return ids
