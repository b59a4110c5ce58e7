"""An evaluation is the same bytes for any number of processes, complete or refused, and never ended by a NaN."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import yaml
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn

from aedist.asked import Asked
from aedist.checkpoint import checkpoints, load_checkpoint, name_of, save_checkpoint
from aedist.config import Config
from aedist.configfile import load_config
from aedist.data.loader import Split, Stretch, read_stretches
from aedist.data.plan import make_plan
from aedist.data.source import open_split
from aedist.data.store import ShardStore
from aedist.errors import EXIT_USER_ERROR, UserError
from aedist.evaluation.gather import EvaluationPlan
from aedist.evaluation.measures.metrics import METRICS, measure
from aedist.evaluation.pictures.showcase import classes_in_turn, reconstructions, spread
from aedist.evaluation.run import evaluate, pixel_metrics
from aedist.evaluation.verb import evaluate_run
from aedist.models.output import Output
from aedist.place import Place
from aedist.rundir import RunDir
from aedist.shards.describe import index_folder
from aedist.shards.index import Index, read_index
from aedist.tracking.tracker import Tracker
from aedist.training.periodic import PeriodicEvaluation
from aedist.training.state import Progress, TrainState
from processes import launch, run
from runs import records
from samples import SHAPE, image, png, write_config, write_split, write_tar

ALONE = Place(cast(Accelerator, None), 0, 1, torch.device("cpu"), None)
PICTURES = ("reconstructions", "best", "median", "worst")


class Half(nn.Module):
    """A model that gives back half of what it gets, and remembers in which mode and shapes it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))
        self.calls = list[tuple[bool, int]]()

    def forward(self, x_bchw: Tensor) -> Output:
        self.calls.append((self.training, len(x_bchw)))
        return Output(x_bchw * self.factor, x_bchw.flatten(1))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    """A run of two epochs with checkpoints at steps 4, 8, 12 and 16, of which the last is the best."""
    folder = tmp_path_factory.mktemp("trained")
    sections: dict[str, dict[str, object]] = {"train": {"checkpoint_every": 48, "keep_last": 4, "reduce": "exact"}}
    run(folder, 1, "train", write_config(folder / "c.yaml", shards, folder / "run", **sections))
    assert [place.name for place in checkpoints(folder / "run" / "checkpoints")] == [name_of(s) for s in (4, 8, 12, 16)]
    return folder / "run"


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """The trained run, to be changed."""
    return shutil.copytree(trained, tmp_path / "copy")


def evaluate_alone(run: Path, which: str = "last", split: str | None = None, images: int | None = None) -> Any:
    """The record of an evaluation in this process, without the networks that have to be fetched."""
    path = evaluate_run(run, which, split, images, Asked(), lambda _: None, run / "no-cache", [])
    assert path == run / "evaluation" / "comprehensive_evaluation.json"
    return json.loads(path.read_text())


def test_the_numbers_are_those_of_the_checkpoints_model_on_every_image(trained: Path, shards: Path) -> None:
    record = evaluate_alone(trained, "8")
    tensors, _ = load_checkpoint(trained / "checkpoints" / name_of(8))
    weights = {name: tensor.double().numpy() for name, tensor in tensors["model"].items()}
    names = ("encoder.1", "encoder.3", "decoder.0", "decoder.2")
    originals = np.stack([image(2, number) for number in range(23)])
    h = originals.reshape(23, -1) / 255
    for number, name in enumerate(names):
        h = h @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        h = np.maximum(h, 0) if number in (0, 2) else h
    outputs = torch.from_numpy(1 / (1 + np.exp(-h))).reshape(23, 1, *SHAPE[:2])
    expected = measure(torch.from_numpy(originals), outputs).numpy()
    for column, name in enumerate(METRICS):
        assert record["metrics"][name]["mean"] == pytest.approx(expected[:, column].mean(), rel=1e-4)
        assert record["metrics"][name]["max"] == pytest.approx(expected[:, column].max(), rel=1e-4)
    assert (record["checkpoint"], record["step"], record["images_seen"]) == (name_of(8), 8, 96)
    assert record["data"]["fingerprint"] == read_index(shards / "test").fingerprint
    assert record["model"]["parameters"] == sum(weight.size for weight in weights.values())


