"""The promises of a run, shown at full size on the real digits (minutes; the test suite shows them small).

    python tests/prove_invariance.py [FOLDER]
    python tests/prove_invariance.py FOLDER CONFIG [key=value ...]

The first: 300 steps of configs/mnist_ae.yaml with six micro-batches a step, on 1, 2, 3 and 4 processes, streamed and
resident, with 0, 1 and 3 loader workers, and killed at a random step. Needs shards/mnist (aedist shards build mnist).
The second: 50 exact steps of three micro-batches of any configuration, on 1, 2 and 3 processes.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

import torch

from processes import launch, run
from runs import assert_ledger_is_exact, losses, parameters, records, state_bytes

STEPS = [
    "batch.num_micro=6",
    "train.epochs=null",
    "train.steps=300",
    "train.checkpoint_every=1200",
    "track.wandb=disabled",
]
CONFIG = Path(__file__).parent.parent / "configs" / "mnist_ae.yaml"


def train(folder: Path, name: str, world: int, *words: str) -> Path:
    run(folder, world, "train", CONFIG, f"run.dir={folder / name}", *STEPS, *words)
    assert_ledger_is_exact(folder / name)
    return folder / name


def tell(what: str, result: object, holds: bool) -> None:
    print(f"{'holds' if holds else 'FAILS'}  {what}: {result}", flush=True)
    if not holds:
        sys.exit(1)


def prove(folder: Path, config: Path, *words: str) -> None:
    """Any model: every bit of its weights, optimiser, running statistics and moving average, and every record."""
    fifty = ["train.epochs=null", "train.steps=50", "train.reduce=exact", "batch.num_micro=3", "track.wandb=disabled"]
    runs = [folder / f"{config.stem}-on-{world}" for world in (1, 2, 3)]
    for world, directory in enumerate(runs, 1):
        started = time.monotonic()
        run(folder, world, "train", config, f"run.dir={directory}", *fifty, *words, patience_seconds=7200)
        print(f"{world} processes: {time.monotonic() - started:.0f} s", flush=True)
        assert_ledger_is_exact(directory)
        same = state_bytes(directory) == state_bytes(runs[0]) and records(directory) == records(runs[0])
        tell(f"{config.stem}, exact, {world} as 1", "every bit of the state and every record", same)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    if len(sys.argv) > 2:
        prove(folder, Path(sys.argv[2]), *sys.argv[3:])
        return
    exact = train(folder, "exact-1", 1, "train.reduce=exact")
    for world in (2, 3, 4):
        other = train(folder, f"exact-{world}", world, "train.reduce=exact")
        tell(
            f"exact, {world} processes as 1",
            "every bit of model and optimiser",
            state_bytes(other) == state_bytes(exact),
        )

    doubles = [parameters(train(folder, f"fp64-{w}", w, "train.precision=fp64")) for w in (1, 2, 3, 4)]
    for world, other in zip((2, 3, 4), doubles[1:], strict=True):
        difference = max(float((other[name] - tensor).abs().max()) for name, tensor in doubles[0].items())
        tell(f"fast in fp64, {world} processes as 1", f"parameters within {difference:.1e}", difference <= 1e-10)

    singles = [losses(train(folder, f"fp32-{w}", w)) for w in (1, 2, 3, 4)]
    for world, other in zip((2, 3, 4), singles[1:], strict=True):
        difference = max(abs(a - b) / a for a, b in zip(singles[0], other, strict=True))
        tell(
            f"fast in fp32, {world} processes as 1", f"losses within {difference:.1e} of each other", difference <= 1e-4
        )

    for workers in (0, 1, 3):
        words = ("train.reduce=exact", "data.mode=stream", f"data.workers={workers}")
        other = train(folder, f"stream-{workers}", 2, *words)
        tell(f"streamed by {workers} workers as resident", "every bit", state_bytes(other) == state_bytes(exact))

    words = (f"run.dir={folder / 'killed'}", *STEPS, "train.reduce=exact")
    launched = launch(folder, 2, "train", CONFIG, *words)
    while not list((folder / "killed" / "checkpoints").glob("step-*")):
        time.sleep(0.05)
    time.sleep(random.uniform(0, 2))
    victim = random.randrange(2)
    launched.processes[victim].kill()
    launched.wait()
    run(folder, 2, "train", CONFIG, *words)
    assert_ledger_is_exact(folder / "killed")
    tell(
        f"process {victim} killed with -9 and rerun", "every bit", state_bytes(folder / "killed") == state_bytes(exact)
    )
    print(f"torch {torch.__version__}, every ledger exact; the runs are in {folder}")


if __name__ == "__main__":
    main()
