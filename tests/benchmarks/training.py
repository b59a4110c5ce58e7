"""The notebook's loop against aedist's: the same model from the same weights, the same batches, optimiser and steps.

Both run in this process on one thread, one after the other, again and again. Whether they come to the same is measured
too: the loss of both models on the same images afterwards, by one function.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import notebook
import torch
from material import Material
from measuring import Repeat, cost_of, spread
from ours import configure, lone_place, parts_of
from tables import Table
from torch import Tensor, nn
from torch.utils.data import Dataset

from aedist.config import Config
from aedist.data.loader import read_stretches, stream
from aedist.data.pixels import to_unit_range
from aedist.data.plan import Plan, make_plan
from aedist.data.resident import gather
from aedist.training.loop import Parts, train

_JUDGED = 500


@dataclass(frozen=True)
class Task:
    """One of the notebook's models, as it trains it and as aedist does."""

    title: str
    material: Material
    config: Config
    model: Callable[[], nn.Module]
    adam: dict[str, Any]
    loss: notebook.Loss
    data: Callable[[], Dataset[tuple[Tensor, int]]]
    is_resident: bool


def tables(digits: Material, photos: Material, faces: Material, repeats: int, *, small: bool) -> list[Table]:
    """A row a model."""
    torch.set_num_threads(1)
    rows = [
        _row(task, min(repeats, 3) if task.title.startswith("MLP") else repeats)
        for task in tasks(digits, photos, faces, small=small)
    ]
    return [
        Table(
            "the notebook's loop and aedist's, one thread",
            [
                "model",
                "notebook, images a CPU-second",
                "aedist's",
                "times",
                "times by the clock",
                "loss, notebook",
                "aedist",
            ],
            rows,
            "The last two columns: squared error an image after the last step, on the same images. aedist's has all "
            "that a step has in a run: its ledger, its records, its look at every gradient's norm. The digits lie in "
            "memory on both sides; what it takes to read them there once is the second table's.",
        ),
        _filling(digits, repeats),
    ]


def tasks(digits: Material, photos: Material, faces: Material, *, small: bool) -> list[Task]:
    """The three, the convolutional ones at reduced width."""
    epoch = digits.split.index.num_samples // 32
    pixels = 64 * 64 * 3
    conv, vae = (2, 2) if small else (40, 25)

    def config(material: Material, micro: int, num_micro: int, steps: int, **sections: dict[str, Any]) -> Config:
        return configure(
            data={"shards": str(material.shards), "workers": 0},
            batch={"micro": micro, "num_micro": num_micro},
            train={"steps": steps, "threads": 1},
            evaluate={"split": "train"},
            **sections,
        )

    return [
        Task(
            "MLP AE, 322,804 parameters, batch 32, " + ("a hundred steps" if small else "an epoch of MNIST"),
            digits,
            config(
                *(digits, 4, 8, 100 if small else epoch),
                model={"kind": "mlp", "hidden_dim": 200, "latent_dim": 20},
                optim={"lr": 2.5e-4, "eps": 1e-8 / 32},
            ),
            notebook.AE,
            {"lr": 2.5e-4},
            notebook.flat_squared_error,
            lambda: notebook.Digits(resident(digits)[..., 0]),
            is_resident=True,
        ),
        Task(
            f"conv AE, width 16, latent 128, batch 32, {conv} steps",
            photos,
            config(
                *(photos, 32, 1, conv),
                model={"kind": "conv", "width": 16, "latent_dim": 128},
                optim={"lr": 1e-3, "eps": 1e-8 * pixels},
            ),
            lambda: notebook.ConvAE(16, 128),
            {"lr": 1e-3},
            notebook.mean_squared_error,
            lambda: notebook.pictures(photos.files),
            is_resident=False,
        ),
        Task(
            f"VAE 256x256, hidden 64, batch 16, {vae} steps",
            faces,
            config(
                *(faces, 16, 1, vae),
                model={"kind": "vae", "hidden_dim": 64, "latent_dim": 100},
                objective={"squared_error": 1.0, "kl": 1.0},
                optim={"lr": 1e-4, "eps": 1e-8 / 16, "weight_decay": 1e-5 / 16},
            ),
            lambda: notebook.VAE(100, 64),
            {"lr": 1e-4, "weight_decay": 1e-5},
            notebook.negative_bound,
            lambda: notebook.pictures(faces.files, 256),
            is_resident=False,
        ),
    ]