def test_the_evaluation_in_training_says_the_same(trained: Path) -> None:
    told = {record["step"]: record["metrics"] for record in records(trained) if record["kind"] == "evaluation"}
    assert sorted(told) == [8, 16]
    for step, means in told.items():
        found = evaluate_alone(trained, str(step))["metrics"]
        assert {name: summary["mean"] for name, summary in found.items()} == means


def test_which_checkpoint(copy: Path) -> None:
    assert evaluate_alone(copy, "last")["step"] == 16
    assert evaluate_alone(copy, "best")["step"] == 16
    assert evaluate_alone(copy, "12")["step"] == 12
    tensors, numbers = load_checkpoint(copy / "checkpoints" / name_of(16))
    numbers["progress"]["best_step"] = 4
    save_checkpoint(copy / "checkpoints", 16, tensors, numbers)
    assert evaluate_alone(copy, "best")["step"] == 4
    numbers["progress"]["best_step"] = None
    save_checkpoint(copy / "checkpoints", 16, tensors, numbers)
    with pytest.raises(UserError, match=r"--checkpoint best: .* was not evaluated in training; take last"):
        evaluate_alone(copy, "best")


@pytest.mark.parametrize("which", ["5", "first", "-4", "4.0", "²", ""])
def test_a_checkpoint_that_is_not_there_is_told_with_those_that_are(trained: Path, which: str) -> None:
    with pytest.raises(UserError, match=f"--checkpoint {which}: .*take last, best or one of 4, 8, 12, 16"):
        evaluate_alone(trained, which)


def test_a_damaged_checkpoint_is_passed_over_for_last_and_named_when_asked_for(copy: Path) -> None:
    (copy / "checkpoints" / name_of(16) / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"model.safetensors: has 0 bytes"):
        evaluate_alone(copy, "16")
    told = list[str]()
    evaluate_run(copy, "last", None, None, Asked(), told.append, copy / "no-cache")
    assert "looking for the one before" in told[0]
    assert told[1].startswith("evaluating step-000000012")


@pytest.mark.parametrize("images", [-1, -3])
def test_a_number_of_images_below_zero_is_refused(trained: Path, images: int) -> None:
    with pytest.raises(UserError, match=f"--images: {images} is refused"):
        evaluate_alone(trained, images=images)


def test_more_images_than_there_are_is_all_of_them(trained: Path) -> None:
    assert evaluate_alone(trained, images=1000) == evaluate_alone(trained)


def test_the_configurations_number_of_images_and_another_split(copy: Path) -> None:
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["evaluate"]["images"] = 5
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    assert evaluate_alone(copy)["data"]["num_images"] == 5
    assert evaluate_alone(copy, images=7)["data"]["num_images"] == 7
    on_train = evaluate_alone(copy, split="train", images=100)
    assert (on_train["data"]["split"], on_train["data"]["num_images"]) == ("train", 100)


def test_a_split_that_is_not_there_or_has_another_shape_is_one_line(copy: Path, tmp_path: Path) -> None:
    shutil.copytree(Path(load_config(copy / "config.yaml").data.shards) / "test", tmp_path / "data" / "test")
    write_split(tmp_path / "data" / "wide", (4,), seed=3, shape=(12, 14, 1))
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["data"]["shards"] = str(tmp_path / "data")
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match="has no split 'valid'"):
        evaluate_alone(copy, split="valid")
    with pytest.raises(UserError, match=r"images are \[12, 14, 1\] .* was trained on \[12, 12, 1\]"):
        evaluate_alone(copy, split="wide")
    (tmp_path / "data" / "test" / "part-000001.tar").unlink()
    with pytest.raises(UserError, match=r"part-000001.tar: is missing"):
        evaluate_alone(copy)


def test_a_mistake_is_told_once_by_two_processes(trained: Path, tmp_path: Path) -> None:
    launched = launch(tmp_path, 2, "evaluate", trained, "--checkpoint", "5")
    assert launched.wait() == [EXIT_USER_ERROR] * 2
    told = [line for rank in range(2) for line in launched.text(rank).splitlines() if line.startswith("aedist:")]
    assert len(told) == 1
    assert "--checkpoint 5: there is no such checkpoint" in told[0]


