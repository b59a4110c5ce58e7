"""The files that a run rests on: its checkpoints, every byte, and its shards, as far as they are here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aedist.checkpoint import check_bytes, checkpoints, name_of, read_numbers, step_of
from aedist.config import Config
from aedist.data.download import FetchFailed
from aedist.data.loader import Split
from aedist.data.quarantine import read_quarantine, without_lost
from aedist.data.remote import RemoteFolder
from aedist.data.source import check_split, open_split, shard_cache
from aedist.errors import DataDamage, UserError
from aedist.shards.index import Shard, describe_bytes
from aedist.shards.salvage import usable_samples
from aedist.shards.tar import mapped
from aedist.verify.statement import Faults, Statement


@dataclass(frozen=True)
class Checkpoints:
    """What is known of a run's checkpoints."""

    last_step: int
    """The step of the newest sound one; 0 if there is none."""
    statement: Statement
    owes_evaluation: bool = False
    """Whether a stop left that step's evaluation out, until the run goes on."""


def check_checkpoints(folder: Path) -> Checkpoints:
    """Compare every byte of every checkpoint with its manifest, and look for the best one."""
    faults, sound, size, best, owes = Faults(), list[int](), 0, None, False
    for place in checkpoints(folder):
        best = None  # the newest one's counts: an older one's may have been removed for a better one since
        try:
            size += check_bytes(place)
            progress = read_numbers(place)["progress"]
            if progress["step"] != step_of(place):
                raise UserError(f"{place}: holds the state after step {progress['step']!r:.20}")
        except UserError as error:
            if place.exists():  # else a run that goes on has just removed it
                faults.add(str(error))
            continue
        except (KeyError, TypeError):
            faults.add(f"{place}: its state.json holds no progress")
            continue
        sound.append(step_of(place))
        best, owes = progress.get("best_step"), progress.get("owes_evaluation") is True
    if type(best) is int and not (folder / name_of(best)).exists():
        faults.add(f"{folder}: the best one, of step {best}, is missing")
    facts = {"sound": sound, "best_step": best, "bytes": size}
    if faults.count:
        return Checkpoints(max(sound, default=0), Statement("checkpoints", "wrong", faults.words, facts), owes)
    if not sound:
        text = "none yet, so nothing vouches for the ledger and the records"
        return Checkpoints(0, Statement("checkpoints", "open", text, facts))
    steps = ", ".join(f"{step:,}" + (" (best)" if step == best else "") for step in sound)
    text = f"sound, all {size:,} bytes: of step {steps}"
    return Checkpoints(sound[-1], Statement("checkpoints", "proven", text, facts), owes)


def check_shards(
    config: Config, fingerprints: dict[str, Any], quarantine: Path, cache: Path | None, *, hash_bytes: bool
) -> tuple[Split | None, list[Statement]]:
    """Compare the shards with what the run noted. Returns the split it was trained on, if its index is that one."""
    trained: Split | None = None
    statements = list[Statement]()
    for name in dict.fromkeys((config.data.split, config.evaluate.split)):
        known = fingerprints.get(name)
        facts: dict[str, Any] = {"split": name, "fingerprint": known, "hashed": hash_bytes}
        try:
            whole = open_split(config.data.shards, name, shard_cache(config.data, cache))
        except UserError as error:
            statements.append(Statement("shards", "open", f"{name}: not here ({error})", facts))
            continue
        try:
            record = read_quarantine(quarantine)
            if config.data.on_error == "quarantine" and record is None:
                raise UserError(f"{quarantine}: is missing, so what was left out is not known")
            split = without_lost(whole, record, quarantine)
        except UserError as error:
            statements.append(Statement("shards", "wrong", f"{name}: {error}", facts))
            continue
        index = split.index
        facts["left_out"] = index.num_lost
        if known != index.fingerprint:
            text = f"{name}: fingerprint {index.fingerprint[:12]} in {config.data.shards}, the run had {known!s:.12}"
            statements.append(Statement("shards", "wrong", text, facts))
            continue
        if name == config.data.split:
            trained = split
        try:
            check_split(split)
            if hash_bytes:
                _check_sha256(split)
        except FetchFailed as error:  # a server that is away refutes nothing
            statements.append(Statement("shards", "open", f"{name}: {error}", facts))
            continue
        except UserError as error:
            statements.append(Statement("shards", "wrong", f"{name}: {error}", facts))
            continue
        how = f"all {index.num_bytes:,} bytes" if hash_bytes else "by length; --shards reads every byte"
        text = f"{name}: {len(index.shards):,} shards with the run's fingerprint {index.fingerprint[:12]} ({how})"
        if index.num_lost:
            text += (
                f"; {index.num_lost:,} of {whole.index.num_samples:,} samples are left out, {quarantine.name} says why"
            )
        statements.append(Statement("shards", "proven", text, facts))
    return trained, statements


def _check_sha256(split: Split) -> None:
    faults = Faults()
    for shard in split.index.shards:
        path = f"{split.folder}/{shard.file}"
        try:
            here = split.folder.obtain(shard) if isinstance(split.folder, RemoteFolder) else Path(path)
            if shard.lost:
                if shard.samples:
                    _check_what_is_used(here, shard)
                continue
            sha256 = describe_bytes(here)[1]
        except DataDamage as error:
            faults.add(str(error))
            continue
        except OSError as error:
            faults.add(f"{path}: cannot be read ({error.strerror or error})")
            continue
        if sha256 != shard.sha256:
            faults.add(f"{path}: its sha256 is not the index's, so it was damaged")
    if faults.count:
        raise UserError(faults.words)


def _check_what_is_used(path: Path, shard: Shard) -> None:
    is_whole = describe_bytes(path)[1] == shard.sha256
    with mapped(path) as data:
        usable_samples(data, shard, str(path), is_whole=is_whole)
