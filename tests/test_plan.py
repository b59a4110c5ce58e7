"""The data plan: every sample of an epoch once, as a pure function that knows no machine."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aedist import keys
from aedist.config import Config
from aedist.configfile import parse_config
from aedist.data.plan import Plan, assigned, make_plan, rounds
from aedist.errors import UserError
from aedist.shards.index import Index, Shard


class Case(NamedTuple):
    """A plan, and an epoch of it."""

    plan: Plan
    epoch: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    counts = draw(st.lists(st.integers(1, 40), min_size=1, max_size=12))
    micro, num_micro = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    assume(micro * num_micro <= sum(counts))
    seed, block = draw(st.integers(0, 2**63 - 1)), draw(st.integers(1, len(counts)))
    return Case(Plan(tuple(counts), seed, micro, num_micro, block), draw(st.integers(0, 5)))


def blocks(plan: Plan, epoch: int) -> list[list[int]]:
    """The blocks of shards in the order of an epoch, each a list of the ids in it, spelled out from the rule."""
    first_ids = [sum(plan.samples_per_shard[:shard]) for shard in range(len(plan.samples_per_shard))]
    shards = keys.permutation(len(first_ids), 1, plan.seed, epoch).tolist()
    found: list[list[int]] = []
    for number, start in enumerate(range(0, len(shards), plan.shuffle_shards)):
        together = shards[start : start + plan.shuffle_shards]
        ids = [first_ids[shard] + i for shard in together for i in range(plan.samples_per_shard[shard])]
        order = keys.permutation(len(ids), 2, plan.seed, epoch, number).tolist()
        found.append([ids[place] for place in order])
    return found


def ids_of(plan: Plan, epoch: int) -> list[int]:
    return np.concatenate(list(plan.epoch_ids(epoch))).tolist()


def shard_of(plan: Plan, sample_id: int) -> int:
    return int(np.searchsorted(np.cumsum(plan.samples_per_shard), sample_id, side="right"))


@given(cases())
def test_an_epoch_holds_as_many_whole_steps_as_there_are_and_no_sample_twice(case: Case) -> None:
    plan, epoch = case
    total, step = sum(plan.samples_per_shard), plan.micro * plan.num_micro
    ids = ids_of(plan, epoch)
    assert len(ids) == len(set(ids)) == total // step * step == total - plan.left_over
    assert set(ids) <= set(range(total))
    assert plan.left_over < step


@given(cases())
def test_each_slot_reads_one_contiguous_stretch_of_the_order(case: Case) -> None:
    plan, epoch = case
    order = [sample for block in blocks(plan, epoch) for sample in block]
    first, length = epoch * plan.steps_per_epoch, plan.steps_per_epoch * plan.micro
    for slot in range(plan.num_micro):
        steps = range(first, first + plan.steps_per_epoch)
        read = np.concatenate([plan.sample_ids(step, slot) for step in steps]).tolist()
        assert read == order[slot * length : (slot + 1) * length]


@given(cases())
def test_shuffling_stays_within_a_block_of_consecutive_shards(case: Case) -> None:
    """The shards as they first appear in the order, so many at a time: each lot ends before the next begins."""
    plan, epoch = case
    counts, block = plan.samples_per_shard, plan.shuffle_shards
    shards = [shard_of(plan, i) for i in ids_of(Plan(counts, plan.seed, 1, 1, block), epoch)]
    appearing, place = list(dict.fromkeys(shards)), 0
    assert sorted(appearing) == list(range(len(counts)))
    for start in range(0, len(counts), block):
        lot = appearing[start : start + block]
        end = place + sum(counts[shard] for shard in lot)
        assert set(shards[place:end]) == set(lot)
        place = end


@given(cases(), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_sample_ids_is_a_pure_function(case: Case, random: Random) -> None:
    """Fresh plans, other orders of asking, and pickled copies give the same; what was asked before never matters."""
    plan, epoch = case
    last = (epoch + 2) * plan.steps_per_epoch
    places = [(step, slot) for step in range(last) for slot in range(plan.num_micro)]
    asked = random.sample(places, min(len(places), 60))
    copy = pickle.loads(pickle.dumps(plan))
    for step, slot in asked:
        fresh = Plan(plan.samples_per_shard, plan.seed, plan.micro, plan.num_micro, plan.shuffle_shards)
        expected = fresh.sample_ids(step, slot).tolist()
        assert plan.sample_ids(step, slot).tolist() == expected
        assert copy.sample_ids(step, slot).tolist() == expected
        assert plan.step_ids(step, [slot]).tolist() == [expected]


@given(cases(), st.data())
def test_processes_of_any_number_read_together_what_one_reads_alone(case: Case, data: st.DataObject) -> None:
    plan, epoch = case
    world = data.draw(st.integers(1, plan.num_micro))
    step = epoch * plan.steps_per_epoch
    read = {m: plan.step_ids(step, [m]).tolist() for r in range(world) for m in assigned(plan.num_micro, r, world)}
    assert [read[m] for m in range(plan.num_micro)] == [
        [ids] for ids in plan.step_ids(step, range(plan.num_micro)).tolist()
    ]


@given(st.integers(1, 64), st.data())
def test_assigned_deals_every_slot_to_one_process_and_evenly(num_micro: int, data: st.DataObject) -> None:
    world = data.draw(st.integers(1, num_micro))
    shares = [assigned(num_micro, rank, world) for rank in range(world)]
    assert sorted(slot for share in shares for slot in share) == list(range(num_micro))
    assert max(map(len, shares)) == rounds(num_micro, world)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("rank", [0, 4])
def test_more_processes_than_micro_batches_are_refused(rank: int) -> None:
    with pytest.raises(UserError, match=r"^batch\.num_micro: 4, but there are 5 processes.*start at most 4"):
        assigned(4, rank, 5)


def test_a_step_larger_than_the_data_is_refused() -> None:
    assert Plan((10, 3), 0, 13, 1, 1).steps_per_epoch == 1
    with pytest.raises(
        UserError, match=r"^batch\.micro x batch\.num_micro: 7 x 2 = 14 images .* has 13; make the step"
    ):
        Plan((10, 3), 0, 7, 2, 1)


def test_a_pinned_plan_never_drifts_between_versions() -> None:
    """Two epochs of 14 samples in four shards, as they were first written down."""
    plan = Plan((5, 2, 4, 3), seed=7, micro=2, num_micro=3, shuffle_shards=2)
    assert [plan.step_ids(step, range(3)).tolist() for step in range(4)] == [
        [[11, 5], [12, 7], [10, 2]],
        [[13, 6], [9, 1], [3, 8]],
        [[11, 13], [4, 1], [5, 10]],
        [[2, 12], [3, 0], [6, 9]],
    ]


def test_the_left_over_samples_are_others_in_every_epoch_and_all_equally_often() -> None:
    plan = Plan((10,) * 10, seed=3, micro=4, num_micro=3, shuffle_shards=10)
    left = [frozenset(range(100)) - set(ids_of(plan, epoch)) for epoch in range(300)]
    assert {len(ids) for ids in left} == {4}
    assert len(set(left)) == 300
    counts = np.bincount([i for ids in left for i in ids], minlength=100)
    assert ((counts - 12) ** 2 / 12).sum() < 150  # 99 degrees of freedom: mean 96, standard deviation 14


def test_the_left_over_samples_change_with_the_epoch_even_in_the_smallest_blocks() -> None:
    plan = Plan((10,) * 10, seed=3, micro=4, num_micro=3, shuffle_shards=1)
    left = [frozenset(range(100)) - set(ids_of(plan, epoch)) for epoch in range(300)]
    assert len(set(left)) > 260  # of 10 x 210 possible sets, 300 draws hit 280 different ones on average
    assert len({shard_of(plan, i) for ids in left for i in ids}) == 10


def test_seeds_and_epochs_give_other_orders() -> None:
    orders = {tuple(ids_of(Plan((9, 11), seed, 2, 2, 2), epoch)) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


@pytest.mark.parametrize("block", [1, 2, 4])
def test_a_slot_touches_few_shards_when_blocks_are_small(block: int) -> None:
    """64 shards of 10 for 8 slots: eight shards' worth each, and a block more at either end at most."""
    plan = Plan((10,) * 64, seed=0, micro=2, num_micro=8, shuffle_shards=block)
    for epoch in range(3):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        for slot in range(8):
            touched = {shard_of(plan, i) for step in steps for i in plan.sample_ids(step, slot).tolist()}
            assert 8 <= len(touched) <= 8 + 2 * (block - 1)