def test_a_model_that_gives_nan_is_evaluated_to_nulls(copy: Path) -> None:
    tensors, numbers = load_checkpoint(copy / "checkpoints" / name_of(16))
    tensors["model"]["decoder.0.bias"][:] = float("nan")
    save_checkpoint(copy / "checkpoints", 20, tensors, {**numbers, "progress": {**numbers["progress"], "step": 20}})
    record = evaluate_alone(copy)
    assert record["step"] == 20
    assert [set(summary.values()) for summary in record["metrics"].values()] == [{None, 23}] * len(METRICS)
    assert [summary["not_finite"] for summary in record["metrics"].values()] == [23] * len(METRICS)
    for name in PICTURES:
        Image.open(copy / "evaluation" / f"{name}.png").load()


def test_pictures_show_originals_above_reconstructions(trained: Path, shards: Path) -> None:
    evaluate_alone(trained)
    for name in PICTURES:
        picture = Image.open(trained / "evaluation" / f"{name}.png")
        picture.load()
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        columns = 3 if name == "reconstructions" else 10
        assert picture.width > columns * 72
        assert picture.height > 2 * 72
    originals = [np.kron(image(2, number)[..., 0], np.ones((6, 6), np.uint8)) for number in (0, 1, 2)]
    pixels = np.asarray(Image.open(trained / "evaluation" / "reconstructions.png"))[..., 0]
    for original in originals:
        assert any(
            np.array_equal(pixels[y : y + 72, x : x + 72], original)
            for y in range(pixels.shape[0] - 72)
            for x in np.flatnonzero(pixels[y, :-71] == original[0, 0])
        ), "an original is in the picture, pixel by pixel"


def batches_of(split: Split, stretches: list[Stretch]) -> Iterator[tuple[Stretch, Tensor]]:
    return read_stretches(split, stretches, 0)


def test_the_model_is_called_in_evaluation_mode_on_batches_of_fixed_size(shards: Path) -> None:
    split, plan, model = open_split(str(shards), "test"), EvaluationPlan(10, 4), Half()
    found = evaluate(model, batches_of(split, plan.batches(0, 1)), plan, ALONE, [pixel_metrics])
    assert model.calls == [(False, 4), (False, 4), (False, 2)]
    assert model.training
    x = np.stack([image(2, number) for number in range(10)]) / 255
    halved = np.round(x.astype(np.float32) * np.float32(0.5) * 255).astype(np.float64) / 255
    np.testing.assert_allclose(found["mse"], ((x - halved) ** 2).mean((1, 2, 3)), atol=1e-4)
    model.eval()
    evaluate(model, batches_of(split, plan.batches(0, 1)), plan, ALONE, [pixel_metrics])
    assert not model.training


@pytest.mark.parametrize(("num_images", "batch"), [(23, 4), (1, 4), (3, 250), (8, 4), (101, 7)])
def test_batches_are_dealt_whole_whatever_the_number_of_processes(num_images: int, batch: int) -> None:
    plan = EvaluationPlan(num_images, batch)
    alone = plan.batches(0, 1)
    assert [number for stretch in alone for number in range(*stretch)] == list(range(num_images))
    for world in range(1, 9):
        dealt = [plan.batches(rank, world) for rank in range(world)]
        assert sorted(stretch for stretches in dealt for stretch in stretches) == alone


def chosen(folder: Path, index: Index) -> list[int]:
    return classes_in_turn(ShardStore(folder, index))


def test_classes_take_turns_and_fill_a_row_from_the_first_shard_alone(shards: Path, tmp_path: Path) -> None:
    """The samples of these splits are of classes 0, 1, 2, ... in turn, begun anew after the last."""
    test = open_split(str(shards), "test")
    assert chosen(test.folder, test.index) == list(range(10)), "three classes share ten places"
    index = write_split(tmp_path / "many", (12, 5), seed=1, classes=30)
    (tmp_path / "many" / "part-000001.tar").unlink()
    assert chosen(tmp_path / "many", index) == list(range(10)), "ten of thirty classes"
    few = write_split(tmp_path / "few", (2, 5), seed=1, classes=3)
    assert chosen(tmp_path / "few", few) == [0, 1], "a class is missing in the first shard, and no other is opened"
    wide = replace(test.index, image_shape=(12, 128, 1))
    assert chosen(test.folder, wide) == list(range(8)), "wide images are eight"
    assert chosen(test.folder, replace(test.index, classes=())) == list(range(10)), "no classes"


