"""The learning rate at points computed by hand, and an optimiser that does what the configuration says."""

from typing import Any

import pytest
import torch
from torch import nn

from aedist.config import Optim
from aedist.training.optimiser import learning_rate, make_optimizer, set_learning_rate


@pytest.mark.parametrize(
    ("settings", "images", "rate"),
    [
        ({}, 0, 0.2),
        ({}, 990, 0.2),
        ({"warmup_images": 40}, 0, 0.05),  # the first step of ten images is a quarter of the way
        ({"warmup_images": 40}, 10, 0.1),
        ({"warmup_images": 40}, 30, 0.2),
        ({"warmup_images": 40}, 40, 0.2),
        ({"warmup_images": 40}, 990, 0.2),
        ({"warmup_images": 45}, 30, 0.2 * 40 / 45),  # a rise that ends inside a step
        ({"warmup_images": 45}, 40, 0.2),
        ({"warmup_images": 5}, 0, 0.2),
        ({"schedule": "cosine"}, 0, 0.2),
        ({"schedule": "cosine"}, 250, 0.1 * (1 + 2**-0.5)),
        ({"schedule": "cosine"}, 500, 0.1),
        ({"schedule": "cosine"}, 750, 0.1 * (1 - 2**-0.5)),
        ({"schedule": "cosine"}, 1000, 0.0),
        ({"schedule": "cosine"}, 1500, 0.0),  # never up again
        ({"schedule": "cosine", "warmup_images": 200}, 100, 0.11),
        ({"schedule": "cosine", "warmup_images": 200}, 190, 0.2),
        ({"schedule": "cosine", "warmup_images": 200}, 200, 0.2),
        ({"schedule": "cosine", "warmup_images": 200}, 600, 0.1),
        ({"schedule": "step", "drop_every_images": 300}, 290, 0.2),
        ({"schedule": "step", "drop_every_images": 300}, 300, 0.02),
        ({"schedule": "step", "drop_every_images": 300, "drop_factor": 0.5}, 990, 0.025),
        ({"schedule": "step", "drop_every_images": 300, "warmup_images": 40}, 10, 0.1),
        ({"schedule": "cosine", "warmup_images": 1000}, 1000, 0.2),  # all rise, no fall: no division by zero
    ],
)
def test_the_learning_rate_of_a_run_of_1000_images_in_steps_of_10(
    settings: dict[str, Any], images: int, rate: float
) -> None:
    assert learning_rate(Optim(lr=0.2, **settings), images, 10, 1000) == pytest.approx(rate, abs=1e-15)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_one_step_is_the_step_of_the_published_rule(name: str) -> None:
    """Adam's first step worked out in Python: with bias correction the moments are g and g squared."""
    weight, gradient, decay = 3.0, 0.5, 0.1
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(model.weight, weight)
    optimizer = make_optimizer(Optim(name=name, lr=0.2, eps=0.01, betas=(0.8, 0.9), weight_decay=decay), model)  # pyright: ignore
    set_learning_rate(optimizer, 0.04)
    model.weight.grad = torch.full_like(model.weight, gradient)
    optimizer.step()
    if name == "adam":
        g = gradient + decay * weight
        expected = weight - 0.04 * g / (g + 0.01)
    else:
        expected = weight * (1 - 0.04 * decay) - 0.04 * gradient / (gradient + 0.01)
    assert model.weight.item() == pytest.approx(expected, rel=1e-12)


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    groups = make_optimizer(Optim(), model).param_groups
    assert [p.shape for group in groups for p in group["params"]] == [(2, 3), (2,)]
