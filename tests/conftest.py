"""What many tests need: small shards of small images, written by the test itself."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from exploring import MLP, train, write_faces
from hypothesis import settings

from samples import UNEVEN, write_split

if TYPE_CHECKING:
    from aedist.trained import Trained


settings.register_profile("patient", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("patient")


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 grey 12 x 12 training images of 3 classes in seven uneven shards, and 23 test images in two."""
    folder = tmp_path_factory.mktemp("data") / "blobs"
    write_split(folder / "train", UNEVEN, seed=1)
    write_split(folder / "test", (20, 3), seed=2)
    return folder


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Paired faces, of which one wears a bright bar for glasses."""
    return write_faces(tmp_path_factory.mktemp("data") / "faces")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> "Trained":
    """A deterministic model that reconstructs the faces well."""
    from aedist.trained import open_trained  # torch, which few of the tests need

    return open_trained(train(tmp_path_factory.mktemp("mlp"), faces, MLP, 300))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def subnormal_numbers_are_put_back() -> Iterator[None]:
    """A test that takes its place on a CPU tells the whole process to flush subnormal numbers; the next wants them."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
