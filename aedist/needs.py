"""What a run reads and did not make, shards and the weights of networks: had beforehand, it needs no internet.

A computing node is often cut off from the internet, and finds out late. So all of it is named from the configuration
alone, fetched or built where there is a network, and looked at where it will be looked for.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aedist.assets import fetch
from aedist.config import Config
from aedist.data.address import is_address
from aedist.data.cache import Cache
from aedist.data.remote import RemoteFolder, fetch_all, open_remote
from aedist.data.source import check_split, open_split, shard_cache
from aedist.errors import UserError
from aedist.routes import Say
from aedist.shards.index import Index
from aedist.shards.originals import Originals
from aedist.shards.recipe import read_recipe
from aedist.weights import BACKBONES, WEIGHTS, weights_collection

_CHANNELS_OF_NETWORKS = {1, 3}


@dataclass(frozen=True)
class Need:
    """One thing that a run reads: what, for which key, where it is looked for, and what is there."""

    what: str
    key: str
    place: str
    state: str
    lacks: str | None = None
    """What is missing and how to get it, in one line; None if nothing is."""


def provide(
    config: Config, cache: Path, checkpoints: Path, say: Say, build: Callable[[Path, Path], None]
) -> list[Need]:
    """Get all that training, evaluating and reporting a configuration read, as far as it can be had.

    Args:
        config: the configuration.
        cache: aedist's own cache: of weights, originals, and of shards where the configuration names no other.
        checkpoints: where ``torch.hub`` keeps files that it downloaded.
        say: told what happens.
        build: makes the shards of a recipe, given its file and the folder for them.

    Returns:
        every need, with what it lacks, after all were tried.
    """
    is_remote = is_address(config.data.shards)
    shards = list(_fetched(config, shard_cache(config.data, cache), say)) if is_remote else _built(config, build)
    channels = {index.image_shape[2] for _, index in shards if index is not None}
    wanted = _weights_of(config, looks=not channels or bool(channels & _CHANNELS_OF_NETWORKS))
    return [need for need, _ in shards] + [_weights(name, key, cache, checkpoints, say) for name, key in wanted.items()]


def _splits(config: Config) -> dict[str, str]:
    """The splits that are read, each with the keys that name it."""
    keys = {config.data.split: "data.split"}
    evaluated = config.evaluate.split
    return keys | {evaluated: f"{keys[evaluated]}, evaluate.split" if evaluated in keys else "evaluate.split"}


def _fetched(config: Config, cache: Cache | None, say: Say) -> Iterator[tuple[Need, Index | None]]:
    """The splits at an address, fetched into the cache."""
    address = config.data.shards
    assert cache is not None  # noqa: S101 (aedist's own, if no other)
    opened: dict[str, tuple[RemoteFolder, Index] | UserError] = {}
    for split in _splits(config):
        try:
            opened[split] = open_remote(address, split, cache, say)
        except UserError as error:
            opened[split] = error
    total = sum(found[1].num_bytes for found in opened.values() if not isinstance(found, UserError))
    for split, key in _splits(config).items():
        found, lacks, index = opened[split], None, None
        try:
            if isinstance(found, UserError):
                raise found
            folder, index = found
            if total > config.data.cache_bytes:
                raise UserError(
                    f"data.cache_bytes: {config.data.cache_bytes:,} bytes are too few to keep the {total:,} of all "
                    f"shards of {address}; raise it"
                )
            fetch_all(folder, index, say)
            if missing := folder.missing(index):
                raise UserError(
                    f"{cache.folder}: {missing[0].file} of {folder} is gone again; run the command again, with "
                    f"nothing else at work on this cache"
                )
        except UserError as error:
            lacks = str(error)
        yield Need(f"shards {split}", key, str(cache.folder), _state(index, lacks), lacks), index


def _built(config: Config, build: Callable[[Path, Path], None]) -> list[tuple[Need, Index | None]]:
    """The splits in a folder, built if a recipe lies beside it and its originals can be had."""
    folder = Path(config.data.shards)
    recipe = folder.with_name(f"{folder.name}.yaml")
    found = [_look(config, split, key) for split, key in _splits(config).items()]
    if all(index is not None for _, index in found) or not recipe.is_file():
        return found
    try:
        if not Originals(read_recipe(recipe), None).have_a_route:
            raise UserError(
                f"data.shards: {folder} is not whole, and its originals are files of yours; build it with "
                f"'aedist shards build {recipe} --from PATH'"
            )
        build(recipe, folder)
    except UserError as error:
        return [(_with(need, str(error)) if need.lacks else need, index) for need, index in found]
    return [_look(config, split, key) for split, key in _splits(config).items()]


def _look(config: Config, split: str, key: str) -> tuple[Need, Index | None]:
    index, lacks = None, None
    try:
        opened = open_split(config.data.shards, split)
        check_split(opened)
        index = opened.index
    except UserError as error:
        lacks = str(error)
    return Need(f"shards {split}", key, str(Path(config.data.shards) / split), _state(index, lacks), lacks), index


def _state(index: Index | None, lacks: str | None) -> str:
    if index is None or lacks is not None:
        return "missing"
    return f"{index.num_samples:,} images in {len(index.shards):,} shards, {index.num_bytes:,} bytes"


def _with(need: Need, lacks: str) -> Need:
    return Need(need.what, need.key, need.place, need.state, lacks)


def _weights_of(config: Config, *, looks: bool) -> dict[str, str]:
    """The weights that are wanted, by the name that ``aedist fetch`` knows, each with the keys that want it.

    ``looks``: whether the metrics' networks can look at the images at all.
    """
    wanted: dict[str, list[str]] = {}
    if config.objective.lpips:
        wanted.setdefault(BACKBONES[config.objective.lpips_net].name, []).append("objective.lpips")
    if looks:
        wanted.setdefault(BACKBONES[config.evaluate.lpips_net].name, []).append("evaluate.lpips_net")
    if looks and config.evaluate.fid_images != 0:
        wanted.setdefault("fid", []).append("evaluate.fid_images")
    return {name: ", ".join(keys) for name, keys in wanted.items()}


def _weights(name: str, key: str, cache: Path, checkpoints: Path, say: Say) -> Need:
    place = WEIGHTS[name].path(cache)
    try:
        fetch(weights_collection(name, None, checkpoints), cache, say)
    except UserError as error:
        return Need(f"weights {name}", key, str(place), "missing", str(error))
    return Need(f"weights {name}", key, str(place), f"{place.stat().st_size:,} bytes, sha256 is right")
