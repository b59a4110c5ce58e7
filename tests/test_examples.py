"""The examples of an evaluation: each image a file as it is, beside what was measured of it."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from aedist.asked import Asked
from aedist.evaluation.verb import evaluate_run

if TYPE_CHECKING:
    from aedist.trained import Trained


def evaluate(run: Path, images: int | None) -> Path:
    words = ["track.wandb=disabled"]
    return evaluate_run(run, "last", None, images, Asked(), lambda _: None, run / "no-cache", words).parent


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(np.float64) / 255


def test_examples_are_the_images_that_were_measured(tmp_path: Path, trained: "Trained") -> None:
    """The error between the two saved images is the one that the evaluation told."""
    folder = evaluate(shutil.copytree(trained.run.path, tmp_path / "run"), None)
    rows = json.loads((folder / "examples" / "examples.json").read_text())
    record = json.loads((folder / "comprehensive_evaluation.json").read_text())
    assert [row["which"] for row in rows] == ["best"] * 4 + ["median"] * 4 + ["worst"] * 4
    assert len({row["image"] for row in rows}) == 12
    for row in rows:
        original, reconstruction = (pixels(folder / "examples" / row[name]) for name in ("original", "reconstruction"))
        np.testing.assert_allclose(((original - reconstruction) ** 2).mean(), row["mse"], rtol=1e-12)
    errors = [row["mse"] for row in rows]
    assert errors[:4] == sorted(errors[:4])
    assert errors[3] <= record["metrics"]["mse"]["mean"] <= errors[-1]
    assert max(errors[:4]) <= min(errors[4:8]) <= max(errors[4:8]) <= min(errors[8:])


def test_examples_of_an_earlier_evaluation_go(tmp_path: Path, trained: "Trained") -> None:
    run = shutil.copytree(trained.run.path, tmp_path / "run")
    assert len(list((evaluate(run, None) / "examples").iterdir())) == 25
    assert len(list((evaluate(run, 2) / "examples").iterdir())) == 5, "two images, each twice, and the table"
    assert not (evaluate(run, 0) / "examples").exists()
