"""An exported model comes back bit for bit, and nothing else comes in through its files."""

import hashlib
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from torch import nn

import aedist
from aedist.errors import UserError
from aedist.export import export, read_export
from aedist.models import MODELS

OPTIONS: dict[str, Any] = {"image_shape": (6, 5, 3), "hidden_dim": 7, "latent_dim": 3}
RECORD: dict[str, Any] = {"kind": "mlp", "options": OPTIONS, "step": 12}


SMALL: dict[str, dict[str, Any]] = {  # of every kind, one that is quick to make
    "mlp": OPTIONS,
    "conv": {"image_shape": (8, 8, 3), "latent_dim": 4, "width": 3, "depth": 2},
    "vae": {"image_shape": (16, 16, 3), "latent_dim": 3, "hidden_dim": 5, "width": 2},
    "residual": {
        "image_shape": (8, 8, 1),
        "patch": 1,
        "channels": (16, 32),
        "attention": True,
        "posterior": "gaussian",
    },
}


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as refused:
        aedist.load(path)
    told = str(refused.value)
    assert len(told.splitlines()) == 1
    return told


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A run's directory with a model in it."""
    export(tmp_path / "run" / "model", aedist.get_model("mlp", **OPTIONS), RECORD)
    return tmp_path / "run"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", MODELS)
def test_a_model_comes_back_bit_for_bit(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    """Every kind there is, with its counters, from text or a path, from a run or the folder itself."""
    model = aedist.get_model(kind, **SMALL[kind]).to(dtype)
    for tensor in model.state_dict().values():  # batch norm's counters and statistics too
        tensor.add_(torch.rand(tensor.shape, dtype=dtype) / 10 if tensor.is_floating_point() else 2**40)
    model.eval()
    export(tmp_path / "run" / "model", model, {"kind": kind, "options": SMALL[kind]})
    height, width, channels = SMALL[kind]["image_shape"]
    x = torch.rand(4, channels, height, width, dtype=dtype)
    for path in (tmp_path / "run", str(tmp_path / "run" / "model")):
        loaded = aedist.load(path)
        assert type(loaded) is type(model)
        assert not loaded.training
        assert aedist.count_parameters(loaded) == aedist.count_parameters(model)
        found = loaded.state_dict()
        assert found.keys() == model.state_dict().keys()
        for name, tensor in model.state_dict().items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor)
        with torch.no_grad():
            assert torch.equal(loaded(x).reconstruction, model(x).reconstruction)
        assert loaded.train()(x).reconstruction.dtype == dtype, "it can be trained on"
    export(tmp_path / "again", aedist.load(tmp_path / "run"), {"kind": kind, "options": SMALL[kind]})
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "run" / "model" / name).read_bytes()


def test_the_record_says_what_made_it_and_knows_its_weights(exported: Path) -> None:
    export(exported / "model", aedist.get_model("mlp", **OPTIONS), {**RECORD, "metrics": {"psnr": float("nan")}})
    record = json.loads((exported / "model" / "config.json").read_text(), parse_constant=pytest.fail)
    weights = (exported / "model" / "model.safetensors").read_bytes()
    assert record["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert (record["kind"], record["step"], record["metrics"]) == ("mlp", 12, {"psnr": None})
    assert record["aedist"].count(".") == 2
    assert read_export(exported / "model").record == record


def test_exporting_again_replaces_and_leaves_nothing_else(exported: Path) -> None:
    earlier = aedist.load(exported)
    before = {name: tensor.clone() for name, tensor in earlier.state_dict().items()}
    model = aedist.get_model("mlp", **OPTIONS)
    export(exported / "model", model, {**RECORD, "step": 24})
    assert torch.equal(aedist.load(exported).state_dict()["encoder.1.weight"], model.state_dict()["encoder.1.weight"])
    assert all(torch.equal(before[name], tensor) for name, tensor in earlier.state_dict().items())
    assert sorted(path.name for path in (exported / "model").iterdir()) == ["config.json", "model.safetensors"]
    assert json.loads((exported / "model" / "config.json").read_text())["step"] == 24


def test_a_missing_model_is_told(exported: Path, tmp_path: Path) -> None:
    fix = "a run writes it when it ends"
    assert refusal(tmp_path / "none") == (
        f"{tmp_path / 'none'}: holds no exported model (No such file or directory); {fix}"
    )
    (exported / "model" / "model.safetensors").unlink()
    assert fix in refusal(exported)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "[" * 100_000,
        '{"kind": "mlp", "options": null}',
        '{"kind": "mlp", "options": {}}',
        '{"kind": "vit", "options": {"image_shape": [6, 5, 3]}}',
        '{"kind": ["mlp"], "options": {"image_shape": [6, 5, 3]}}',
        '{"kind": "mlp", "options": {"image_shape": [6, 5, 3], "depth": 3}}',
        '{"kind": "mlp", "options": {"image_shape": [6, 5, 3], "hidden_dim": 8, "latent_dim": 3}}',
        '{"kind": "mlp", "options": {"image_shape": [6, 5], "hidden_dim": 7, "latent_dim": 3}}',
        '{"kind": "mlp", "options": {"image_shape": 6}}',
    ],
    ids=lambda text: text[:60],
)
def test_a_config_that_does_not_fit_is_told_in_one_line(exported: Path, config: str) -> None:
    (exported / "model" / "config.json").write_text(config)
    assert refusal(exported).startswith(f"{exported / 'model'}: is not an exported model of this version (")


