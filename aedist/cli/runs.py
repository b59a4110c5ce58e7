"""The verbs that make a run and judge it."""

import argparse
import sys
from pathlib import Path
from typing import Any

from aedist.cli.launcher import asked_of_launcher, cache_folder
from aedist.cli.processes import add_processes, run_processes, starts_processes
from aedist.cli.telling import add_ways_to_tell, telling
from aedist.cli.terminal import at_work
from aedist.errors import EXIT_FAULT
from aedist.stop import StopRequest


def add_verbs(verbs: Any) -> None:
    """The verbs train, config, evaluate, verify and report."""
    for name, function, words in (
        ("train", _train, "train, or go on training, as a configuration says"),
        ("config", _config, "show a configuration whole, or without one every key there is"),
    ):
        verb = verbs.add_parser(name, help=words)
        nargs = "?" if name == "config" else None
        verb.add_argument("config", type=Path, nargs=nargs, help="a YAML file, such as configs/mnist_ae.yaml")
        verb.add_argument("words", nargs="*", metavar="key=value", help="keys to set, such as train.epochs=3")
        verb.set_defaults(run=function)
        if name == "train":
            add_processes(verb)
            add_ways_to_tell(verb)

    evaluate = verbs.add_parser("evaluate", help="measure a run's model on every image of a split")
    evaluate.add_argument("folder", type=Path, metavar="RUN", help="the run's directory")
    evaluate.add_argument("--checkpoint", default="last", metavar="WHICH", help="last, best or a step's number")
    evaluate.add_argument("--split", help="the split; the configuration's if left out")
    evaluate.add_argument("--images", type=int, metavar="N", help="only the first N images")
    evaluate.add_argument(
        "words", nargs="*", metavar="key=value", help="keys to set this time, such as evaluate.fid_images=1000"
    )
    add_processes(evaluate)
    add_ways_to_tell(evaluate)
    evaluate.set_defaults(run=_evaluate)

    verify = verbs.add_parser("verify", help="state what a run proves: order, records, checkpoints, interruptions")
    verify.add_argument("folder", type=Path, metavar="RUN", help="the run's directory")
    verify.add_argument("--shards", action="store_true", help="read every byte of the shards too")
    verify.add_argument("--json", action="store_true", help="the same for programs")
    verify.add_argument(
        "words", nargs="*", metavar="data.shards=FOLDER", help="where the shards lie now, if they moved"
    )
    verify.set_defaults(run=_verify)

    report = verbs.add_parser("report", help="write a run's report.html, or of several runs a page that compares them")
    report.add_argument(
        "folders", type=Path, nargs="+", metavar="RUN", help="a run's directory; several go side by side"
    )
    report.add_argument("--out", type=Path, metavar="FILE", help="where to; into the run, or beside several runs")
    report.set_defaults(run=_report)


def _train(arguments: argparse.Namespace) -> None:
    if starts_processes(arguments):
        sys.exit(run_processes(arguments.processes, sys.argv[1:]))
    from aedist.configfile import load_config

    stop = StopRequest()
    stop.listen()
    with telling(arguments, f"starting {arguments.config}", stop) as told, stop.deaf_in_the_end():
        config = load_config(arguments.config, arguments.words)
        asked = asked_of_launcher()
        from aedist.training.run import run_training

        run = run_training(config, asked, told.voice, cache_folder(), stop)
        if asked.rank == 0:
            from aedist.cli.closing import closing_lines, next_commands
            from aedist.overview import read_row
            from aedist.tracking.synced import is_unsynced

            row, commands = read_row(run.path), next_commands(run.path, is_unsynced=is_unsynced(run, config))
            told.done({**row.record(), "next": commands}, closing_lines(row, commands))


def _config(arguments: argparse.Namespace) -> None:
    from aedist.config import describe_keys
    from aedist.configfile import load_config, to_yaml

    if arguments.config:
        print(to_yaml(load_config(arguments.config, arguments.words)), end="")
        return
    for name, default, sentence in describe_keys():
        print(f"{name:24} {default:12} {sentence}")


def _evaluate(arguments: argparse.Namespace) -> None:
    if starts_processes(arguments):
        sys.exit(run_processes(arguments.processes, sys.argv[1:]))
    with telling(arguments, f"opening {arguments.folder}") as told:
        asked = asked_of_launcher()
        from aedist.evaluation.verb import evaluate_run

        path = evaluate_run(
            arguments.folder,
            arguments.checkpoint,
            arguments.split,
            arguments.images,
            asked,
            told.voice.say,
            cache_folder(),
            arguments.words,
        )
        if asked.rank == 0:
            told.done({"run": str(arguments.folder), "record": str(path)}, [f"wrote {path}"])


def _verify(arguments: argparse.Namespace) -> None:
    import json

    with at_work(f"verifying {arguments.folder}"):
        from aedist.verify import verify_run

        verified = verify_run(arguments.folder, arguments.words, hash_shards=arguments.shards, cache=cache_folder())
    for line in [json.dumps(verified.record, indent=1)] if arguments.json else verified.lines:
        print(line)
    if verified.verdict != "proven":
        sys.stdout.flush()
        sys.exit(EXIT_FAULT)


def _report(arguments: argparse.Namespace) -> None:
    folders = arguments.folders
    with at_work(f"drawing {', '.join(map(str, folders))}"):
        from aedist.report import write_comparison, write_report

        alone = len(folders) == 1
        path = write_report(folders[0], arguments.out) if alone else write_comparison(folders, arguments.out)
    print(f"wrote {path}")
