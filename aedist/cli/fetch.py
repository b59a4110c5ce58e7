"""The verb that gets what needs the internet, for where there is none."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aedist.cli.launcher import cache_folder
from aedist.cli.shards import build_recipe, recipe_path
from aedist.cli.terminal import at_work
from aedist.errors import UserError

if TYPE_CHECKING:
    from aedist.needs import Need


def add_verbs(verbs: Any) -> None:
    """The verb fetch."""
    fetch = verbs.add_parser(
        "fetch", help="get what a configuration reads, originals of data sets, weights of networks"
    )
    fetch.add_argument(
        "words",
        nargs="+",
        metavar="WHAT",
        help="a configuration, such as configs/mnist_ae.yaml, and key=value: its shards, fetched or built, and the "
        "weights that it looks with; or recipes in shards/ by name or path: their originals; or lpips, lpips-vgg: what "
        "LPIPS needs; fid: what FID and KID need",
    )
    fetch.add_argument(
        "--from", dest="source", type=Path, metavar="FOLDER", help="originals or weights that are here already"
    )
    fetch.set_defaults(run=_fetch)


def _fetch(arguments: argparse.Namespace) -> None:
    keys = [word for word in arguments.words if "=" in word]
    names = [word for word in arguments.words if "=" not in word]
    configs = [name for name in names if _is_config(name, with_keys=bool(keys))]
    if keys and not configs:
        raise UserError(
            f"{keys[0]}: goes with a configuration, and none is named; name one, such as a file in configs/"
        )
    if configs and arguments.source:
        raise UserError(
            f"--from: {arguments.source} is refused with a configuration; give it to 'aedist shards build' or "
            f"'aedist fetch lpips fid' first, then fetch the configuration without it"
        )
    for name in names:
        if name in configs:
            _fetch_config(Path(name), keys)
        else:
            _fetch_named(name, arguments.source.expanduser() if arguments.source else None)


def _is_config(name: str, *, with_keys: bool) -> bool:
    """Whether a name is a file of a configuration, not of a recipe: it says what is trained, or keys come with it."""
    from aedist.configfile import read_yaml

    if not name.endswith((".yaml", ".yml")):
        return False
    try:
        values = read_yaml(Path(name).read_text(encoding="utf-8"), name)
    except (OSError, ValueError, UserError):  # whoever reads it next tells
        return with_keys
    return isinstance(values, dict) and not {"data", "model"}.isdisjoint(values)


def _fetch_config(path: Path, words: list[str]) -> None:
    with at_work(f"looking what {path} needs") as work:
        from torch.hub import get_dir

        from aedist.configfile import load_config
        from aedist.needs import provide

        def build(recipe: Path, out: Path) -> None:
            work.end()  # a build shows more
            build_recipe(recipe, out)

        config = load_config(path, words)
        needs = provide(config, cache_folder(), Path(get_dir()) / "checkpoints", work, build)
    for line in _table(needs):
        print(line)
    if config.track.wandb in ("auto", "online"):
        print(
            f"track.wandb is {config.track.wandb}: where a key is set, a run reaches for W&B; on nodes without "
            f"internet set track.wandb=offline"
        )
    lacking = dict.fromkeys(need.lacks for need in needs if need.lacks)
    if lacking:
        raise UserError("\n".join(lacking))
    print(f"{path}: all that it reads is here: where these folders are seen, nothing needs the internet")


def _table(needs: "list[Need]") -> list[str]:
    """A need a line, in columns."""
    rows = [(need.what, need.key, need.place, "missing" if need.lacks else need.state) for need in needs]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join((*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3])) for row in rows
    ]


def _fetch_named(name: str, given: Path | None) -> None:
    with at_work(f"fetching {name}") as work:
        from torch.hub import get_dir

        from aedist.assets import fetch
        from aedist.shards.recipe import read_recipe
        from aedist.shards.sources import find_source
        from aedist.weights import WEIGHTS, weights_collection

        if name in WEIGHTS:
            collection, given = weights_collection(name, given, Path(get_dir()) / "checkpoints"), None
        else:
            besides = f"; weights: {', '.join(WEIGHTS)}; or a configuration's path"
            collection = find_source(read_recipe(recipe_path(name, besides=besides)).source).collection
        if collection is None:
            raise UserError(f"{name}: its originals are files of yours; give them to aedist shards build --from FOLDER")
        paths = fetch(collection, cache_folder(), work, given)
    print(*paths.values(), sep="\n")
