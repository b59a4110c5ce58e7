"""A trained run opens to its model in evaluation mode, with the averaged weights where there are some."""

import shutil
from pathlib import Path

import pytest
import torch

from aedist.checkpoint import load_checkpoint, save_checkpoint
from aedist.errors import UserError
from aedist.pretrained import load
from aedist.trained import open_another_split, open_trained
from processes import run
from samples import write_config, write_split


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on shards of its own."""
    folder = tmp_path_factory.mktemp("trained")
    for split, seed in (("train", 1), ("test", 2)):
        write_split(folder / "blobs" / split, (24,), seed=seed)
    run(folder, 1, "train", write_config(folder / "c.yaml", folder / "blobs", folder / "run", train={"epochs": 1}))
    return folder / "run"


def test_the_model_is_the_last_checkpoints_in_evaluation_mode(trained: Path) -> None:
    told = list[str]()
    opened = open_trained(trained, say=told.append)
    assert (opened.step, opened.is_averaged, opened.model.training, told) == (2, False, False, [])
    assert opened.split.index.split == "test"
    exported = load(trained).state_dict()
    assert all(torch.equal(tensor, exported[name]) for name, tensor in opened.model.state_dict().items())


def test_the_average_is_the_model_where_training_kept_one(trained: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained, tmp_path / "copy")
    opened = open_trained(copy)
    tensors, numbers = load_checkpoint(opened.checkpoint)
    tensors["ema"] = {name: tensor / 2 for name, tensor in tensors["model"].items()}
    save_checkpoint(copy / "checkpoints", opened.step, tensors, numbers)
    told = list[str]()
    averaged = open_trained(copy, say=told.append)
    assert averaged.is_averaged
    assert told == ["step-000000002: taking the moving average of the weights"]
    for name, tensor in averaged.model.state_dict().items():
        assert torch.equal(tensor, tensors["ema"][name])


def test_another_split_is_checked_as_the_first(trained: Path, tmp_path: Path) -> None:
    opened = open_trained(trained)
    assert open_another_split(opened, "test") is opened.split
    assert open_another_split(opened, "train").index.split == "train"
    with pytest.raises(UserError, match="has no split 'other'"):
        open_another_split(opened, "other")
    shards = Path(opened.config.data.shards)
    kept = shutil.copytree(shards / "train", tmp_path / "kept")
    try:
        shutil.rmtree(shards / "train")
        write_split(shards / "train", (24,), seed=9)
        with pytest.raises(UserError, match="has fingerprint"):
            open_another_split(opened, "train")
        shutil.rmtree(shards / "train")
        write_split(shards / "train", (24,), seed=1, shape=(8, 8, 1))
        with pytest.raises(UserError, match=r"its images are \[8, 8, 1\]"):
            open_another_split(opened, "train")
    finally:
        shutil.rmtree(shards / "train")
        shutil.copytree(kept, shards / "train")


def test_a_checkpoint_of_another_model_than_the_configurations_is_one_line(trained: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained, tmp_path / "copy")
    config = copy / "config.yaml"
    config.write_text(config.read_text().replace("hidden_dim: 16", "hidden_dim: 17"))
    with pytest.raises(UserError, match=r"step-000000002: does not fit the model that .*yaml describes") as told:
        open_trained(copy)
    assert len(str(told.value).splitlines()) == 1
