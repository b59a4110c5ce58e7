"""``aedist evaluate RUN``: everything that is known to say about a checkpoint, as numbers, words and pictures.

``comprehensive_evaluation.json`` holds nothing that depends on the machine, the time or the number of processes;
``costs.json`` beside it holds what does. Every process measures its share; rank zero computes what is about sets of
images, writes, draws and tells the trackers, and the others wait for it as long as it takes.
"""

import json
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from aedist.asked import Asked
from aedist.errors import UserError
from aedist.evaluation.examples import write_examples
from aedist.evaluation.job import Job, Measured, facts_of_place, measure_all, plan_job
from aedist.evaluation.log import log
from aedist.evaluation.pictures.gallery import draw_pictures
from aedist.evaluation.record import make_record
from aedist.faults import told_in_a_line
from aedist.tracking.console import say_nothing
from aedist.trained import Trained, open_trained
from aedist.whole import write_whole

_VERSIONS = ("aedist", "torch", "torchvision", "lpips", "numpy", "pillow", "scikit-learn")


def evaluate_run(
    folder: Path,
    which: str,
    split_name: str | None,
    num_images: int | None,
    asked: Asked,
    say: Callable[[str], None],
    cache: Path,
    words: Sequence[str] = (),
) -> Path:
    """Evaluate a run's model on a split and write RUN/evaluation/.

    Args:
        folder: the run's directory.
        which: ``last``, ``best`` or a step's number: the checkpoint.
        split_name: the split, or None for the configuration's.
        num_images: only the first so many images, or None for the configuration's choice.
        asked: what the launcher asked of this process.
        say: told what happens, on rank zero.
        cache: where fetched weights of networks lie.
        words: keys of the configuration's ``evaluate`` to set for this time, as ``key=value``.

    Returns:
        comprehensive_evaluation.json.

    Raises:
        UserError: if there is no such run, checkpoint or split, data are damaged, or the folder cannot be written.
    """
    trained = open_trained(folder, which, split_name, asked, say, words)
    with told_in_a_line(trained.place.watch):
        return _evaluate(trained, num_images, cache, say)


def _evaluate(trained: Trained, num_images: int | None, cache: Path, say: Callable[[str], None]) -> Path:
    place, run = trained.place, trained.run
    say = say if place.is_zero else say_nothing
    place.from_rank_zero(lambda: _make_folder(run.evaluation))
    job = plan_job(trained, num_images, cache, say)
    index = trained.split.index
    say(f"evaluating {trained.checkpoint.name} on {job.plan.num_images:,} images of {index.name}/{index.split}")
    for metric, told in job.networks.missing.items():
        say(f"{metric} is left out: {told['reason']}; to have it: {told['fix']}")
    # numpy's library would else take as many threads as the launcher happens to allow, and round by their number
    with threadpool_limits(torch.get_num_threads()):
        measured = measure_all(job)
        path = place.from_rank_zero(lambda: _finish(job, measured))  # the others wait here
    place.leave()
    return path


def _make_folder(folder: Path) -> None:
    """Make the folder, and see that it takes files before anything is measured for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}), and that is where an evaluation goes; make it writable, "
            f"or evaluate a copy of the run"
        ) from error


def _finish(job: Job, measured: Measured) -> Path:
    """Rank zero's part: compute what is about sets, draw, write, tell. Returns the record's file."""
    folder = job.trained.run.evaluation
    record = make_record(job, measured)
    with job.costs.of("pictures"):
        draw_pictures(job, measured)
        write_examples(job, measured)
    path = folder / "comprehensive_evaluation.json"
    write_whole(path, json.dumps(record, indent=1, allow_nan=False) + "\n")  # where it is, everything is
    costs = job.costs.facts() | facts_of_place(job)
    costs |= {"host": socket.gethostname(), "threads": torch.get_num_threads()}
    costs |= {"versions": {name: version(name) for name in _VERSIONS}}
    write_whole(folder / "costs.json", json.dumps(costs, indent=1) + "\n")
    log(job.trained, record, job.say)
    for line in in_words(record):
        job.say(line)
    return path


def in_words(record: Mapping[str, Any]) -> Iterator[str]:
    """The record in lines that fit a terminal."""
    for name, summary in record["metrics"].items():
        yield f"{name:5} {_number(summary['mean'])} ± {_number(summary['std'])}"
    for block in record["distributions"].values():
        found = f"FID {_number(block['fid'])}, KID {_number(block['kid']['mean'])}"
        yield f"{block['words']}: {found} (N = {block['num_images']:,})"
    for name, block in record["baselines"].items():
        if block["metrics"]:
            yield f"{name.replace('_', ' ')}: mse {_number(block['metrics']['mse']['mean'])}"
    yield from (f"warning: {warning}" for warning in record["warnings"])
    yield record["bottom_line"]


def _number(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.6f}"
