"""The verb that plans: what a run would do on machines that nobody has asked for yet."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aedist.cli.launcher import cache_folder
from aedist.errors import UserError

if TYPE_CHECKING:
    from aedist.config import Config
    from aedist.planning.forecast import Forecast
    from aedist.planning.network import Machines


def add_verbs(verbs: Any) -> None:
    """The verb plan."""
    verb = verbs.add_parser(
        "plan",
        help="say what a configuration would do, need and take on so many nodes and GPUs, or why it cannot work",
        description="What a configuration would do on other machines. Counts are exact; times are predicted by a model "
        "whose constants are printed with them.",
    )
    verb.add_argument("config", type=Path, help="a YAML file, such as configs/mnist_ae.yaml; with --gpus, also several")
    verb.add_argument("words", nargs="*", metavar="key=value", help="keys to set, such as train.epochs=3")
    verb.add_argument("--nodes", type=int, metavar="N", help="how many nodes (1)")
    verb.add_argument("--gpus-per-node", type=int, metavar="G", help="GPUs of a node, a process each")
    verb.add_argument("--processes", type=int, metavar="N", help="processes in all, without GPUs (1 a node)")
    verb.add_argument(
        "--gpus",
        type=int,
        nargs="+",
        metavar="N",
        help="a table instead, a row for each number of GPUs in all, 8 a node; batch.num_micro is raised to as many",
    )
    verb.add_argument("--images-per-second", type=float, metavar="X", help="of one process, as it was measured")
    verb.add_argument("--from", dest="run_before", type=Path, metavar="RUN", help="take the speed of a run's records")
    verb.add_argument("--gpu-memory", metavar="SIZE", help="of a GPU, such as 80GiB; less than is needed is refused")
    verb.add_argument("--host-memory", metavar="SIZE", help="of a node, such as 1TiB; less than is needed is refused")
    verb.add_argument("--images", type=int, metavar="N", help="of a split whose shards are not here nor counted")
    verb.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a constant of the prediction; may be repeated"
    )
    verb.set_defaults(run=_plan)


def _plan(arguments: argparse.Namespace) -> None:
    from aedist.cli.terminal import at_work

    if arguments.gpus:
        _print_table(arguments)
        return
    with at_work(f"planning {arguments.config}"):
        from aedist.configfile import load_config
        from aedist.planning.words import lines_of

        config = load_config(arguments.config, arguments.words)
        found = _forecast(arguments, config, _machines(arguments))
        lines = list(lines_of(found, str(arguments.config), arguments.words))
    for line in lines:
        print(line)


def _print_table(arguments: argparse.Namespace) -> None:
    """A row for each configuration and number of GPUs; what cannot work says why."""
    from aedist.cli.terminal import at_work
    from aedist.configfile import load_config
    from aedist.planning.table import table_head, table_row

    if arguments.nodes is not None or arguments.processes is not None:
        raise UserError(
            "--gpus: goes without --nodes and --processes: it says how many GPUs there are in all; drop them"
        )
    others = [word for word in arguments.words if word.endswith((".yaml", ".yml")) and "=" not in word]
    words = [word for word in arguments.words if word not in others]
    print(table_head())
    for path in [arguments.config, *map(Path, others)]:
        for gpus in arguments.gpus:
            machines = _in_all(gpus, arguments.gpus_per_node)
            try:
                with at_work(f"planning {path} on {gpus} GPUs"):
                    config = load_config(path, words)
                    if gpus > config.batch.num_micro:
                        config = load_config(path, [*words, f"batch.num_micro={gpus}"])
                    row = table_row(path.stem, _forecast(arguments, config, machines))
            except UserError as error:
                row = f"| {path.stem} | {gpus} | {error} |"
            print(row, flush=True)
    from aedist.planning.constants import Constants

    print()
    for line in Constants().changed(arguments.set).lines(["gpus", "speed", "memory", "data"]):
        print(line)


def _machines(arguments: argparse.Namespace) -> "Machines":
    """The machines that the options name.

    Raises:
        UserError: if they contradict each other.
    """
    from aedist.planning.network import Machines

    options = {"--nodes": "nodes", "--gpus-per-node": "gpus_per_node", "--processes": "processes"}
    for option, name in options.items():
        number = getattr(arguments, name)
        if number is not None and number < 1:
            raise UserError(f"{option}: {number}; it must be 1 or more")
    nodes, gpus, processes = arguments.nodes or 1, arguments.gpus_per_node, arguments.processes
    if gpus is not None:
        if processes is not None:
            raise UserError(f"--processes: {processes}; goes without GPUs, and each GPU has one; leave it out")
        return Machines(nodes, gpus, has_gpus=True)
    world = nodes if processes is None else processes
    if world % nodes:
        raise UserError(f"--processes: {world} cannot be dealt evenly to {nodes} nodes; take a multiple of {nodes}")
    return Machines(nodes, world // nodes, has_gpus=False)


def _in_all(gpus: int, per_node: int | None) -> "Machines":
    from aedist.planning.network import Machines

    per_node = 8 if per_node is None else per_node
    if per_node < 1:
        raise UserError(f"--gpus-per-node: {per_node}; it must be 1 or more")
    if gpus < 1 or (gpus > per_node and gpus % per_node):
        raise UserError(f"--gpus: {gpus}; it must be 1 or more, and fill nodes of {per_node}; see --gpus-per-node")
    return Machines(max(1, gpus // per_node), min(gpus, per_node), has_gpus=True)


def _forecast(arguments: argparse.Namespace, config: "Config", machines: "Machines") -> "Forecast":
    from aedist.planning.constants import Constants
    from aedist.planning.forecast import Question, forecast
    from aedist.planning.speed import Speed, speed_of_run

    given, run = arguments.images_per_second, arguments.run_before
    if given is not None and not 0 < given < float("inf"):
        raise UserError(f"--images-per-second: {given:g}; it must be above 0")
    if given is not None and run is not None:
        raise UserError("--images-per-second: goes without --from, which says the same; give one of them")
    speed = Speed(given, "as given") if given is not None else None
    if run is not None:
        speed = speed_of_run(run, config, has_gpus=machines.has_gpus)
    return forecast(
        Question(
            config,
            machines,
            Constants().changed(arguments.set),
            speed,
            _bytes("--gpu-memory", arguments.gpu_memory),
            _bytes("--host-memory", arguments.host_memory),
            arguments.images,
            cache_folder(),
        )
    )


def _bytes(option: str, text: str | None) -> int | None:
    from aedist.section import parse_bytes

    if text is None:
        return None
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise UserError(f"{option}: {text} {error}; give one such as 80GiB") from error
