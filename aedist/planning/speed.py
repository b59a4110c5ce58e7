"""How long a process computes in a step: as somebody measured, as a run records it, or from a GPU's data sheet."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from aedist.config import Config
from aedist.errors import UserError
from aedist.planning.constants import Constants
from aedist.planning.passes import ModelSize, Pass
from aedist.rundir import find_run, load_run_config, read_environment

_FEWEST_RECORDS = 2


@dataclass(frozen=True)
class Speed:
    """Images a second of one process, and who says so."""

    images_per_second: float
    source: str


@dataclass(frozen=True)
class Compute:
    """What a process computes in one step."""

    seconds: float
    backward_seconds: float
    """Of its last backward pass, behind which sums hide."""
    source: str
    decode_seconds: float = 0.0
    """Of its loader processes, for the images of a step that are not in memory; 0 where a measured speed has it."""


def speed_of_run(path: Path, config: Config, *, has_gpus: bool) -> Speed:
    """The speed of a process of a run, from the later half of its records.

    Raises:
        UserError: if the run has too few records, or says nothing of what is planned.
    """
    run = find_run(path)
    theirs = load_run_config(run)
    if theirs.model != config.model or theirs.train.precision != config.train.precision:
        raise UserError(f"--from: {path} trained another model or precision; name a run of the same")
    attempts = {entry["attempt"]: entry for entry in read_environment(run)["attempts"]}
    records = [one for one in _records(run.metrics) if one.get("kind") == "train" and one.get("images_per_second")]
    if len(records) < _FEWEST_RECORDS:
        raise UserError(f"--from: {path} has {len(records)} records of training; let it run for longer")
    newest = attempts[max(attempts)]
    records = [one for one in records if one.get("attempt", newest["attempt"]) == newest["attempt"]] or records
    if (newest["device"] == "cuda") != has_gpus:
        wanted = "GPUs" if has_gpus else "CPUs"
        raise UserError(f"--from: {path} ran on {newest['device']}, and the plan is for {wanted}; name another run")
    rate = median(one["images_per_second"] for one in records[len(records) // 2 :]) / newest["world"]
    others = "" if newest["world"] == 1 else f", their sums among {newest['world']} included"
    batches = "" if theirs.batch.micro == config.batch.micro else f", in micro-batches of {theirs.batch.micro}"
    return Speed(rate, f"measured in {path}: {rate:,.0f} images/s a process{batches}{others}")


def _records(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]
    except (OSError, ValueError) as error:
        raise UserError(f"--from: {path}: cannot be read ({error}); name another run") from error


def compute_of(
    speed: Speed | None,
    training: Pass,
    slots: int,
    config: Config,
    size: ModelSize,
    constants: Constants,
    *,
    on_gpu: bool,
    decoded_pixels: int,
) -> Compute | None:
    """What a process computes in a step with ``slots`` micro-batches; None on CPUs of which no speed is known.

    What is assumed of a GPU: a pass takes as long as its FLOPs and the traffic of its operations, each by itself, or as
    the host takes to start them, whichever is longer. The host then waits for the gradient's norm; what it does besides
    in a step comes on top, and the update, which reads and writes every moment, weight and gradient.
    Beside it all, loader processes decode.

    Args:
        speed: of a process, where it is known.
        training: a forward and backward pass.
        slots: the micro-batches of the process.
        config: the run.
        size: the model's.
        constants: what is assumed.
        on_gpu: whether the process has one.
        decoded_pixels: of an image that is decoded each time; 0 where images are kept in memory.
    """
    images = slots * config.batch.micro
    passes = max(1, images // training.images)
    if speed is not None:
        seconds = images / speed.images_per_second
        return Compute(seconds, constants.backward_share * seconds / passes, speed.source)
    if not on_gpu:
        return None
    precision = config.train.precision
    tflops = {"fp32": constants.tflops_fp32, "fp64": constants.tflops_fp64}.get(precision, constants.tflops_half)
    bandwidth = constants.memory_gbytes * 1e9
    work = training.flops / (tflops * 1e12) + training.moved_bytes / bandwidth
    one = max(work, training.operations * constants.launch_us * 1e-6)
    width = 8 if precision == "fp64" else 4
    update = (7 + (3 if config.train.ema_decay is not None else 0)) * width * size.parameters / bandwidth
    bound = "FLOPs and memory traffic" if work >= one else "the host's starts of operations"
    seconds = passes * one + update + constants.loop_us * 1e-6
    decode = images * decoded_pixels / (max(1, config.data.workers) * constants.decode_mpixels * 1e6)
    return Compute(seconds, constants.backward_share * one, f"assumed, bound by {bound}", decode)
