"""The command line: verbs to functions, mistakes to one line, endings to exit codes.

Each verb imports what it needs when it runs, so that ``--help`` answers at once. Here alone the environment is
read: what the launcher says of this process (rank, world size), and where caches lie.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aedist.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, DataDamage, Interrupted, ToldByRankZero, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from aedist.place import Asked


_RENDEZVOUS = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What every launcher says besides WORLD_SIZE where there are several processes."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 the user's mistake, 75 interrupted and checkpointed, 1 a fault."""
    arguments = _parse(argv)
    rank = os.environ.get("RANK", "0")
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
    except BrokenPipeError:  # the reader of our output went away, as in 'aedist config | head'
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tells(error: UserError, rank: str) -> bool:
    """Whether this process is the one to tell a mistake.

    What rank zero found, it tells; damaged data, whoever read it. Any other mistake every process of a machine finds
    for itself, and the first of each machine tells it, since the next machine's files may differ.
    """
    if isinstance(error, ToldByRankZero):
        return rank == "0"
    return isinstance(error, DataDamage) or os.environ.get("LOCAL_RANK", rank) == "0"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of a command; ``key=value`` words may also follow an option, where argparse knows none."""
    parser = _parser()
    arguments, left = parser.parse_known_args(argv)
    strangers = [word for word in left if word.startswith("-") or "words" not in arguments]
    if strangers:
        parser.error(f"unrecognized arguments: {' '.join(strangers)}")
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

    shards = verbs.add_parser("shards", help="build, index and verify the shards of a data set")
    actions = shards.add_subparsers(title="actions", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="write the shards of a recipe in shards/")
    build.add_argument("recipe", help="a name such as mnist, for shards/mnist.yaml, or a recipe's path")
    build.add_argument("--out", type=Path, help="where to write; beside the recipe if left out")
    build.add_argument("--from", dest="source", type=Path, metavar="FOLDER", help="originals that are here already")
    build.set_defaults(run=_build)
    index = actions.add_parser("index", help="describe shards that others wrote")
    index.add_argument("folder", type=Path, help="a folder of tars, or of splits that hold tars")
    index.add_argument("--force", action="store_true", help="write over an index that says something else")
    index.set_defaults(run=_index)
    verify = actions.add_parser("verify", help="check every byte and every image against the index")
    verify.add_argument("folder", type=Path, help="a folder of shards, or of splits")
    verify.set_defaults(run=_verify)

    fetch = verbs.add_parser("fetch", help="get the originals of data sets ahead of time")
    fetch.add_argument("names", nargs="+", help="names of recipes in shards/, or their paths")
    fetch.add_argument("--from", dest="source", type=Path, metavar="FOLDER", help="originals that are here already")
    fetch.set_defaults(run=_fetch)

    for name, function, words in (
        ("train", _train, "train, or go on training, as a configuration says"),
        ("plan", _plan, "say what a configuration would do on so many processes"),
        ("config", _config, "show a configuration whole, or without one every key there is"),
    ):
        verb = verbs.add_parser(name, help=words)
        nargs = "?" if name == "config" else None
        verb.add_argument("config", type=Path, nargs=nargs, help="a YAML file, such as configs/mnist_ae.yaml")
        verb.add_argument("words", nargs="*", metavar="key=value", help="keys to set, such as train.epochs=3")
        verb.set_defaults(run=function)
        if name == "plan":
            verb.add_argument("--processes", type=int, default=1, metavar="N", help="how many (1 if left out)")

    evaluate = verbs.add_parser("evaluate", help="measure a run's model on every image of a split")
    evaluate.add_argument("folder", type=Path, metavar="RUN", help="the run's directory")
    evaluate.add_argument("--checkpoint", default="last", metavar="WHICH", help="last, best or a step's number")
    evaluate.add_argument("--split", help="the split; the configuration's if left out")
    evaluate.add_argument("--images", type=int, metavar="N", help="only the first N images")
    evaluate.set_defaults(run=_evaluate)

    report = verbs.add_parser("report", help="write a run's report.html")
    report.add_argument("folders", type=Path, nargs="+", metavar="RUN", help="a run's directory")
    report.set_defaults(run=_report)
    return parser


def _build(arguments: argparse.Namespace) -> None:
    from rich.progress import Progress

    from aedist.shards.build import build
    from aedist.shards.recipe import read_recipe
    from aedist.tracking.console import speaker

    path = _recipe_path(arguments.recipe)
    recipe, out = read_recipe(path), arguments.out or path.with_suffix("")
    console = _console()
    with Progress(console=console, transient=True) as bars:
        tasks = {}

        def progress(split: str, done: int, total: int) -> None:
            if split not in tasks:
                tasks[split] = bars.add_task(f"writing {recipe.name}/{split}", total=total)
            bars.update(tasks[split], completed=done)

        build(recipe, out, _cache(), speaker(console), arguments.source, progress=progress)


def _index(arguments: argparse.Namespace) -> None:
    from aedist.shards.describe import index_folder

    for path in index_folder(arguments.folder, _say(), force=arguments.force):
        print(f"wrote {path}")


def _verify(arguments: argparse.Namespace) -> None:
    from aedist.shards.verify import verify_folder

    count = verify_folder(arguments.folder, _say())
    print(f"{arguments.folder}: all {count:,} samples are sound")


def _fetch(arguments: argparse.Namespace) -> None:
    from aedist.assets import fetch
    from aedist.shards.recipe import read_recipe
    from aedist.shards.sources import find_source

    for name in arguments.names:
        source = find_source(read_recipe(_recipe_path(name)).source)
        for path in fetch(source.collection, _cache(), _say(), arguments.source).values():
            print(path)


def _train(arguments: argparse.Namespace) -> None:
    from aedist.configfile import load_config

    config = load_config(arguments.config, arguments.words)
    asked = _asked()
    from aedist.training.run import run_training

    run = run_training(config, asked, _console())
    if asked.rank == 0:
        print(f"{run.path}: trained; next: aedist evaluate {run.path}, then aedist report {run.path}")


def _plan(arguments: argparse.Namespace) -> None:
    from aedist.configfile import load_config
    from aedist.summary import plan_of

    for line in plan_of(load_config(arguments.config, arguments.words), arguments.processes):
        print(line)


def _config(arguments: argparse.Namespace) -> None:
    from aedist.configfile import describe_keys, load_config, to_yaml

    if arguments.config:
        print(to_yaml(load_config(arguments.config, arguments.words)), end="")
        return
    for name, default, sentence in describe_keys():
        print(f"{name:24} {default:12} {sentence}")


def _evaluate(arguments: argparse.Namespace) -> None:
    asked = _asked()
    from aedist.evaluation.verb import evaluate_run

    path = evaluate_run(arguments.folder, arguments.checkpoint, arguments.split, arguments.images, asked, _say())
    if asked.rank == 0:
        print(f"wrote {path}")


def _report(arguments: argparse.Namespace) -> None:
    from aedist.report import write_report

    for folder in arguments.folders:
        print(f"wrote {write_report(folder)}")


def _recipe_path(name: str) -> Path:
    """A recipe's file, from its name or its path."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else Path("shards") / f"{name}.yaml"
    if not path.is_file():
        there = ", ".join(sorted(found.stem for found in Path("shards").glob("*.yaml"))) or "none here"
        raise UserError(f"{name}: there is no recipe {path} (recipes: {there}); name one of them or a recipe's path")
    return path


