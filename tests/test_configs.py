"""Every configuration in configs/ loads, builds its model at full size, and trains two steps of a narrow one."""

from pathlib import Path

import pytest

from aedist.architecture import sketch_model
from aedist.config import Config
from aedist.configfile import load_config
from aedist.modelconfig import ResidualModel
from aedist.models import count_parameters
from aedist.models.residual import PRESETS
from processes import run
from runs import assert_ledger_is_exact, records
from samples import write_split

FOLDER = Path(__file__).parent.parent / "configs"
CONFIGS = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.startswith("sweep_"))
SHAPES = {
    "mnist": (28, 28, 1),
    "tinyimagenet": (64, 64, 3),
    "faces": (256, 256, 3),
    "portraits": (256, 256, 3),
    "olivetti": (64, 64, 1),
}
"""Of the images, by data set."""
PARAMETERS = {"mnist_ae": 322_804, "tinyimagenet_ae": 13_912_707, "faces_vae": 63_332_411}
"""The notebook's models."""


def data_of(path: Path) -> str:
    return path.stem.partition("_")[0]


def narrow(config: Config, shape: tuple[int, int, int]) -> list[str]:
    """The words that make a model small and leave its form."""
    if isinstance(config.model, ResidualModel):
        levels = config.model.channels or PRESETS[max(shape)][1]
        return [
            f"model.channels=[{', '.join('4' for _ in levels)}]",
            f"model.patch={config.model.patch or PRESETS[max(shape)][0]}",
        ]
    return {"mlp": [], "conv": ["model.width=2"], "vae": ["model.width=1", "model.hidden_dim=4"]}[config.model.kind]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_loads_builds_and_trains_two_steps(tmp_path: Path, path: Path) -> None:
    config, shape = load_config(path), SHAPES[data_of(path)]
    assert Path(config.data.shards).name == data_of(path)
    model = sketch_model(config.model, shape)
    assert count_parameters(model) == PARAMETERS.get(path.stem, count_parameters(model))

    shards, directory = tmp_path / "shards", tmp_path / "run"
    write_split(shards / config.data.split, (6, 4), seed=1, shape=shape)
    write_split(shards / config.evaluate.split, (3,), seed=2, shape=shape)
    words = [f"data.shards={shards}", f"run.dir={directory}", "data.workers=0", "track.wandb=disabled"]
    words += ["batch.micro=2", "batch.num_micro=2", "train.epochs=null", "train.steps=2", "evaluate.batch=2"]
    run(tmp_path, 1, "train", path, *words, *narrow(config, shape))
    assert_ledger_is_exact(directory)
    *_, last = [record for record in records(directory) if record["kind"] == "train"]
    assert last["step"] == 2
    assert last["skipped_steps"] == 0
    assert last["loss"] > 0
