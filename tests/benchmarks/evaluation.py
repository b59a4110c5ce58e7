"""What a full evaluation costs, on one process and on two: seconds by part, memory, and whether the results are equal.

    python tests/benchmarks/evaluation.py runs/demo [evaluate.fid_images=1000 ...]

The networks should take nearly all of the time, and two processes little more than half of one's. Both are told; a
difference in a single byte of the results is an error.
"""

import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NETWORKS = ("Inception", "LPIPS", "model", "decoding samples")
WORLDS = (1, 2)


def main() -> None:
    run, words = Path(sys.argv[1]), sys.argv[2:]
    costs, results, walls = list[dict[str, Any]](), set[bytes](), list[float]()
    for world in WORLDS:
        begun = time.perf_counter()
        launch(world, run, words)
        walls.append(time.perf_counter() - begun)
        costs.append(json.loads((run / "evaluation" / "costs.json").read_text()))
        results.add((run / "evaluation" / "comprehensive_evaluation.json").read_bytes())
    record = json.loads(results.copy().pop())
    print(f"\n{record['data']['num_images']:,} images of {record['data']['name']}/{record['data']['split']}")
    for name, block in record["distributions"].items():
        print(f"  {name}: {block['num_images']:,} compared")
    print(f"{platform.processor() or platform.machine()}, {costs[0]['device']}, versions {costs[0]['versions']}\n")
    print(f"| seconds of rank zero | {' | '.join(f'{world} process(es)' for world in WORLDS)} |")
    print(f"| --- |{' ---: |' * len(WORLDS)}")
    parts = dict.fromkeys(part for one in costs for part in one["seconds"])
    for part in sorted(parts, key=lambda part: -costs[0]["seconds"].get(part, 0)):
        print(f"| {part} | {' | '.join(format(one['seconds'].get(part, 0), '.2f') for one in costs)} |")
    print(f"| all of the evaluation | {' | '.join(format(one['seconds_in_all'], '.2f') for one in costs)} |")
    print(f"| with the start of Python | {' | '.join(format(wall, '.2f') for wall in walls)} |")
    print(f"| peak memory, MB | {' | '.join(format(one['peak_host_bytes'] / 1e6, ',.0f') for one in costs)} |")
    alone, two = (one["seconds_in_all"] for one in costs)
    share = sum(costs[0]["seconds"].get(part, 0) for part in NETWORKS) / alone
    print(f"\nnetworks: {share:.1%} of one process's time; two processes take {two / alone:.2f} of one's")
    if len(results) != 1:
        sys.exit("the results differ")
    print("the results are equal, byte for byte")


def launch(world: int, run: Path, words: list[str]) -> None:
    command = [sys.executable, "-m", "aedist", "evaluate", str(run), *words]
    if world > 1:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)]
        command = [sys.executable, *torchrun, "-m", "aedist", "evaluate", str(run), *words]
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            output.seek(0)
            sys.exit(output.read().decode(errors="replace"))


if __name__ == "__main__":
    main()