@pytest.mark.parametrize("kept", [0, 1, 8, 100, -1])
def test_truncated_weights_are_told_in_one_line(exported: Path, kept: int) -> None:
    weights = exported / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    assert "is not an exported model of this version" in refusal(exported)


class Trap:
    """Unpickled, it would make a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_nothing_is_unpickled(exported: Path, tmp_path: Path, name: str) -> None:
    marker = tmp_path / "marker"
    pickled = pickle.dumps(Trap(marker))
    pickle.loads(pickled)
    assert marker.exists(), "the trap works"
    marker.unlink()
    (exported / "model" / name).write_bytes(pickled)
    assert "is not an exported model" in refusal(exported)
    torch.save({"weights": Trap(marker)}, exported / "model" / name)
    assert "is not an exported model" in refusal(exported)
    assert not marker.exists()


def put(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Weights into an exported model's folder, with the sha256 that says they belong there."""
    content = save(weights)
    (folder / "model.safetensors").write_bytes(content)
    record = json.loads((folder / "config.json").read_text())
    record["weights_sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "config.json").write_text(json.dumps(record))


def test_a_flipped_bit_and_another_models_weights_are_noticed(exported: Path, tmp_path: Path) -> None:
    weights = exported / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "damaged, or another model's" in refusal(exported)
    export(tmp_path / "other", aedist.get_model("mlp", **OPTIONS), RECORD)
    weights.write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    assert "damaged, or another model's" in refusal(exported)


def test_weights_of_other_names_shapes_and_types_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    export(folder, aedist.get_model("conv", **SMALL["conv"]), {"kind": "conv", "options": SMALL["conv"]})
    weights = load_file(folder / "model.safetensors")
    put(folder, weights)
    aedist.load(folder)
    name, counter = "encoder.0.weight", "encoder.1.num_batches_tracked"
    for changed, why in (
        ({key: tensor for key, tensor in weights.items() if key != name}, f'Missing key.*"{name}"'),
        ({**weights, "stranger": torch.zeros(1)}, 'Unexpected key.*"stranger"'),
        ({**weights, name: weights[name][:1].clone()}, f"size mismatch for {name}"),
        ({**weights, name: weights[name].double()}, "is torch.float64"),
        ({**weights, name: weights[name].int()}, f"{name} is torch.int32, not torch.float32"),
        ({**weights, counter: weights[counter].float()}, f"{counter} is torch.float32, not torch.int64"),
        ({**weights, counter: weights[counter].int()}, f"{counter} is torch.int32, not torch.int64"),
    ):
        put(folder, changed)
        told = refusal(folder)
        assert re.search(why, told), told


def test_tensors_that_share_memory_are_not_exported(tmp_path: Path) -> None:
    model = aedist.get_model("mlp", **OPTIONS)
    tied = nn.Linear(7, 7)
    model.add_module("one", tied)
    model.add_module("two", tied)
    with pytest.raises(ValueError, match=r"one\.weight and two\.weight share memory"):
        export(tmp_path / "model", model, RECORD)
    assert not (tmp_path / "model").exists()


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "model").touch()
    with pytest.raises(UserError, match=r"model: the model cannot be written \(File exists\)"):
        export(tmp_path / "model", aedist.get_model("mlp", **OPTIONS), RECORD)
