"""Checkpoints are whole or absent: what was saved comes back, the last few and the best stay.

What happens to them under kills, full disks, damage and forgery is in faults/test_checkpoints.py.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from aedist import checkpoint
from aedist.checkpoint import (
    check_bytes,
    checkpoints,
    keep,
    load_checkpoint,
    name_of,
    newest_sound,
    read_numbers,
    save_checkpoint,
    step_of,
)
from aedist.errors import UserError
from aedist.training.state import Progress, TrainState
from saved import FILES, assert_is_as_saved, bits, save


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Checkpoints of steps 8 and 16."""
    save(tmp_path, 8)
    save(tmp_path, 16)
    return tmp_path


def silent(line: str) -> None:
    pytest.fail(f"nothing is wrong, but was told: {line}")


def test_what_is_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    place = save(tmp_path / "new" / "folder", 8)
    assert place == tmp_path / "new" / "folder" / "step-000000008"
    assert sorted(path.name for path in place.iterdir()) == sorted(FILES)
    assert_is_as_saved(place)
    assert newest_sound(place.parent, silent) == place
    assert check_bytes(place) == sum((place / name).stat().st_size for name in FILES[1:])
    assert read_numbers(place) == load_checkpoint(place)[1]


def test_no_checkpoints_are_none(tmp_path: Path) -> None:
    assert newest_sound(tmp_path / "nowhere", silent) is None
    assert checkpoints(tmp_path / "nowhere") == []


def test_checkpoints_are_in_the_order_of_steps_whatever_else_lies_there(tmp_path: Path) -> None:
    for step in (999_999_999, 1_000_000_000, 7):
        (tmp_path / name_of(step)).mkdir()
    (tmp_path / "step-of-somebody").mkdir()
    (tmp_path / name_of(8)).write_text("a file")
    assert [step_of(place) for place in checkpoints(tmp_path)] == [7, 999_999_999, 1_000_000_000]


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_a_restored_optimiser_goes_on_bit_for_bit(tmp_path: Path, name: str) -> None:
    """Also where a parameter is frozen, and so has no moments."""

    def fresh(seed: int) -> TrainState:
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
        model[0].bias.requires_grad_(False)
        cls = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return TrainState(model, cls(trained, lr=0.01, weight_decay=0.1, fused=True), None, Progress())

    def go_on(state: TrainState, steps: int) -> None:
        for _ in range(steps):
            x = torch.randn(4, 6, generator=torch.Generator().manual_seed(state.progress.step))
            state.model(x).square().mean().backward()
            state.optimizer.step()
            state.optimizer.zero_grad()
            state.progress.step += 1

    straight = fresh(0)
    go_on(straight, 3)
    straight.progress.epoch_sums["squared_error"] = 1 / 3
    place = save_checkpoint(tmp_path, 3, straight.tensors(), straight.numbers())
    go_on(straight, 4)
    resumed = fresh(1)
    go_on(resumed, 1)
    resumed.restore(*load_checkpoint(place))
    assert (resumed.progress.step, resumed.progress.epoch_sums) == (3, {"squared_error": 1 / 3})
    go_on(resumed, 4)
    assert resumed.tensors().keys() == {"model", "optimizer"}
    for group, named in straight.tensors().items():
        for key, tensor in named.items():
            assert bits(resumed.tensors()[group][key]) == bits(tensor), key


def steps(folder: Path) -> list[int]:
    return [step_of(place) for place in checkpoints(folder)]


def test_the_last_few_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in (8, 16, 24, 32, 40):
        save(tmp_path, step)
    keep(tmp_path, 2, best_step=16)
    assert steps(tmp_path) == [16, 32, 40]
    keep(tmp_path, 2, best_step=40)
    assert steps(tmp_path) == [32, 40]
    keep(tmp_path, 1, best_step=None)
    assert steps(tmp_path) == [40]
    assert_is_as_saved(tmp_path / name_of(40))


