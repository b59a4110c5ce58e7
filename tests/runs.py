"""Looking at what runs left, in tests of the promises that hold between runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from aedist.configfile import load_config
from aedist.data.plan import Plan, make_plan
from aedist.shards.index import read_index
from aedist.training.ledger import Attempt, read_ledger

TIMES = {"images_per_second", "data_wait", "memory_bytes", "ranks", "seconds", "attempt"}


def last_checkpoint(run: Path) -> Path:
    return max((run / "checkpoints").glob("step-*"))


def parameters(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def state_bytes(run: Path) -> dict[str, bytes]:
    """The bytes of the final model and optimiser: equal if and only if every bit of training was."""
    checkpoint = last_checkpoint(run)
    return {path.name: path.read_bytes() for path in sorted(checkpoint.glob("*.safetensors"))}


def records(run: Path) -> list[dict[str, Any]]:
    """The records without what time it took."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in TIMES} for line in lines]


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in records(run) if record["kind"] == "train"]


def plan_of(run: Path) -> Plan:
    config = load_config(run / "config.yaml")
    return make_plan(config, read_index(Path(config.data.shards) / config.data.split))


def ledger(run: Path) -> np.ndarray:
    environment = json.loads((run / "environment.json").read_text())
    attempts = [Attempt(entry["attempt"], entry["step"]) for entry in environment["attempts"]]
    return read_ledger(run / "ledger", attempts, load_config(run / "config.yaml").batch.micro)


def assert_ledger_is_exact(run: Path) -> None:
    """Every slot of every step once, with the plan's samples; in each whole epoch no sample twice, and none missed
    but the remainder."""
    plan, found = plan_of(run), ledger(run)
    steps = int(found["step"].max()) + 1
    places = [(step, slot) for step in range(steps) for slot in range(plan.num_micro)]
    assert list(zip(found["step"].tolist(), found["slot"].tolist(), strict=True)) == places
    for epoch in range(steps // plan.steps_per_epoch):
        ids = found["sample_ids"][found["step"] // plan.steps_per_epoch == epoch].ravel()
        assert len(set(ids.tolist())) == len(ids) == plan.num_samples - plan.left_over
        np.testing.assert_array_equal(ids, np.concatenate(list(plan.epoch_ids(epoch))))