@pytest.fixture
def permuted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of every permutation that is computed from now on."""
    sizes: list[int] = []
    permutation = keys.permutation

    def counted(size: int, *parts: int) -> np.ndarray:
        sizes.append(size)
        return permutation(size, *parts)

    monkeypatch.setattr(keys, "permutation", counted)
    return sizes


def test_step_ten_million_costs_what_step_ten_costs(permuted: list[int]) -> None:
    """The shards' order and one block of shards, whatever the step; nothing is skipped through."""
    for step in (10, 10_000_000):
        permuted.clear()
        plan = Plan((50,) * 200, seed=1, micro=5, num_micro=4, shuffle_shards=4)
        assert plan.epoch_of(step) == step // 500
        plan.sample_ids(step, 2)
        assert permuted == [200, 4 * 50], f"step {step}"


def test_a_run_permutes_each_block_hardly_more_than_once_an_epoch(permuted: list[int]) -> None:
    """However many slots read side by side: 64 blocks for 16 slots, and one more where two slots share a block."""
    plan = Plan((7,) * 64, seed=1, micro=2, num_micro=16, shuffle_shards=1)
    assert len(ids_of(plan, 0)) == 448
    assert len(permuted) <= 1 + 64 + 16


def _index(counts: Sequence[int]) -> Index:
    shards = tuple(Shard(f"{n}.tar", count, 1, "0" * 64, (0,)) for n, count in enumerate(counts))
    return Index("many", "train", (1, 1, 1), ("0",), shards)


def _config(**data: object) -> Config:
    return parse_config(
        {"data": {"shards": "s", **data}, "model": {"kind": "mlp"}, "run": {"seed": 5}, "batch": {"micro": 3}}, "here"
    )


@pytest.mark.parametrize(
    ("counts", "given", "block"),
    [
        ((100,) * 12, None, 12),
        ((250_000,) * 8, None, 8),
        ((250_000,) * 8 + (1,), None, 8),
        ((100_000,) * 100, None, 8),
        ((100,) * 12, 5, 5),
        ((100,) * 12, 50, 12),
    ],
    ids=["small", "two million", "above two million", "large", "given", "more than there are"],
)
def test_the_block_follows_from_the_data_alone(counts: tuple[int, ...], given: int | None, block: int) -> None:
    plan = make_plan(_config(shuffle_shards=given), _index(counts))
    assert plan == Plan(counts, 5, 3, 1, block)


def test_the_plan_of_a_configuration_does_not_depend_on_placement(tmp_path: Path) -> None:
    index = _index((9, 4, 20))
    plans = [make_plan(_config(workers=w, mode=m), index) for w in (0, 3) for m in ("stream", "resident")]
    assert all(ids_of(plan, 1) == ids_of(plans[0], 1) for plan in plans)
