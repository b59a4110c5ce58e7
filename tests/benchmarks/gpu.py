"""The three models on a GPU: images a second of the notebook's loop and of aedist's, and their share of a floor.

The floor is what one step cannot be faster than on this device: its multiplications at the speed of a large product,
and one behind another the memory that must move, at the speed of a large copy; both speeds are measured here, before.
It counts no launch, so that small steps are far from it. Without a GPU it runs at small size, and says so.
"""

import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import notebook
import torch
from material import Material
from measuring import spread
from ours import configure, lone_place, parts_of
from tables import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from training import resident

from aedist.config import Train
from aedist.data.plan import make_plan
from aedist.data.resident import gather
from aedist.place import Place
from aedist.training.loop import train

_ADAM_BYTES = 28
"""A parameter: weight, gradient and two moments are read, three of them written."""
_WEIGHT_BYTES = 12
"""A parameter: cast and read for the two passes, its gradient written."""
_ACTIVATION_PASSES = 10


@dataclass(frozen=True)
class Device:
    """What this device can at most."""

    name: str
    precision: str
    """Of the product that was measured."""
    flops_per_second: float
    bytes_per_second: float


@dataclass(frozen=True)
class Size:
    """A model, how aedist and the notebook name it, and the images it takes."""

    title: str
    material: Material
    model: dict[str, Any]
    objective: dict[str, Any]
    notebook: Callable[[], nn.Module]
    loss: notebook.Loss
    data: Callable[[], Any]


def tables(digits: Material, photos: Material, faces: Material, *, small: bool) -> list[Table]:
    """A row a model, batch and arithmetic."""
    on_gpu = torch.cuda.is_available()
    device = _device("cuda" if on_gpu else "cpu")
    rows = list[list[str]]()
    for size in _sizes(digits, photos, faces, full=on_gpu):
        for batch in (32, 256) if on_gpu else (8,):
            rows += _rows(size, batch, device, 400 if on_gpu and not small else 3)
    where = "" if on_gpu else "**This has not run on a GPU**: it ran at small size, on a CPU, to see that it works. "
    return [
        Table(
            f"steps on {device.name}",
            [
                "model, batch, arithmetic",
                "images a second",
                "times the notebook's",
                "floor, us a step",
                "share of the floor",
            ],
            rows,
            f"{where}Measured just before: {device.flops_per_second / 1e12:,.2f} TFLOP/s in a product "
            f"of {device.precision}, {device.bytes_per_second / 1e9:,.0f} GB/s in a copy. Images lie on the device for "
            "aedist, the notebook's are decoded as it does. Data wait is not in here: a run's records have it.",
        )
    ]


def _sizes(digits: Material, photos: Material, faces: Material, *, full: bool) -> list[Size]:
    width, conv_latent, hidden = (64, 512, 1024) if full else (8, 32, 32)
    squared = {"squared_error": 1.0}
    return [
        Size(
            *("MLP AE", digits, {"kind": "mlp", "hidden_dim": 200, "latent_dim": 20}, squared, notebook.AE),
            *(notebook.flat_squared_error, lambda: notebook.Digits(resident(digits)[..., 0])),
        ),
        Size(
            *("conv AE", photos, {"kind": "conv", "width": width, "latent_dim": conv_latent}, squared),
            *(lambda: notebook.ConvAE(width, conv_latent), notebook.mean_squared_error),
            lambda: notebook.pictures(photos.files),
        ),
        Size(
            *("VAE", faces, {"kind": "vae", "hidden_dim": hidden, "latent_dim": 100}, {**squared, "kl": 1.0}),
            *(lambda: notebook.VAE(100, hidden), notebook.negative_bound, lambda: notebook.pictures(faces.files, 256)),
        ),
    ]


