"""Small data sets for tests: images made of numbers, in tars written with the standard library."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aedist.shards.index import Index, Shard, describe_bytes, write_index

SHAPE = (12, 12, 1)
UNEVEN = (10, 3, 25, 7, 1, 14, 40)
"""Samples in each of the shards that tests share."""


def image(seed: int, number: int, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint8]:
    """A smooth random picture: a blob on a slope, so that a small model can learn something."""
    rng = np.random.default_rng([seed, number])
    y, x = np.mgrid[: shape[0], : shape[1]] / max(shape[:2])
    cy, cx, width = *rng.uniform(0.2, 0.8, 2), rng.uniform(0.1, 0.4)
    blob = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / width**2)
    return np.repeat((blob * 255).astype(np.uint8)[..., None], shape[2], axis=2)


def png(pixels: NDArray[np.uint8]) -> bytes:
    body = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(body, "PNG")
    return body.getvalue()


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, body in members:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))


def write_split(
    folder: Path, counts: Sequence[int], seed: int, shape: tuple[int, int, int] = SHAPE, classes: int = 3
) -> Index:
    """A split of ``sum(counts)`` images; sample number i has key i and class i % classes."""
    described, number = list[Shard](), 0
    for shard, count in enumerate(counts):
        path = folder / f"part-{shard:06d}.tar"
        members: list[tuple[str, bytes]] = []
        for _ in range(count):
            members.append((f"{number:05d}.cls", str(number % classes).encode()))
            members.append((f"{number:05d}.png", png(image(seed, number, shape))))
            number += 1
        write_tar(path, members)
        described.append(Shard(path.name, count, *describe_bytes(path)))
    index = Index("blobs", folder.name, shape, tuple(str(c) for c in range(classes)), tuple(described))
    write_index(folder, index)
    return index


def write_config(path: Path, shards: Path, run: Path, **sections: dict[str, object]) -> Path:
    """A configuration for a small model on ``shards``; more sections are laid over the usual ones."""
    import yaml

    values: dict[str, dict[str, object]] = {
        "run": {"dir": str(run)},
        "data": {"shards": str(shards), "workers": 0},
        "batch": {"micro": 2, "num_micro": 6},
        "model": {"kind": "mlp", "hidden_dim": 16, "latent_dim": 4},
        "optim": {"lr": 1.0e-3},
        "train": {"epochs": 2},
        "evaluate": {"batch": 4},
        "track": {"wandb": "disabled"},
    }
    for section, keys in sections.items():
        if section == "model" and "kind" in keys:  # another kind has other keys
            values["model"] = {}
        values.setdefault(section, {}).update(keys)
    path.write_text(yaml.safe_dump(values))
    return path