def resident(material: Material) -> Tensor:
    """All images of a data set, uint8 (N, H, W, C)."""
    whole = [(0, material.split.index.num_samples)]
    return torch.cat([images for _, images in read_stretches(material.split, whole, 0)])


def _row(task: Task, repeats: int) -> list[str]:
    place, data = lone_place(task.config), task.data()
    plan = make_plan(task.config, task.material.split.index)
    slots, steps = tuple(range(plan.num_micro)), task.config.train.steps or 0
    order = _order(task, plan, steps)
    images = resident(task.material) if task.is_resident else None
    judged = next(iter(read_stretches(task.material.split, [(0, _JUDGED // (1 if task.is_resident else 5))], 0)))[1]
    found, losses = list[Repeat](), ("", "")
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(repeats):
            batches = (
                gather(images, plan, slots, 0, steps)
                if images is not None
                else stream(task.material.split, plan, slots, 0, steps, 0, pin=False)
            )
            parts = parts_of(task.config, task.material.split, place, batches, Path(folder) / str(repeat))
            model = task.model().train()
            copy_weights(parts.state.model, model)
            before = cost_of(partial(_as_the_notebook, task, model, data, order, plan.images_per_step))
            found.append(Repeat(cost_of(partial(_as_aedist, parts, len(order))), before))
            losses = (judge(model, judged), judge_ours(parts, judged))
    return [
        task.title,
        spread([one.calibration.per_cpu_second for one in found], 0),
        spread([one.cost.per_cpu_second for one in found], 0),
        spread([one.ratio for one in found]),
        spread([one.wall_ratio for one in found]),
        *losses,
    ]


def _order(task: Task, plan: Plan, steps: int) -> list[int]:
    """The samples as aedist takes them, by their number for the notebook's data."""
    ids = [int(i) for step in range(steps) for i in plan.step_ids(step, tuple(range(plan.num_micro))).ravel()]
    if task.is_resident:
        return ids
    files = {int(Path(path).stem): number for number, (path, _) in enumerate(task.data().samples)}  # type: ignore[attr-defined]
    return [files[i % len(files)] for i in ids]


def _as_the_notebook(
    task: Task, model: nn.Module, data: Dataset[tuple[Tensor, int]], order: list[int], batch: int
) -> int:
    torch.set_flush_denormal(False)  # as a notebook has it
    optimizer = torch.optim.Adam(model.parameters(), **task.adam)
    notebook.loop(model, optimizer, data, order, batch, task.loss)
    torch.set_flush_denormal(True)
    return len(order)


def _as_aedist(parts: Parts, images: int) -> int:
    train(parts)
    return images


def copy_weights(ours: nn.Module, theirs: nn.Module) -> None:
    """Give the notebook's model the weights of aedist's; both have them in one order."""
    with torch.no_grad():
        for here, there in zip(ours.parameters(), theirs.parameters(), strict=True):
            there.copy_(here)


def judge(model: nn.Module, images_bhwc: Tensor) -> str:
    """The notebook's model: squared error an image."""
    x = to_unit_range(images_bhwc, torch.float32)
    torch.manual_seed(0)
    with torch.no_grad():
        out = model.eval()(x.flatten(1) if isinstance(model, notebook.AE) else x)
    out = out[2] if isinstance(out, tuple) else out
    return f"{((out.reshape(x.shape) - x) ** 2).sum().item() / len(x):,.3f}"


def judge_ours(parts: Parts, images_bhwc: Tensor) -> str:
    """aedist's model: the same."""
    model, x = parts.state.model.eval(), to_unit_range(images_bhwc, torch.float32).to(parts.place.device)
    torch.manual_seed(0)
    shape = getattr(model, "noise_shape", None)
    with torch.no_grad():
        out = model(x, torch.randn(len(x), *shape, device=x.device) if shape else None)
    return f"{((out.reconstruction - x) ** 2).sum().item() / len(x):,.3f}"


def _filling(digits: Material, repeats: int) -> Table:
    def read() -> int:
        return len(resident(digits))

    costs = [cost_of(read) for _ in range(min(repeats, 3))]
    return Table(
        "reading MNIST into memory, once a run",
        ["data", "images a CPU-second", "seconds"],
        [
            [
                "60,000 PNGs",
                spread([cost.per_cpu_second for cost in costs], 0),
                spread([cost.wall_seconds for cost in costs]),
            ]
        ],
    )
