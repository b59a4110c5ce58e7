"""Does the model of `aedist plan` hold for a network that is here: gloo among processes of this machine.

    python tests/benchmarks/network.py [PROCESSES]

Start (alpha) and bandwidth (beta) are fitted to the sums of two sizes, and a third, between them, is predicted and
then measured. What it prints may be given to `aedist plan --set`.
"""

import sys
import time
from dataclasses import replace
from statistics import median

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from aedist.planning.constants import Constants
from aedist.planning.network import Machines, all_reduce_seconds

SMALL, BETWEEN, LARGE = 2**12, 2**22, 2**26  # bytes
TIMES = 15


def main() -> None:
    world = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    results = mp.get_context("spawn").SimpleQueue()
    mp.spawn(measure, (world, results), nprocs=world)
    measured: dict[int, float] = results.get()
    machines = Machines(1, world, has_gpus=False)
    sends, moved = 2 * (world - 1), 2 * (world - 1) / world
    bandwidth = moved * (LARGE - SMALL) / (measured[LARGE] - measured[SMALL])
    start = (measured[SMALL] - moved * SMALL / bandwidth) / sends
    fitted = replace(Constants(), gloo_start_us=start * 1e6, gloo_gbytes=bandwidth / 1e9)
    print(f"{world} processes, gloo: gloo_start_us={fitted.gloo_start_us:.0f} gloo_gbytes={fitted.gloo_gbytes:.2f}")
    for size, role in ((SMALL, "fitted"), (LARGE, "fitted"), (BETWEEN, "predicted")):
        predicted = all_reduce_seconds(size, machines, fitted)
        print(
            f"{size:>11,} bytes: {role} {predicted * 1e6:>9,.0f} us, measured {measured[size] * 1e6:>9,.0f} us, "
            f"{predicted / measured[size] - 1:+.0%}"
        )


def measure(rank: int, world: int, results: "mp.SimpleQueue[dict[int, float]]") -> None:
    """The median time of sums of each size, in seconds, told by rank zero."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="tcp://127.0.0.1:29531", rank=rank, world_size=world)
    found = dict[int, float]()
    for size in (SMALL, BETWEEN, LARGE):
        tensor, seconds = torch.zeros(size // 4), list[float]()
        for _ in range(TIMES + 3):
            dist.barrier()
            begun = time.perf_counter()
            dist.all_reduce(tensor)
            seconds.append(time.perf_counter() - begun)
        found[size] = median(seconds[3:])
    if rank == 0:
        results.put(found)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
