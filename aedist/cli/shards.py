"""The verbs that make shards and judge them."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aedist.cli.launcher import cache_folder
from aedist.cli.terminal import Work, at_work, open_console
from aedist.errors import Interrupted, UserError

if TYPE_CHECKING:
    from aedist.shards.parts import Part


def add_verbs(verbs: Any) -> None:
    """The verbs shards build, shards index, shards verify and shards fetch."""
    shards = verbs.add_parser("shards", help="build, index and verify the shards of a data set")
    actions = shards.add_subparsers(title="actions", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="write the shards of a recipe in shards/")
    build.add_argument("recipe", help="a name such as mnist, for shards/mnist.yaml, or a recipe's path")
    build.add_argument("--out", type=Path, help="where to write; beside the recipe if left out")
    build.add_argument("--from", dest="source", type=Path, metavar="PATH", help="originals that are here already")
    build.add_argument(
        "--workers", type=int, metavar="N", help="processes that write; all cores of this one if left out"
    )
    build.add_argument(
        "--part", metavar="I/N", help="write the I-th of N shares, others the others, in any order: for job arrays"
    )
    build.set_defaults(run=_build)
    index = actions.add_parser("index", help="describe shards that others wrote")
    index.add_argument("folder", type=Path, help="a folder of tars, or of splits that hold tars")
    index.add_argument("--force", action="store_true", help="write over an index that says something else")
    index.set_defaults(run=_index)
    verify = actions.add_parser("verify", help="check every byte and every image against the index")
    verify.add_argument("folder", help="a folder of shards, or of splits; or an address of splits")
    verify.set_defaults(run=_verify)
    get = actions.add_parser("fetch", help="put the shards at an address into the cache, for where there is no network")
    get.add_argument("address", help="https://, http://, s3://, gs:// or hf://, as data.shards takes it")
    get.set_defaults(run=_fetch_shards)
    for action in (verify, get):
        action.add_argument("--splits", nargs="+", metavar="SPLIT", help="those of the address (train test)")
        action.add_argument("--cache", default="", metavar="FOLDER", help="as data.cache: where they are kept")
        action.add_argument("--cache-bytes", default="50GiB", metavar="SIZE", help="as data.cache_bytes (50GiB)")


def _build(arguments: argparse.Namespace) -> None:
    from aedist.shards.parts import parse_part

    path = recipe_path(arguments.recipe)
    workers = arguments.workers if arguments.workers is not None else _num_cores()
    if workers < 1:
        raise UserError(f"--workers: {workers} is refused: it should be 1 or more")
    part = parse_part(arguments.part) if arguments.part is not None else None
    given = arguments.source.expanduser() if arguments.source else None
    build_recipe(path, arguments.out or path.with_suffix(""), given, workers=workers, part=part)


def build_recipe(
    path: Path, out: Path, given: Path | None = None, *, workers: int | None = None, part: "Part | None" = None
) -> None:
    """Build a recipe's shards, or a part of them, and show how far it is; with all cores unless told.

    Raises:
        Interrupted: if one was asked to stop.
        UserError: as ``shards.build.build``.
    """
    from rich.progress import MofNCompleteColumn, Progress

    from aedist.shards.build import build
    from aedist.shards.recipe import read_recipe
    from aedist.tracking.console import speaker

    recipe, console = read_recipe(path), open_console()
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks = {}

        def progress(split: str, done: int, total: int) -> None:
            if split not in tasks:
                tasks[split] = bars.add_task(f"writing {recipe.name}/{split}", total=total)
            bars.update(tasks[split], completed=done)

        try:
            say, workers = speaker(console), workers if workers is not None else _num_cores()
            build(recipe, out, cache_folder(), say, given, part=part, workers=workers, progress=progress)
        except KeyboardInterrupt:
            raise Interrupted(
                f"{out}: stopped; run the same command again to go on: the shards that are done are kept"
            ) from None


def _num_cores() -> int:
    """The cores that this process may use, where the system tells; else all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _index(arguments: argparse.Namespace) -> None:
    with at_work(f"looking through {arguments.folder}") as work:
        from aedist.shards.describe import index_folder

        paths = index_folder(arguments.folder, work, force=arguments.force)
    for path in paths:
        print(f"wrote {path}")


def _verify(arguments: argparse.Namespace) -> None:
    with at_work(f"checking {arguments.folder}") as work:
        from aedist.data.address import is_address
        from aedist.shards.verify import verify_folder, verify_remote

        if is_address(arguments.folder):
            splits = _open_remote_splits(arguments, work)
            count = sum(verify_remote(folder, index, work) for folder, index in splits)
        else:
            if arguments.splits:
                raise UserError(f"--splits: goes with an address, and {arguments.folder} is a folder; leave it out")
            count = verify_folder(Path(arguments.folder), work)
    print(f"{arguments.folder}: all {count:,} samples are sound")


def _fetch_shards(arguments: argparse.Namespace) -> None:
    with at_work(f"fetching {arguments.address}") as work:
        from aedist.data.remote import fetch_all

        for folder, index in _open_remote_splits(arguments, work):
            fetch_all(folder, index, work)
            work(f"{folder}: all {len(index.shards):,} shards are in {folder.cache.folder}")


def _open_remote_splits(arguments: argparse.Namespace, work: Work) -> list[Any]:
    """Each split of an address, with its index."""
    from aedist.configfile import parse_config
    from aedist.data.remote import open_remote
    from aedist.data.source import shard_cache

    keys = {"shards": arguments.folder if "folder" in arguments else arguments.address}
    keys |= {"cache": arguments.cache, "cache_bytes": arguments.cache_bytes}
    data = parse_config({"data": keys, "model": {"kind": "mlp"}}, "command line").data
    cache = shard_cache(data, cache_folder())
    assert cache is not None  # noqa: S101 (there is a folder)
    return [open_remote(data.shards, name, cache, work) for name in arguments.splits or ("train", "test")]


def recipe_path(name: str, besides: str = "") -> Path:
    """A recipe's file, from its name or its path; ``besides`` is told of what else there is."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else Path("shards") / f"{name}.yaml"
    if not path.is_file():
        there = ", ".join(sorted(found.stem for found in Path("shards").glob("*.yaml"))) or "none here"
        raise UserError(
            f"{name}: there is no recipe {path} (recipes: {there}{besides}); name one of them or a recipe's path"
        )
    return path