def test_turns_go_round_the_classes_not_along_the_samples(tmp_path: Path) -> None:
    members = list[tuple[str, bytes]]()
    for number, label in enumerate((1, 1, 1, 3, 1, 3, 0)):
        members += [(f"{number}.cls", b"%d" % label), (f"{number}.png", png(image(0, number)))]
    write_tar(tmp_path / "a.tar", members)
    index_folder(tmp_path, lambda _: None)
    index = replace(read_index(tmp_path), classes=("a", "b", "c", "d"))
    assert chosen(tmp_path, index) == [6, 0, 3, 1, 5, 2, 4], "classes 0, 1, 3, then 1, 3, then 1, 1"


def test_the_lowest_middle_and_highest_values() -> None:
    values = np.array([5.0, 1.0, 4.0, np.nan, 2.0, 3.0, 0.0])
    assert spread(values, 2) == ([6, 1], [4, 5], [0, 3])
    assert spread(values[:1], 10) == ([0], [0], [0])


def test_a_picture_of_one_sample_leaves_the_model_in_its_mode(shards: Path) -> None:
    model = Half()
    split = open_split(str(shards), "test")
    store = ShardStore(split.folder, split.index)
    picture = reconstructions(model, torch.device("cpu"), store, [4], "a title", ["label"])
    assert model.training
    assert model.calls == [(False, 1)]
    assert picture.height > 2 * 72


@pytest.fixture
def periodic(tmp_path: Path, shards: Path) -> Callable[..., PeriodicEvaluation]:
    """The evaluation in training on one process, under a budget of memory."""

    def make(model: nn.Module, sink: Any = None, **data: object) -> PeriodicEvaluation:
        path = write_config(tmp_path / "c.yaml", shards, tmp_path / "run", data=data)
        config: Config = load_config(path)
        split = open_split(str(shards), "train")
        state = TrainState(model, torch.optim.Adam(model.parameters()), None, Progress(step=8))
        tracker = Tracker([sink] if sink else [])
        plan = make_plan(config, split.index)
        return PeriodicEvaluation(
            config, open_split(str(shards), "test"), plan, ALONE, state, tracker, RunDir(tmp_path / "run")
        )

    return make


@pytest.mark.parametrize(
    ("data", "reads"),
    [
        ({"mode": "auto"}, 1),
        ({"mode": "resident"}, 1),
        ({"mode": "stream"}, 3),
        ({"mode": "resident", "memory": 144 * 123}, 1),  # 100 training and 23 test images
        ({"mode": "resident", "memory": 144 * 122}, 3),
        ({"mode": "auto", "memory": 144 * 23}, 1),  # training images are streamed
        ({"mode": "auto", "memory": 144 * 22}, 3),
    ],
)
def test_images_are_kept_between_evaluations_where_they_fit_beside_the_training_images(
    periodic: Callable[..., PeriodicEvaluation],
    monkeypatch: pytest.MonkeyPatch,
    data: dict[str, object],
    reads: int,
) -> None:
    from aedist.training import periodic as module

    read, count = module.read_batches, list[int]()
    monkeypatch.setattr(module, "read_batches", lambda *args: (count.append(1), read(*args))[1])
    evaluation = periodic(Half(), **data)
    assert [evaluation() for _ in range(3)] == [True, False, False], "only the first is the best so far"
    assert len(count) == reads


def test_the_best_step_is_that_of_the_lowest_error_and_never_of_a_nan(
    periodic: Callable[..., PeriodicEvaluation], tmp_path: Path
) -> None:
    class Noting:
        def __init__(self) -> None:
            self.told = list[dict[str, Any]]()
            self.pictures = list[Path]()

        def record(self, record: dict[str, Any]) -> None:
            self.told.append(record)

        def picture(self, name: str, path: Path, record: dict[str, Any]) -> None:
            self.pictures.append(path)

    model, sink = Half(), Noting()
    evaluation = periodic(model, sink)
    progress = evaluation._state.progress
    for step, factor in enumerate((float("nan"), 0.5, 0.75, 0.25, float("nan"), 1.0)):
        progress.step = step
        model.factor.data.fill_(factor)
        evaluation()
    assert [record["best"] for record in sink.told] == [False, True, True, False, False, True]
    assert (progress.best_step, progress.best_value) == (5, 0.0)
    assert sink.told[0]["metrics"] == dict.fromkeys(METRICS)
    assert [path.name for path in sink.pictures] == [f"step-{step:09d}.png" for step in range(6)]
    for path in sink.pictures:
        assert path.parent == tmp_path / "run" / "images" / "reconstructions"
        Image.open(path).load()
