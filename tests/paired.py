"""Paired data for tests: round grey faces on slopes, of which one of each pair wears a bright bar for glasses."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aedist.shards.attributes import write_attributes
from aedist.shards.index import Index, Shard, describe_bytes, write_index
from samples import png, write_tar

SHAPE = (16, 16, 3)
CLASSES = ("man", "woman")
HAIR = ("black", "fair")


def face(seed: int, number: int, glasses: bool) -> tuple[NDArray[np.uint8], int, str]:
    """A face with its class and its hair: women have smaller heads, hair colours the top rows."""
    rng = np.random.default_rng([seed, number])
    sex, hair = int(rng.integers(2)), HAIR[int(rng.integers(2))]
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    centre, radius = rng.uniform(6.5, 8.5, 2), (6.0, 4.0)[sex]
    inside = 1 / (1 + np.exp(np.hypot(y - centre[0] - 1, x - centre[1]) - radius))
    pixels = (40 + 120 * inside)[..., None] * np.array([1.0, 0.9, 0.8])
    pixels[:3] = 20 if hair == "black" else 150
    if glasses:
        pixels[6:8, 3:13] = (60, 120, 255)
    return pixels.round().clip(0, 255).astype(np.uint8), sex, hair


def write_pairs(folder: Path, pairs: int, seed: int) -> Index:
    """A split of ``2 x pairs`` images in one shard; pair i has samples 2 i and 2 i + 1, in an order of its own."""
    members, order = list[tuple[str, bytes]](), np.random.default_rng(seed).integers(2, size=pairs)
    for number in range(2 * pairs):
        pair = number // 2
        glasses = bool((number + order[pair]) % 2)
        pixels, sex, hair = face(seed, pair, glasses)
        attributes = {"glasses": glasses, "hair": hair, "pair": pair}
        key = f"{pair:04d}{'g' if glasses else 'n'}"
        members += [(f"{key}.cls", str(sex).encode()), (f"{key}.json", write_attributes(attributes))]
        members.append((f"{key}.png", png(pixels)))
    path = folder / "part-000000.tar"
    write_tar(path, members)
    shard = Shard(path.name, 2 * pairs, *describe_bytes(path))
    kinds = {"glasses": "bool", "hair": HAIR, "pair": "int"}
    index = Index("faces", folder.name, SHAPE, CLASSES, (shard,), attributes=kinds)
    write_index(folder, index)
    return index
