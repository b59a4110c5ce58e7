"""The record of an evaluation: the same bytes on any number of real processes, and a defined end for odd images."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from aedist.asked import Asked
from aedist.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from aedist.data.store import ShardStore
from aedist.density import fit_gaussian
from aedist.evaluation import generation
from aedist.evaluation.costs import Costs
from aedist.evaluation.gather import EvaluationPlan
from aedist.evaluation.verb import evaluate_run
from aedist.shards.describe import index_folder
from aedist.trained import open_trained
from processes import launch, run
from realweights import cache_with
from runs import records
from samples import SHAPE, image, png, write_config, write_split, write_tar

VAE = {"kind": "residual", "latent": "vector", "latent_dim": 4, "posterior": "gaussian"}
VAE |= {"patch": 2, "channels": [8, 8], "blocks": 1}


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A variational model of 12 x 12 images, trained for two epochs; 101 test images in 3 shards, of three classes."""
    folder = tmp_path_factory.mktemp("vae")
    write_split(folder / "shards" / "train", (40, 20), seed=1, classes=3)
    write_split(folder / "shards" / "test", (50, 50, 1), seed=2, classes=3)
    sections: dict[str, Any] = {"model": VAE, "train": {"epochs": 2}, "evaluate": {"batch": 7}}
    run(folder, 1, "train", write_config(folder / "c.yaml", folder / "shards", folder / "run", **sections))
    return folder / "run"


def record_of(run_dir: Path, images: int | None = None, words: Sequence[str] = ()) -> dict[str, Any]:
    path = evaluate_run(
        run_dir, "last", None, images, Asked(), lambda _: None, run_dir / "no-cache", ["track.wandb=disabled", *words]
    )
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("images", "worlds"), [(101, (1, 2, 3, 4, 7)), (3, (1, 2, 7)), (1, (1, 3)), (0, (1, 2))], ids=str
)
def test_the_record_is_byte_identical_for_any_number_of_processes(
    vae: Path, tmp_path: Path, images: int, worlds: tuple[int, ...]
) -> None:
    """101 images are 15 batches of 7, the last of 3; 3 images are one batch, which leaves processes without any."""
    copy = shutil.copytree(vae, tmp_path / "run")
    found = dict[int, bytes]()
    for world in worlds:
        shutil.rmtree(copy / "evaluation", ignore_errors=True)
        cache = {"XDG_CACHE_HOME": str(tmp_path / "no-cache")}
        run(tmp_path, world, "evaluate", copy, "--images", images, "track.wandb=disabled", environment=cache)
        found[world] = (copy / "evaluation" / "comprehensive_evaluation.json").read_bytes()
    assert len(set(found.values())) == 1
    record = json.loads(found[1])
    assert record["data"]["num_images"] == images
    assert set(record["missing"]) == {"lpips", "fid"}
    assert all((summary["mean"] is None) == (images == 0) for summary in record["metrics"].values())
    assert (record["latents"] is None) == (images == 0)
    assert (record["baselines"] == {}) == (images == 0)


def test_features_too_are_the_same_on_two_processes(vae: Path, tmp_path: Path) -> None:
    """With the real networks: three images in two batches. Fewer encodings than a density takes are fitted to."""
    cache = {"XDG_CACHE_HOME": str(cache_with("fid", "lpips").parent)}
    copy = shutil.copytree(vae, tmp_path / "run")
    found = list[bytes]()
    for world in (1, 2):
        words = ["evaluate.batch=2", "evaluate.fit_images=6", "track.wandb=disabled"]
        run(tmp_path, world, "evaluate", copy, "--images", 3, *words, environment=cache, patience_seconds=300)
        found.append((copy / "evaluation" / "comprehensive_evaluation.json").read_bytes())
    assert found[0] == found[1]
    record = json.loads(found[0])
    assert record["missing"] == {}
    assert record["metrics"]["lpips"]["mean"] > 0
    reconstructions = record["distributions"]["reconstructions"]
    assert (reconstructions["num_images"], reconstructions["reference"]) == (3, "the first 3 originals of blobs/test")
    assert reconstructions["fid"] > 0
    assert any("singular" in flag for flag in reconstructions["flags"])
    costs = json.loads((copy / "evaluation" / "costs.json").read_text())
    assert costs["world"] == 2
    assert costs["seconds"]["Inception"] > 0


