"""How long until a run is at work: the first step of a new one, of one that goes on, an evaluation; and its memory.

The commands are the real ones, in processes of their own, ended at their first step. The calibration is what Python
takes to import torch, which is in each of them, measured again in every repeat.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from material import Material
from measuring import spread
from tables import Table

from aedist.checkpoint import load_checkpoint, save_checkpoint

_POSITIONS = (10, 10_000, 1_000_000)
_STAGES = ("Python and aedist imported", "place taken", "model made", "images in memory", "first step done")


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    stages: dict[str, float]


def tables(digits: Material, repeats: int, *, small: bool) -> list[Table]:
    """Start, resuming, evaluation, memory."""
    with tempfile.TemporaryDirectory() as folder:
        config = _config(digits, Path(folder))
        torch_alone, whole, streamed = list[float](), list[Ended](), list[Ended]()
        at = {step: list[Ended]() for step in _POSITIONS}
        runs = {step: _run_at(config, Path(folder), step) for step in _POSITIONS}
        for repeat in range(min(repeats, 3) + 1):  # the first is a warm-up
            alone = _ended([sys.executable, "-c", "import torch"]).seconds
            one = _watched(config, Path(folder) / f"new-{repeat}", "first")
            other = _watched(config, Path(folder) / f"other-{repeat}", "first", "data.mode=stream", "data.workers=0")
            again = {step: _watched(config, runs[step], "first") for step in _POSITIONS}
            if repeat:
                torch_alone.append(alone)
                whole.append(one)
                streamed.append(other)
                for step in _POSITIONS:
                    at[step].append(again[step])
        result = [_start_table(torch_alone, whole, streamed), _resume_table(torch_alone, at)]
        return [*result, _whole_table(config, Path(folder), torch_alone, small=small)]


def _start_table(alone: list[float], whole: list[Ended], streamed: list[Ended]) -> Table:
    rows = [["import torch", spread(alone), "", "1"]]
    for stage in _STAGES:
        cells = [[one.stages[stage] for one in some if stage in one.stages] for some in (whole, streamed)]
        ratios = [one.stages[stage] / base for one, base in zip(whole, alone, strict=True)]
        rows.append([stage, spread(cells[0]), spread(cells[1]) if cells[1] else "", spread(ratios)])
    return Table(
        "from the command to the first step: seconds since the command, MNIST",
        ["until", "images kept in memory (2 workers)", "streamed, no worker", "the first, by import torch"],
        rows,
        "Of `aedist train configs/mnist_ae.yaml` with W&B disabled.",
    )


def _resume_table(alone: list[float], at: dict[int, list[Ended]]) -> Table:
    least = at[_POSITIONS[0]]
    rows = [
        [
            f"{step:,}",
            spread([one.stages["first step done"] for one in found]),
            spread([one.stages["first step done"] / base for one, base in zip(found, alone, strict=True)]),
            spread(
                [a.stages["first step done"] / b.stages["first step done"] for a, b in zip(found, least, strict=True)]
            ),
        ]
        for step, found in at.items()
    ]
    return Table(
        "going on: seconds from the command to the next step done",
        ["from step", "seconds", "by import torch", f"by step {_POSITIONS[0]}"],
        rows,
        "The checkpoints are one run's, with another step written into them by aedist's own writer.",
    )


def _whole_table(config: Path, folder: Path, alone: list[float], *, small: bool) -> Table:
    steps = 50 if small else 1875
    run = folder / "whole"
    words = [f"run.dir={run}", "train.epochs=null", f"train.steps={steps}"]
    images = 500 if small else 10_000
    commands = {
        f"train, {steps:,} steps, images in memory": ["train", str(config), *words],
        f"train, {steps:,} steps, streamed": [
            *("train", str(config), *words[1:], f"run.dir={folder / 'streamed'}", "data.mode=stream"),
        ],
        f"evaluate, {images:,} images, without FID": [
            "evaluate",
            str(run),
            "evaluate.fid_images=0",
            f"evaluate.images={images}",
        ],
        "report": ["report", str(run)],
    }
    rows = list[list[str]]()
    for name, command in commands.items():
        ended = _ended([sys.executable, "-m", "aedist", *command])
        base = sorted(alone)[len(alone) // 2]
        rows.append(
            [
                name,
                f"{ended.seconds:.1f}",
                f"{ended.seconds / base:.1f}",
                f"{ended.cpu_seconds:.1f}",
                f"{ended.peak_bytes / 1e6:,.0f}",
            ]
        )
    return Table(
        "whole commands, once each",
        ["command", "seconds", "by import torch", "CPU seconds", "peak memory of its largest process, MB"],
        rows,
    )


def _config(digits: Material, folder: Path) -> Path:
    text = (Path(__file__).parents[2] / "configs" / "mnist_ae.yaml").read_text(encoding="utf-8")
    path = folder / "mnist.yaml"
    path.write_text(
        text.replace("shards/mnist", str(digits.shards.resolve())).replace("epochs: 10", "epochs: 1000")
        + "track: {wandb: disabled}\n",
        encoding="utf-8",
    )
    return path


def _run_at(config: Path, folder: Path, step: int) -> Path:
    """A run whose newest checkpoint is of a step: stopped at 10, and the number exchanged."""
    first, run = folder / "stopped", folder / f"at-{step}"
    if not first.exists():
        _watched(config, first, "stop")
    shutil.copytree(first, run)
    (found,) = (run / "checkpoints").glob("step-*")
    tensors, numbers = load_checkpoint(found)
    numbers["progress"]["step"] = step
    if step != _POSITIONS[0]:
        save_checkpoint(run / "checkpoints", step, tensors, numbers)
    return run


def _watched(config: Path, run: Path, end: str, *words: str) -> Ended:
    notes = run.with_suffix(".notes")
    notes.unlink(missing_ok=True)
    script = Path(__file__).with_name("startwatch.py")
    command = [sys.executable, script, notes, end, "train", config, f"run.dir={run}", *words]
    begun = time.time()
    ended = _ended(list(map(str, command)), may_stop=True)
    stages = {name: at - begun for name, at in json.loads(notes.read_text(encoding="utf-8"))} if notes.exists() else {}
    return Ended(ended.seconds, ended.cpu_seconds, ended.peak_bytes, stages)


def _ended(command: list[str], *, may_stop: bool = False) -> Ended:
    """Run it, silently; what it wrote is shown if it fails."""
    with tempfile.TemporaryFile() as output:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        seconds, code = time.perf_counter() - begun, os.waitstatus_to_exitcode(status)
        process.returncode = code
        if code and not (may_stop and code == 75):
            output.seek(0)
            sys.exit(f"{' '.join(command)} ended with {code}:\n{output.read().decode(errors='replace')[-2000:]}")
    return Ended(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, {})
