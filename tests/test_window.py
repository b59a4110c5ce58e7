"""The window's table is whole on every process, its means skip what is not finite, its times leave out what is not
training."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from aedist.place import Place
from aedist.training.window import Drained, Window

STEPS, NUM_MICRO, TERMS = 4, 5, 2


class Fellows:
    """What a window needs of its place: the tables of the other processes, added to its own."""

    device = torch.device("cpu")

    def __init__(self, others: list[Tensor], rank: int = 0, world: int = 1) -> None:
        self.others, self.own, self.rank, self.world = others, torch.empty(0), rank, world

    def add_on_hosts(self, tensor: Tensor) -> None:
        self.own = tensor.clone()
        for other in self.others:
            tensor += other


def value(step: int, slot: int) -> Tensor:
    """Terms whose sum depends on the order of adding, so that only a whole table is the same."""
    return torch.tensor([1 / (3 + step * NUM_MICRO + slot), 1e10 / (1 + slot)])


def fill(place: Fellows, rank: int, world: int) -> Window:
    window = Window(cast(Place, place), STEPS, NUM_MICRO, TERMS)
    for step in range(STEPS):
        for slot in range(rank, NUM_MICRO, world):
            window.add_terms([slot], value(step, slot)[None])
        window.end_step(0.0)
    return window


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_every_process_drains_the_same_whole_table(world: int) -> None:
    lone = [Fellows([], rank, world) for rank in range(world)]
    for rank, place in enumerate(lone):
        fill(place, rank, world).drain()
    for rank in range(world):
        others = [place.own for number, place in enumerate(lone) if number != rank]
        drained = fill(Fellows(others, rank, world), rank, world).drain()
        ran = [one.micro_batches for one in drained.processes]
        assert ran == [STEPS * len(range(rank, NUM_MICRO, world)) for rank in range(world)]
        assert all(one.memory_bytes > 2**20 and one.seconds > 0 for one in drained.processes)
        for step in range(STEPS):
            for slot in range(NUM_MICRO):
                assert drained.terms[step, slot].tolist() == value(step, slot).double().tolist()


def test_a_drained_window_is_empty_and_holds_only_the_steps_that_were(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Fellows([])
    window = fill(place, 0, 1)
    window.drain()
    window.add_terms([2], torch.tensor([[7.0, 8.0]]))
    window.end_step(0.0)
    drained = window.drain()
    expected = np.zeros((1, NUM_MICRO, TERMS))
    expected[0, 2] = 7, 8
    np.testing.assert_array_equal(drained.terms, expected)
    assert window.steps == 0
    assert drained.terms.base is None or not np.shares_memory(drained.terms, window.drain().terms)


def test_steps_with_a_number_that_is_not_finite_are_named_and_left_out() -> None:
    terms = np.ones((4, 3, 2))
    terms[1, 2, 0], terms[3, 0, 1], terms[3, 1, 1] = np.nan, np.inf, -np.inf
    drained = Drained(terms, (), ())
    assert drained.bad() == [(1, 2, 0), (3, 0, 1), (3, 1, 1)]
    np.testing.assert_array_equal(drained.good, np.ones((2, 3, 2)))


def test_times_count_steps_and_waiting_but_not_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    fake: Any = SimpleNamespace(monotonic=lambda: clock.now)
    monkeypatch.setattr("aedist.training.window.time", fake)
    window = Window(cast(Place, Fellows([])), STEPS, NUM_MICRO, TERMS)
    for _ in range(2):
        clock.now += 3.0
        window.end_step(1.25)
    first = window.drain()
    assert (first.processes[0].seconds, first.processes[0].waited_seconds) == (6.0, 2.5)
    clock.now += 50.0
    window.away(50.0)
    clock.now += 2.0
    window.end_step(0.5)
    second = window.drain()
    assert (second.processes[0].seconds, second.processes[0].waited_seconds) == (2.0, 0.5)