def _cache() -> Path:
    """Where originals are kept between builds."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aedist"


def _asked() -> "Asked":
    """What the launcher asked of this process.

    Raises:
        UserError: if there are several processes, but they were not told of each other, or how to meet.
    """
    from aedist.place import Asked

    environment = os.environ
    tasks = _number("SLURM_STEP_NUM_TASKS") or 1
    if "WORLD_SIZE" not in environment and tasks > 1:
        raise UserError(
            f"srun started {tasks} tasks, but RANK and WORLD_SIZE are not set, so each would train the whole run; "
            f"submit slurm/train.sbatch, which sets them"
        )
    missing = [name for name in _RENDEZVOUS if name not in environment]
    if environment.get("WORLD_SIZE", "1") != "1" and missing:
        raise UserError(
            f"WORLD_SIZE is {environment['WORLD_SIZE']}, but there is no {', '.join(missing)}, so the processes cannot "
            f"find each other; start them with accelerate launch or slurm/train.sbatch, or unset WORLD_SIZE"
        )
    return Asked(
        rank=_number("RANK") or 0,
        world=_number("WORLD_SIZE") or 1,
        local_world=_number("LOCAL_WORLD_SIZE") or _number("WORLD_SIZE") or 1,
        threads=_number("OMP_NUM_THREADS"),
    )


def _number(name: str) -> int | None:
    """A whole number that a launcher put into the environment; None where it is not set."""
    text = os.environ.get(name)
    if text is not None and not text.isdecimal():
        raise UserError(f"{name}: the environment has {text!r}; a launcher sets it to a whole number, or unset it")
    return int(text) if text else None


def _console() -> "Console":
    from rich.console import Console

    return Console()


def _say() -> Callable[[str], None]:
    from aedist.tracking.console import speaker

    return speaker(_console())