def _rows(size: Size, batch: int, device: Device, steps: int) -> list[list[str]]:
    precisions = ["fp32", "bf16"]
    variants: list[dict[str, Any]] = [{"precision": precision} for precision in precisions]
    if "compile" in Train.model_fields:
        variants += [{"precision": precision, "compile": "on"} for precision in precisions]
    floor, theirs = _floor(size, batch, device), _notebook(size, batch, max(2, steps // 10))
    rows = [_row(f"{size.title}, {batch}, the notebook's loop", [theirs], theirs, batch, floor)]
    for variant in variants:
        ours = _ours(size, batch, steps, variant)
        words = ", ".join(value if name == "precision" else f"{name} {value}" for name, value in variant.items())
        rows.append(_row(f"{size.title}, {batch}, aedist, {words}", ours, theirs, batch, floor))
    return rows


def _row(title: str, found: list[float], theirs: float, batch: int, floor: float) -> list[str]:
    return [
        title,
        spread(found, 0),
        f"{median(found) / theirs:.2f}",
        f"{floor * 1e6:,.0f}",
        f"{median(found) / batch * floor:.1%}",
    ]


def _ours(size: Size, batch: int, steps: int, variant: dict[str, Any]) -> list[float]:
    """Images a second of three stretches of a run, the first left out."""
    config = configure(
        data={"shards": str(size.material.shards), "workers": 0},
        batch={"micro": batch, "num_micro": 1},
        model=size.model,
        objective=size.objective,
        train={"steps": 4 * steps, **variant},
        evaluate={"split": "train"},
    )
    place = lone_place(config)
    images, plan, marks = (
        resident(size.material).to(place.device),
        make_plan(config, size.material.split.index),
        list[float](),
    )

    def clocked():
        for number, found in enumerate(gather(images, plan, (0,), 0, 4 * steps)):
            if number % steps == 0:
                _wait(place)
                marks.append(time.perf_counter())
            yield found

    with tempfile.TemporaryDirectory() as folder:
        parts = parts_of(config, size.material.split, place, clocked(), Path(folder))
        train(parts)
        _wait(place)
    marks.append(time.perf_counter())
    return [steps * batch / (after - before) for before, after in itertools.pairwise(marks)]


def _notebook(size: Size, batch: int, steps: int) -> float:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = size.notebook().to(device)
    optimizer, data = torch.optim.Adam(model.parameters(), lr=1e-4), size.data()
    order = torch.arange(batch * steps).remainder(len(data)).tolist()
    notebook.loop(model, optimizer, data, order[: 2 * batch], batch, size.loss, device)
    begun = time.perf_counter()
    notebook.loop(model, optimizer, data, order, batch, size.loss, device)  # ends with a loss's value, so it has waited
    return batch * steps / (time.perf_counter() - begun)


def _floor(size: Size, batch: int, device: Device) -> float:
    """Seconds that a step takes at least."""
    height, width, channels = size.material.split.index.image_shape
    with torch.device("meta"):
        model, x = size.notebook(), torch.empty(batch, channels, height, width)
    outputs = list[int]()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(lambda _module, _given, out: outputs.append(out.numel()))
    with FlopCounterMode(display=False) as counter:
        size.loss(model, x).backward()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    moved = (_ADAM_BYTES + _WEIGHT_BYTES) * parameters + _ACTIVATION_PASSES * 2 * sum(outputs)
    return counter.get_total_flops() / device.flops_per_second + moved / device.bytes_per_second


def _device(kind: str) -> Device:
    side, dtype, large = (8192, torch.bfloat16, 2**30) if kind == "cuda" else (1024, torch.float32, 2**27)
    a, b = (torch.randn(side, side, device=kind, dtype=dtype) for _ in range(2))
    source = torch.zeros(large, device=kind, dtype=torch.uint8)
    target = torch.empty_like(source)
    flops = 2 * side**3 / _fastest(lambda: a @ b, kind)
    copied = 2 * large / _fastest(lambda: target.copy_(source), kind)
    return Device(
        torch.cuda.get_device_name() if kind == "cuda" else "a CPU", str(dtype).removeprefix("torch."), flops, copied
    )


def _fastest(work: Callable[[], Tensor], kind: str) -> float:
    seconds = list[float]()
    for _ in range(10):
        begun = time.perf_counter()
        work()
        if kind == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def _wait(place: Place) -> None:
    if place.device.type == "cuda":
        torch.cuda.synchronize()
