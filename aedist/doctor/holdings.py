"""What was fetched, built and set up here: networks' weights, shards, and Weights & Biases."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aedist.doctor.finding import Finding, spell_bytes
from aedist.errors import UserError
from aedist.shards.index import INDEX_NAME, check_present, read_index
from aedist.weights import WEIGHTS


@dataclass(frozen=True)
class Data:
    """A folder of shards with a sub-folder a split."""

    name: str
    splits: tuple[str, ...]
    images: int
    bytes: int
    problem: str = ""


@dataclass(frozen=True)
class Holdings:
    """What was read."""

    weights: tuple[tuple[str, bool], ...]
    """The names that ``aedist fetch`` knows, and whether a file is there."""
    cache: str
    shards: str
    data: tuple[Data, ...]
    wandb_host: str | None
    """Where W&B's server is; None where W&B cannot be used."""
    wandb_key: bool


def read_holdings(cache: Path, shards: Path) -> Holdings:
    """Read it. Of shards, what the index and the lengths of files say; no byte of them.

    Args:
        cache: where weights are kept.
        shards: the folder in which data sets are built.
    """
    host, has_key = _wandb()
    return Holdings(
        weights=tuple((name, one.path(cache).is_file()) for name, one in WEIGHTS.items()),
        cache=str(cache),
        shards=str(shards),
        data=tuple(_data(folder) for folder in sorted(shards.iterdir()) if _splits(folder)) if shards.is_dir() else (),
        wandb_host=host,
        wandb_key=has_key,
    )


def judge_holdings(read: Holdings, measuring: Sequence[str] = ("lpips", "fid")) -> list[Finding]:
    """The verdicts; ``measuring`` names the weights that evaluations use unless told otherwise."""
    there, missing = [name for name, has in read.weights if has], [n for n, has in read.weights if not has]
    value = f"{', '.join(there) or 'none'} in {read.cache}"
    if wanted := [name for name in measuring if name in missing]:
        fix = f"aedist fetch {' '.join(wanted)}, else evaluations leave these metrics out"
        found = [Finding("data", "weights", value, "look here", fix)]
    else:
        found = [Finding("data", "weights", value)]
    if not read.data:
        fix = "aedist shards build mnist, or name a folder or an address as data.shards"
        found.append(Finding("data", "shards", f"none in {read.shards}", "look here", fix))
    for data in read.data:
        if data.problem:
            found.append(Finding("data", f"shards of {data.name}", data.problem, "look here", "build them again"))
        else:
            value = f"{', '.join(data.splits)}: {data.images:,} images, {spell_bytes(data.bytes)}"
            found.append(Finding("data", f"shards of {data.name}", value))
    if read.wandb_host is None:
        fix = "pip install --force-reinstall wandb, or train with track.wandb=disabled"
        return [*found, Finding("tracking", "W&B", "cannot be imported", "look here", fix)]
    key = "a key is set: online" if read.wandb_key else "no key: offline (wandb login sets one)"
    return [*found, Finding("tracking", "W&B", f"{read.wandb_host}, {key}")]


def _splits(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(path.parent for path in folder.glob(f"*/{INDEX_NAME}"))
    return []


def _data(folder: Path) -> Data:
    images, size, names = 0, 0, list[str]()
    for split in _splits(folder):
        try:
            index = read_index(split)
            check_present(split, index)
        except (UserError, OSError) as error:
            return Data(folder.name, tuple(names), images, size, str(error).split("; ")[0])
        names.append(split.name)
        images, size = images + index.num_samples, size + index.num_bytes
    return Data(folder.name, tuple(names), images, size)


def _wandb() -> tuple[str | None, bool]:
    """W&B's server and whether there is a key for it."""
    try:
        from aedist.tracking.wandb import has_key, server  # noqa: PLC0415 (a doctor is to live without it)
    except ImportError:
        return None, False
    return server(), has_key()
