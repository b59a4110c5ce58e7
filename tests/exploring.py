"""Small trained runs on paired faces, for the tests of what encodings are used for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from paired import write_pairs
from processes import run
from samples import write_config

MLP = {"kind": "mlp", "hidden_dim": 48, "latent_dim": 12}
SMALL = {"kind": "residual", "latent_dim": 3, "patch": 2, "channels": [8, 16]}
VARIATIONAL = {**SMALL, "latent": "vector", "posterior": "gaussian"}


def write_faces(folder: Path) -> Path:
    """160 training images and 60 test images, in pairs."""
    write_pairs(folder / "train", 80, seed=1)
    write_pairs(folder / "test", 30, seed=2)
    return folder


def train(folder: Path, shards: Path, model: dict[str, Any], steps: int) -> Path:
    """Train a model for some steps; returns the run's directory."""
    never = 10**9
    lengths = {"epochs": None, "steps": steps, "evaluate_every": never, "checkpoint_every": never, "log_every": never}
    config = write_config(
        folder / "c.yaml",
        shards,
        folder / "run",
        batch={"micro": 20, "num_micro": 1},
        optim={"lr": 4e-3},
        train={**lengths, "threads": 1},
    )
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "model": model}))
    run(folder, 1, "train", config)
    return folder / "run"


def same(one: tuple[Image.Image, dict[str, Any]], other: tuple[Image.Image, dict[str, Any]]) -> bool:
    """Whether two uses left the same picture and the same numbers."""
    return json.dumps(one[1]) == json.dumps(other[1]) and np.array_equal(np.asarray(one[0]), np.asarray(other[0]))
