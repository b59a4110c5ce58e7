"""An exported model comes back bit for bit, and nothing else comes in through its files."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

import aedist
from aedist.errors import UserError
from aedist.export import export

OPTIONS: dict[str, Any] = {"image_shape": (6, 5, 3), "hidden_dim": 7, "latent_dim": 3}
RECORD: dict[str, Any] = {"kind": "mlp", "options": OPTIONS, "step": 12}


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
def test_a_model_comes_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    model = aedist.get_model("mlp", **OPTIONS).to(dtype)
    export(tmp_path / "run" / "model", model, RECORD)
    x = torch.rand(4, 3, 6, 5, dtype=dtype)
    for path in (tmp_path / "run", str(tmp_path / "run" / "model")):
        loaded = aedist.load(path)
        assert type(loaded) is type(model)
        assert not loaded.training
        assert aedist.count_parameters(loaded) == aedist.count_parameters(model)
        for name, tensor in model.state_dict().items():
            assert loaded.state_dict()[name].dtype == dtype
            assert torch.equal(loaded.state_dict()[name], tensor)
        assert torch.equal(loaded(x).reconstruction, model(x).reconstruction)


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
