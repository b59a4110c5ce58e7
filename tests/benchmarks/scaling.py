"""Processes 1 to 4 on this machine, one thread each: images a second, and how many times those of one process.

Strong: the same step, shared by more. Weak: each process brings as much as one alone has. All processes are started
once, and take turns as worlds of 1, 2, 3 and 4, so that every repeat measures all of them under the same conditions.
What the machine itself allows is told by processes that know nothing of one another and train at the same time.
"""

import os
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from statistics import median

import torch
import torch.multiprocessing as mp
from material import Material
from measuring import spread
from ours import configure, parts_of
from tables import Table
from training import resident

WORLDS = (1, 2, 3, 4)
_SHARED_MICRO = 12
"""Micro-batches of a strong step: 1, 2, 3 and 4 processes share them evenly."""
_MICRO = 16


@dataclass(frozen=True)
class World:
    """Processes that make one world, each waiting to be told what to train."""

    processes: Sequence[SpawnProcess]
    ends: Sequence[Connection]

    def start(self, num_micro: int, steps: int) -> None:
        """Have all train, with so many micro-batches in each of so many steps."""
        for end in self.ends:
            end.send((num_micro, steps))

    def images_per_second(self) -> float:
        """What rank zero measured, when all are done."""
        return next(float(end.recv()) for end in self.ends)

    def end(self) -> None:
        """Send them away."""
        for end in self.ends:
            end.send(None)
        for process in self.processes:
            process.join(30)


def tables(photos: Material, repeats: int, *, small: bool) -> list[Table]:
    """Strong and weak scaling, and what the machine allows."""
    strong_steps, weak_steps = (1, 1) if small else (6, 20)
    worlds = {world: _world(photos, world) for world in WORLDS}
    others = [_world(photos, 1) for _ in range(max(WORLDS) - 1)]
    strong: dict[int, list[float]] = {world: [] for world in WORLDS}
    weak: dict[int, list[float]] = {world: [] for world in WORLDS}
    apart: dict[int, list[float]] = {world: [] for world in WORLDS}
    share = _SHARED_MICRO // max(WORLDS)
    for repeat in range(repeats + 1):  # the first is a warm-up
        for world in WORLDS:
            lone = [worlds[1], *others][:world]
            found = [
                (strong, _run([worlds[world]], _SHARED_MICRO, strong_steps)),
                (weak, _run([worlds[world]], share * world, weak_steps // world)),
                (apart, _run(lone, share, weak_steps // world)),
            ]
            for kind, value in found if repeat else []:
                kind[world].append(value)
    for one in (*worlds.values(), *others):
        one.end()
    cores = len(os.sched_getaffinity(0))
    rows = [[str(world), *(cell for kind in (strong, weak, apart) for cell in _cells(kind, world))] for world in WORLDS]
    return [
        Table(
            "conv AE, width 16, latent 128, fp32, reduce: fast, over gloo",
            [
                "processes",
                "strong, images/s",
                "times one",
                "weak, images/s",
                "times one",
                "apart, images/s",
                "times one",
            ],
            rows,
            f"Micro-batches of {_MICRO}; strong: {_SHARED_MICRO} a step; weak: {share} a step and process. Apart: as "
            f"many processes without any sums. The machine has {cores} cores: beyond them nothing can be gained, and "
            f"nothing should be lost.",
        )
    ]


def _cells(kind: dict[int, list[float]], world: int) -> list[str]:
    ratios = [here / one for here, one in zip(kind[world], kind[1], strict=True)]
    return [spread(kind[world], 0), spread(ratios) if world > 1 else "1"]


def _run(worlds: Sequence[World], num_micro: int, steps: int) -> float:
    for world in worlds:
        world.start(num_micro, max(1, steps))
    found = [world.images_per_second() for world in worlds]
    return median(found) * len(found)


def _world(photos: Material, world: int) -> World:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context, processes, ends = mp.get_context("spawn"), list[SpawnProcess](), list[Connection]()
    for rank in range(world):
        here, there = context.Pipe()
        process = context.Process(target=_member, args=(photos, rank, world, port, there), daemon=True)
        process.start()
        processes.append(process)
        ends.append(here)
    return World(processes, ends)


def _member(photos: Material, rank: int, world: int, port: int, end: Connection) -> None:
    """One process: take the place that a launcher would give, and train what is asked for, until it is enough."""
    from aedist.asked import Asked
    from aedist.data.plan import assigned, make_plan
    from aedist.data.resident import gather
    from aedist.place import take_place
    from aedist.training.loop import train

    if world > 1:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in names.items()}
    asked = Asked(rank, world, world, rank, meets_at="127.0.0.1")
    place, images = take_place(asked, threads=1), resident(photos)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        while (job := end.recv()) is not None:
            num_micro, steps = job
            config = configure(
                data={"shards": str(photos.shards), "workers": 0},
                batch={"micro": _MICRO, "num_micro": num_micro},
                model={"kind": "conv", "width": 16, "latent_dim": 128},
                train={"steps": steps + 1, "threads": 1},
                evaluate={"split": "train"},
            )
            plan = make_plan(config, photos.split.index)
            batches = gather(images, plan, assigned(num_micro, rank, world), 0, steps + 1)
            parts = parts_of(config, photos.split, place, _clocked(batches), Path(folder))
            train(parts)
            end.send(steps * plan.images_per_step / (time.perf_counter() - _second_step[0]))
    place.leave()


_second_step = [0.0]


def _clocked(batches):
    """The batches; when the second is asked for, the clock begins: the first step is DDP's making of its buckets."""
    for number, batch in enumerate(batches):
        if number == 1:
            _second_step[0] = time.perf_counter()
        yield batch
