"""The noise of a micro-batch is named by seed, step and slot, whoever draws it and in whatever company."""

import os
import subprocess
import sys

import pytest
import torch

from aedist.models import get_model
from aedist.noise import keyed_normal
from aedist.training.noise import make_noise

CPU = torch.device("cpu")


def vae_noise(seed: int, dtype: torch.dtype = torch.float32):
    model = get_model("vae", image_shape=(16, 16, 1), latent_dim=7, hidden_dim=5)
    return make_noise(model, seed, 4, CPU, dtype)


def test_slots_drawn_together_are_the_slots_drawn_one_by_one() -> None:
    noise = vae_noise(3)
    together = noise(5, (0, 2, 4))
    assert together is not None
    assert together.shape == (12, 7)
    for place, slot in enumerate((0, 2, 4)):
        assert torch.equal(noise(5, (slot,)), together[4 * place : 4 * place + 4])  # type: ignore[arg-type]


def test_seed_step_and_slot_each_give_other_numbers_and_the_same_key_the_same() -> None:
    named = [vae_noise(seed)(step, (slot,)) for seed in (0, 1) for step in (0, 1) for slot in (0, 1)]
    assert all(not torch.equal(a, b) for i, a in enumerate(named) for b in named[:i])  # type: ignore[arg-type]
    assert torch.equal(vae_noise(1)(1, (1,)), named[-1])  # type: ignore[arg-type]


@pytest.mark.parametrize("capability", ["default", "avx2"])
def test_a_cpu_with_other_instructions_draws_the_same(capability: str) -> None:
    """torch is told by its environment to do without the instructions that this CPU has."""
    code = "from aedist.noise import keyed_normal as draw; print(draw((4, 100), 2, 0).numpy().tobytes().hex())"
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == keyed_normal((4, 100), 2, 0).numpy().tobytes().hex()


def test_it_is_standard_normal() -> None:
    many = keyed_normal((200_000,), 2, 0)
    assert abs(float(many.mean())) < 0.01
    assert abs(float(many.std()) - 1) < 0.01
    assert abs(float((many**4).mean()) - 3) < 0.06


def test_double_precision_is_the_same_noise() -> None:
    single, double = vae_noise(0)(0, (0,)), vae_noise(0, torch.float64)(0, (0,))
    assert double is not None
    assert double.dtype == torch.float64
    assert torch.equal(double.float(), single)  # type: ignore[arg-type]


def test_a_deterministic_model_gets_none() -> None:
    assert make_noise(get_model("mlp"), 0, 4, CPU, torch.float32)(0, (0,)) is None
