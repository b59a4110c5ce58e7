"""Checkpoints with contents that a step names, for tests of how they are written, read and damaged."""

from pathlib import Path

import torch

from aedist.checkpoint import load_checkpoint, save_checkpoint, step_of

NUMBERS = {"progress": {"step": 8, "best_value": 0.1 + 0.2, "best_step": None, "epoch_sums": {"squared_error": 1 / 3}}}
FILES = ("manifest.json", "state.json", "model.safetensors", "optimizer.safetensors")


def tensors(step: int) -> dict[str, dict[str, torch.Tensor]]:
    """Tensors of several types that a step names, a NaN, a negative zero and a scalar among them."""
    generator = torch.Generator().manual_seed(step)
    weights = torch.randn(7, 5, generator=generator)
    weights[0, :2] = torch.tensor([float("nan"), -0.0])
    return {
        "model": {"weight": weights, "bias": weights[1].bfloat16(), "wide": weights[2].double()},
        "optimizer": {"weight.step": torch.tensor(float(step)), "count": torch.arange(step)},
    }


def save(folder: Path, step: int) -> Path:
    return save_checkpoint(folder, step, tensors(step), {**NUMBERS, "progress": {**NUMBERS["progress"], "step": step}})


def bits(tensor: torch.Tensor) -> tuple[torch.dtype, tuple[int, ...], bytes]:
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def assert_is_as_saved(place: Path) -> None:
    found, numbers = load_checkpoint(place)
    assert numbers["progress"]["step"] == step_of(place)
    assert numbers["progress"]["best_value"] == 0.1 + 0.2
    expected = tensors(step_of(place))
    assert {group: set(named) for group, named in found.items()} == {g: set(named) for g, named in expected.items()}
    for group, named in expected.items():
        for name, tensor in named.items():
            assert bits(found[group][name]) == bits(tensor), (group, name)