def test_draws_and_their_features_do_not_depend_on_who_makes_them(vae: Path) -> None:
    """Each of W processes makes its share; put together in order they are what one makes alone."""
    trained = open_trained(vae)
    density = fit_gaussian(torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    plan = EvaluationPlan(23, 7)

    def sums(images: torch.Tensor) -> torch.Tensor:
        return images.float().flatten(1).sum(1, keepdim=True)

    alone = generation.features_of_draws(trained, density, plan, (4,), sums, 0, Costs(torch.device("cpu")))
    assert alone is not None
    for world in (2, 3, 7):
        for rank in range(world):
            for first, last in plan.batches(rank, world):
                images, is_finite = generation.decode_draws(trained, density, (first, last), (4,), 0)
                assert is_finite.all()
                assert torch.equal(sums(images), alone[first:last])


@pytest.fixture
def with_test_images(vae: Path, tmp_path: Path) -> Callable[[Sequence[NDArray[np.uint8]]], Path]:
    """A copy of the run whose shards have another split ``odd``, of these images."""

    def make(images: Sequence[NDArray[np.uint8]]) -> Path:
        copy = shutil.copytree(vae, tmp_path / "run")
        shards = shutil.copytree(vae.parent / "shards", tmp_path / "shards")
        write_tar(shards / "odd" / "a.tar", [(f"{n}.png", png(pixels)) for n, pixels in enumerate(images)])
        index_folder(shards / "odd", lambda _: None)
        text = (copy / "config.yaml").read_text().replace(str(vae.parent / "shards"), str(shards))
        (copy / "config.yaml").write_text(text)
        return copy

    return make


@pytest.mark.parametrize("number", [1, 2, 5])
def test_constant_and_equal_images_end_in_defined_values(
    with_test_images: Callable[[Sequence[NDArray[np.uint8]]], Path], number: int
) -> None:
    copy = with_test_images([np.full(SHAPE, 128, np.uint8)] * number)
    path = evaluate_run(copy, "last", "odd", None, Asked(), lambda _: None, copy / "no-cache", ["track.wandb=disabled"])
    record = json.loads(path.read_text())
    for name in ("mse", "mae", "psnr", "ssim", "rate"):
        assert np.isfinite(record["metrics"][name]["mean"])
        assert record["metrics"][name]["std"] == pytest.approx(0, abs=1e-9)
    assert record["latents"]["dimensions"] == 4
    assert not any(np.isnan(value) for value in numbers_in(record)), "what is no number is null"
    if number > 1:
        assert "Every image has the same encoding: nothing of an image reaches the decoder." in record["warnings"]


def test_images_that_the_model_was_trained_on_are_said_to_be(vae: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(vae, tmp_path / "run")
    path = evaluate_run(copy, "last", "train", 9, Asked(), lambda _: None, copy / "no-cache", ["track.wandb=disabled"])
    told = "The model was trained on these images of blobs/train, and baselines, densities and the probe are fitted to"
    assert json.loads(path.read_text())["warnings"][0].startswith(f"{told} the first 60 of them")
    assert not any("was trained on" in warning for warning in record_of(copy, 9)["warnings"])


def test_classes_of_other_names_have_no_probe(
    with_test_images: Callable[[Sequence[NDArray[np.uint8]]], Path], tmp_path: Path
) -> None:
    """Number 1 of one split and number 1 of the other are then different things."""
    copy = with_test_images([image(3, number) for number in range(6)])
    index_json = tmp_path / "shards" / "odd" / "index.json"
    index = json.loads(index_json.read_text())
    index_json.write_text(json.dumps(index | {"classes": ["1", "0"]}))
    path = evaluate_run(copy, "last", "odd", None, Asked(), lambda _: None, copy / "no-cache", ["track.wandb=disabled"])
    probe = json.loads(path.read_text())["latents"]["probe"]
    assert probe == {"accuracy": None, "reason": "its classes are not those of train"}


def test_images_smaller_than_the_window_of_ssim_have_none_and_are_told_why(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_split(tmp_path / "shards" / split, (12,), seed=1, shape=(8, 8, 3))
    run(tmp_path, 1, "train", write_config(tmp_path / "c.yaml", tmp_path / "shards", tmp_path / "run"))
    record = record_of(tmp_path / "run")
    assert record["metrics"]["ssim"]["mean"] is None
    assert "ssim: images of 8 x 8 are smaller than its window of 11 x 11, so there is none." in record["warnings"]


@pytest.mark.parametrize("world", [1, 2])
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(
    vae: Path, tmp_path: Path, world: int
) -> None:
    """A file in its place stands for it, since a test may run as one who can write anywhere."""
    copy = shutil.copytree(vae, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation"))
    (copy / "evaluation").touch()
    launched = launch(tmp_path, world, "evaluate", copy, "--images", 3)
    assert launched.wait() == [2] * world
    told = [[line for line in launched.text(rank).splitlines() if line.startswith("aedist: ")] for rank in range(world)]
    assert [len(lines) for lines in told] == [1] + [0] * (world - 1), "rank zero tells it, once"
    assert told[0][0].startswith(f"aedist: {copy / 'evaluation'}: cannot be written (File exists)")
    assert not any("Traceback" in launched.text(rank) for rank in range(world))


def test_a_model_that_gives_nan_has_nulls_and_says_of_how_many_images(vae: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(vae, tmp_path / "run")
    last = checkpoints(copy / "checkpoints")[-1]
    tensors, numbers = load_checkpoint(last)
    first = next(name for name in tensors["model"] if name.startswith("decoder"))
    tensors["model"][first][:] = float("nan")
    save_checkpoint(copy / "checkpoints", numbers["progress"]["step"], tensors, numbers)
    record = record_of(copy, 10)
    assert record["metrics"]["mse"]["mean"] is None
    assert record["metrics"]["mse"]["not_finite"] == 10
    assert any("of 10 of 10 images it is not a number" in warning for warning in record["warnings"])
    assert record["bottom_line"]


def test_baselines_encodings_and_words_are_about_the_same_images(vae: Path) -> None:
    record = record_of(vae, 50)
    store = ShardStore(vae.parent / "shards" / "test", open_trained(vae).split.index)
    originals = np.stack([image(2, number) for number in range(50)])
    fitted = np.stack([image(1, number) for number in range(60)]).reshape(60, -1).astype(float)
    mean = np.round(fitted.mean(0)).reshape(SHAPE)
    expected = (((originals - mean) / 255) ** 2).mean()
    assert record["baselines"]["mean_image"]["metrics"]["mse"]["mean"] == pytest.approx(expected, rel=1e-4)
    assert record["baselines"]["pca"]["components"] == record["model"]["latent_numbers"] == 4
    assert record["latents"]["num_images"] == 50
    tested = sum(store.label(number) is not None for number in range(50))
    assert record["latents"]["probe"]["num_tested"] == tested
    assert {verdict["metric"] for verdict in record["verdicts"]} >= {"psnr", "ssim"}
    known = record["definitions"].keys()
    assert known >= {*record["metrics"], "lpips", "fid", "kid", "precision", "recall", "extractor", "interval", "pca"}


def test_every_evaluation_has_a_line_in_the_runs_history(vae: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(vae, tmp_path / "run")
    shutil.rmtree(copy / "evaluation", ignore_errors=True)
    first, second = record_of(copy, 5), record_of(copy, 8)
    lines = [json.loads(line) for line in (copy / "evaluation" / "evaluations.jsonl").read_text().splitlines()]
    assert [line["num_images"] for line in lines] == [5, 8]
    assert [line["metrics"]["mse"] for line in lines] == [one["metrics"]["mse"]["mean"] for one in (first, second)]


def test_a_key_that_made_the_model_is_refused(vae: Path) -> None:
    from aedist.errors import UserError

    with pytest.raises(UserError, match=r"optim.lr=1.0: is refused: optim.lr made the model what it is"):
        record_of(vae, 5, ["optim.lr=1.0"])
    with pytest.raises(UserError, match=r"evaluate\.fid_image"):
        record_of(vae, 5, ["evaluate.fid_image=3"])


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for inner in value.values() for number in numbers_in(inner)]
    if isinstance(value, list):
        return [number for inner in value for number in numbers_in(inner)]
    return [float(value)] if isinstance(value, int | float) else []


def test_evaluations_in_training_measure_with_networks_where_asked_to(vae: Path, tmp_path: Path) -> None:
    """On two processes, and the same numbers as of ``aedist evaluate`` on one; without weights, it goes on without."""
    sections: dict[str, Any] = {
        "model": VAE,
        "train": {"epochs": None, "steps": 6, "reduce": "exact", "evaluate_every": 1000},
    }
    sections["evaluate"] = {"images": 3, "batch": 2, "in_training": "networks", "fit_images": 6}
    config = write_config(tmp_path / "c.yaml", vae.parent / "shards", tmp_path / "run", **sections)
    cache = {"XDG_CACHE_HOME": str(cache_with("fid", "lpips").parent)}
    run(tmp_path, 2, "train", config, environment=cache, patience_seconds=300)
    (told,) = [record["metrics"] for record in records(tmp_path / "run") if record["kind"] == "evaluation"]
    run(tmp_path, 1, "evaluate", tmp_path / "run", environment=cache, patience_seconds=300)
    record = json.loads((tmp_path / "run" / "evaluation" / "comprehensive_evaluation.json").read_text())
    expected = {name: summary["mean"] for name, summary in record["metrics"].items()}
    reconstructions = record["distributions"]["reconstructions"]
    expected |= {"rfid": reconstructions["fid"], "rkid": reconstructions["kid"]["mean"]}
    assert told == expected
    without = {"XDG_CACHE_HOME": str(tmp_path / "no-cache")}
    launched = run(tmp_path, 1, "train", config, f"run.dir={tmp_path / 'without'}", environment=without)
    assert "evaluate.in_training: fid is left out: the weights of its network are not here" in launched.text()
