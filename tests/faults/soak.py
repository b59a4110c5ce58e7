"""Kill a small run again and again, at random moments, and see that nothing of it is lost.

    python tests/faults/soak.py --kills 200

A run under the exact reduction is started on one, two or three processes, two at first; after a random time, now
while it starts, now in a step, a save or an evaluation, a random rank, all of them or the launcher is killed with
SIGKILL; it is started again on another number of processes, until all kills are done. Then it may finish. It must end
with an exact ledger, and with the parameters and the records of a run that nobody disturbed, bit for bit.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from aedist.verify import verify_run
from processes import UnderAgent, launch_under_agent, run
from runs import assert_ledger_is_exact, last_checkpoint, records, state_bytes
from samples import write_config, write_split

EPOCHS_MORE = 50
"""By so many the run is made longer whenever it would end before it was killed often enough."""
LONGEST_SECONDS = 1.0
"""So long after its first record a start is killed at the latest; some are killed before there is one."""


def soak(folder: Path, kills: int, seed: int, say: Callable[[str], None] = print) -> None:
    """Disturb a run so often; fail if anything of it differs from an undisturbed one."""
    rng = random.Random(seed)
    shards = folder / "blobs"
    write_split(shards / "train", (10, 3, 25, 7, 1, 14, 40), seed=1)
    write_split(shards / "test", (20, 3), seed=2)
    train: dict[str, object] = {"reduce": "exact", "checkpoint_every": 36, "log_every": 12, "evaluate_every": 60}
    config = write_config(folder / "c.yaml", shards, folder / "run", train=train)
    epochs, done, world = EPOCHS_MORE, 0, 2
    while done < kills:
        words = [f"train.epochs={epochs}", *rng.choice([[], ["data.workers=1", "data.mode=stream"]])]
        launched = launch_under_agent(folder, world, "train", config, *words)
        wait_until_it_moves_or_so(launched, folder / "run", rng)
        victims = rng.choice(["launcher", "all", f"rank {rng.randrange(world)}"])
        if not kill(launched, victims):
            epochs += EPOCHS_MORE
        else:
            done += 1
            say(f"{done} of {kills}: killed {victims} of {world} at step {newest_step(folder / 'run')} or later")
        launched.wait(30.0)
        launched.agent.join(30.0)
        launched.close()
        world = rng.choice([1, 2, 3])
    run(folder, 2, "train", config, f"train.epochs={epochs}")
    whole = write_config(folder / "whole.yaml", shards, folder / "whole", train=train | {"epochs": epochs})
    run(folder, 1, "train", whole)
    assert_ledger_is_exact(folder / "run")
    assert state_bytes(folder / "run") == state_bytes(folder / "whole"), "parameters or moments differ"
    assert records(folder / "run") == records(folder / "whole"), "records differ"
    assert verify_run(folder / "run").verdict == "proven"


def wait_until_it_moves_or_so(launched: UnderAgent, directory: Path, rng: random.Random) -> None:
    """Wait for a random time: mostly counted from the first new record, one time in five from the start."""
    metrics = directory / "metrics.jsonl"
    size = metrics.stat().st_size if metrics.exists() else 0
    if rng.random() > 0.2:
        end = time.monotonic() + 60
        while time.monotonic() < end and launched.agent.is_alive():
            if metrics.exists() and metrics.stat().st_size > size:
                break
            time.sleep(0.005)
    time.sleep(rng.uniform(0.0, LONGEST_SECONDS))


def kill(launched: UnderAgent, victims: str) -> bool:
    """Kill; False if the run had ended by itself."""
    if not launched.agent.is_alive():
        return False
    if victims == "launcher":
        launched.agent.kill()
        return True
    ranks = range(len(launched.pids)) if victims == "all" else [int(victims.removeprefix("rank "))]
    try:
        for rank in ranks:
            signal.pidfd_send_signal(launched.pidfds[rank], signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def newest_step(directory: Path) -> int:
    """The step of the newest checkpoint; 0 if there is none."""
    try:
        return int(last_checkpoint(directory).name.removeprefix("step-"))
    except ValueError:
        return 0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    with tempfile.TemporaryDirectory() as folder:
        since = time.monotonic()
        soak(Path(folder), arguments.kills, arguments.seed)
    print(f"{arguments.kills} kills in {time.monotonic() - since:.0f} s: ledger, parameters and records are exact")


if __name__ == "__main__":
    main()