def test_an_unsound_later_checkpoint_never_outlives_a_sound_one(two: Path) -> None:
    """A run that fell back to step 8 saves step 12: were step 16 still there, it would count as the last kept."""
    (two / name_of(16) / "model.safetensors").write_bytes(b"")
    save(two, 12)
    keep(two, 1, best_step=None)
    assert steps(two) == [12]
    assert_is_as_saved(two / name_of(12))


def test_saving_over_an_unsound_checkpoint_of_the_same_step(two: Path) -> None:
    (two / name_of(16) / "model.safetensors").write_bytes(b"")
    save(two, 16)
    assert newest_sound(two, silent) == two / name_of(16)
    assert_is_as_saved(two / name_of(16))


def test_left_overs_make_room_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (".partial-step-000000004", ".doomed-step-000000003"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"x")
    (tmp_path / ".doomed-step-000000002").symlink_to(tmp_path / "nowhere")
    there = list[list[str]]()
    write: Callable[..., object] = checkpoint._write_durably

    def look_and_write(*what: object) -> object:
        there.append(sorted(entry.name for entry in tmp_path.iterdir()))
        return write(*what)

    monkeypatch.setattr(checkpoint, "_write_durably", look_and_write)
    save(tmp_path, 8)
    assert there[0] == [".partial-step-000000008"]


def test_tensors_of_any_shape_and_type_are_read_by_the_library(tmp_path: Path) -> None:
    """The file is written here, piece by piece, and read by safetensors."""
    types = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.int16]
    shapes = [(), (0,), (3,), (2, 0, 3), (5, 1), (2**21 + 3,)]
    tensors = {
        f"{kind}{list(shape)}": torch.full(shape, 1.5).to(kind)
        for kind in [*types, torch.int8, torch.uint8, torch.bool]
        for shape in (shapes if kind == torch.float32 else shapes[:-1])
    }
    found = load_checkpoint(save_checkpoint(tmp_path, 8, {"model": tensors}, {}))[0]["model"]
    assert {name: bits(tensor) for name, tensor in found.items()} == {n: bits(t) for n, t in tensors.items()}


def test_a_type_that_the_file_cannot_hold_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"phase: is of type torch\.complex64, which a checkpoint cannot hold"):
        save_checkpoint(tmp_path, 8, {"model": {"phase": torch.zeros(2, dtype=torch.complex64)}}, {})
    assert list(tmp_path.iterdir()) == []


def a_state() -> TrainState:
    model = nn.Linear(3, 2)
    model(torch.ones(1, 3)).sum().backward()
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.step()
    return TrainState(model, optimizer, None, Progress(step=3))


def test_what_is_saved_is_a_copy_that_training_does_not_touch() -> None:
    state = a_state()
    tensors, numbers = state.tensors(), state.numbers()
    before = {(group, name): bits(tensor) for group, named in tensors.items() for name, tensor in named.items()}
    state.optimizer.step()
    state.progress.step += 1
    state.progress.epoch_sums["mse"] = 3.0
    for tensor in state.model.state_dict().values():
        tensor.zero_()
    assert {(g, n): bits(tensor) for g, named in tensors.items() for n, tensor in named.items()} == before
    assert numbers["progress"] == {**numbers["progress"], "step": 3, "epoch_sums": {}}


@pytest.mark.parametrize(
    "change",
    [
        {"step": "3"},
        {"step": -1},
        {"step": True},
        {"best_value": "low"},
        {"epoch_sums": []},
        {"metrics": {"mse": "0"}},
        {"unheard": 1},
    ],
)
def test_progress_of_other_types_is_refused_where_it_is_read(change: dict[str, object]) -> None:
    state = a_state()
    numbers = state.numbers()
    numbers["progress"].update(change)
    with pytest.raises(TypeError):
        state.restore(state.tensors(), numbers)


def test_moments_of_another_shape_are_refused() -> None:
    state = a_state()
    tensors = state.tensors()
    tensors["optimizer"]["weight.exp_avg"] = torch.zeros(2, 2)
    with pytest.raises(RuntimeError, match=r"weight\.exp_avg has shape \[2, 2\], not \[2, 3\]"):
        state.restore(tensors, state.numbers())
