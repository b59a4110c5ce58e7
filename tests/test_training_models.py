"""The promise of ``test_training.py`` for what is hard about the other models: batch normalisation's running
statistics, the noise of a posterior, the moving average of the weights.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import aedist
from processes import launch, run
from runs import assert_ledger_is_exact, last_checkpoint, ledger, parameters, records, state_bytes
from samples import write_config, write_split

CONV = {"kind": "conv", "width": 4, "depth": 2, "latent_dim": 6}
VAE = {"kind": "vae", "width": 2, "hidden_dim": 10, "latent_dim": 6}
SPATIAL = {"kind": "residual", "posterior": "gaussian", "patch": 2, "channels": [8, 16], "latent_dim": 2}
EXACT_50 = {"epochs": None, "steps": 50, "reduce": "exact", "evaluate_every": 300, "checkpoint_every": 300}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 colour 16 x 16 training images in three uneven shards, and 12 test images."""
    folder = tmp_path_factory.mktemp("data") / "pictures"
    write_split(folder / "train", (13, 30, 17), seed=1, shape=(16, 16, 3))
    write_split(folder / "test", (12,), seed=2, shape=(16, 16, 3))
    return folder


def train(folder: Path, pictures: Path, name: str, world: int, model: dict[str, object], **sections: object) -> Path:
    config = write_config(folder / f"{name}.yaml", pictures, folder / name, **{"train": EXACT_50, **sections})  # type: ignore[arg-type]
    lines = config.read_text().replace("model:\n  hidden_dim: 16\n  kind: mlp\n  latent_dim: 4\n", "")
    config.write_text(f"{lines}model: {model}\n".replace("True", "true"))
    run(folder, world, "train", config)
    return folder / name


@pytest.mark.parametrize(
    ("model", "sections"),
    [
        (CONV, {}),
        (VAE, {"objective": {"kl_warmup_images": 200, "free_nats": 0.01}}),
        (SPATIAL, {"train": {**EXACT_50, "ema_decay": 0.9}, "optim": {"name": "adamw", "clip_norm": 5.0}}),
    ],
    ids=["conv", "vae", "residual"],
)
def test_50_exact_steps_are_bit_identical_on_1_2_and_3_processes(
    tmp_path: Path, pictures: Path, model: dict[str, object], sections: dict[str, object]
) -> None:
    alone, *others = [train(tmp_path, pictures, f"on{world}", world, model, **sections) for world in (1, 2, 3)]
    for other in others:
        assert state_bytes(other) == state_bytes(alone)
        assert records(other) == records(alone)
        assert ledger(other).tobytes() == ledger(alone).tobytes()
    assert_ledger_is_exact(alone)
    running = {name: tensor for name, tensor in parameters(alone).items() if "running" in name}
    assert bool(running) == (model["kind"] in ("conv", "vae"))
    assert all(tensor.abs().sum() > 0 for tensor in running.values()), "they moved"
    assert all(int(n) == 50 for name, n in parameters(alone).items() if "num_batches" in name)


@pytest.mark.parametrize("model", [CONV, VAE], ids=["conv", "vae"])
def test_the_fast_reduction_in_fp64_differs_by_rounding_alone(
    tmp_path: Path, pictures: Path, model: dict[str, object]
) -> None:
    # A bias before batch normalisation has no gradient but rounding, which Adam with its usual epsilon would enlarge.
    fast = {"train": {**EXACT_50, "steps": 12, "reduce": "fast", "precision": "fp64"}, "optim": {"eps": 1.0e-3}}
    alone, *others = [train(tmp_path, pictures, f"on{world}", world, model, **fast) for world in (1, 3)]
    for other in others:
        for name, tensor in parameters(alone).items():
            torch.testing.assert_close(parameters(other)[name], tensor, rtol=0, atol=1e-10)


def test_stopped_and_continued_on_another_number_the_vae_ends_the_same(tmp_path: Path, pictures: Path) -> None:
    """Noise, running statistics and the moving average all go on where they were."""
    sections = {"train": {**EXACT_50, "ema_decay": 0.95, "steps": 24}}
    whole = train(tmp_path, pictures, "whole", 1, VAE, **sections)
    cut = train(tmp_path, pictures, "cut", 2, VAE, train={**EXACT_50, "ema_decay": 0.95, "steps": 7})
    run(tmp_path, 3, "train", tmp_path / "cut.yaml", "train.steps=24")
    assert state_bytes(cut) == state_bytes(whole)
    assert {"model.safetensors", "ema.safetensors", "optimizer.safetensors"} == set(state_bytes(cut))


def test_the_moving_average_is_what_is_evaluated_and_exported(tmp_path: Path, pictures: Path) -> None:
    averaged = train(tmp_path, pictures, "averaged", 1, CONV, train={**EXACT_50, "ema_decay": 0.99})
    plain = train(tmp_path, pictures, "plain", 1, CONV)
    checkpoint = last_checkpoint(averaged)
    model, ema = load_file(checkpoint / "model.safetensors"), load_file(checkpoint / "ema.safetensors")
    assert all(torch.equal(tensor, ema[name]) for name, tensor in parameters(averaged).items())
    assert all(torch.equal(tensor, model[name]) for name, tensor in parameters(plain).items()), "training is the same"
    assert any(not torch.equal(tensor, ema[name]) for name, tensor in model.items())
    errors = [[r["metrics"]["mse"] for r in records(path) if r["kind"] == "evaluation"] for path in (averaged, plain)]
    assert errors[0] != errors[1]


def test_a_variational_run_records_rate_and_distortion_and_draws_the_same_noise(tmp_path: Path, pictures: Path) -> None:
    directory = train(tmp_path, pictures, "run", 1, VAE)
    last = [record for record in records(directory) if record["kind"] == "train"][-1]
    assert last["nats"] == {"rate": last["terms"]["kl"], "distortion": last["terms"]["squared_error"]}
    assert last["loss"] == pytest.approx(sum(last["nats"].values()))
    assert last["bits_per_dim"]["rate"] == pytest.approx(last["nats"]["rate"] / (16 * 16 * 3 * 0.6931471805599453))
    evaluations = [record for record in records(directory) if record["kind"] == "evaluation"]
    assert all(record["metrics"]["rate"] > 0 for record in evaluations)
    drawn = sorted((directory / "images" / "samples").glob("*.png"))
    assert len(drawn) == len(evaluations) > 1
    assert len(list((directory / "images" / "reconstructions").glob("*.png"))) == len(evaluations)
    assert aedist.load(directory).noise_shape == (6,)


def test_a_deterministic_run_draws_no_samples(tmp_path: Path, pictures: Path) -> None:
    directory = train(tmp_path, pictures, "run", 1, CONV, train={**EXACT_50, "steps": 2})
    assert not (directory / "images" / "samples").exists()


def test_a_model_that_does_not_fit_the_images_is_one_line(tmp_path: Path, pictures: Path) -> None:
    config = write_config(tmp_path / "c.yaml", pictures, tmp_path / "run")
    config.write_text(
        config.read_text().replace("hidden_dim: 16\n  kind: mlp\n  latent_dim: 4", "kind: conv\n  depth: 5")
    )
    launched = launch(tmp_path, 2, "train", config)
    assert launched.wait() == [2, 2]
    assert launched.text().strip() == (
        "aedist: model.kind: conv: images of 16 x 16 cannot be halved 5 times (model.depth); their sides must be "
        "multiples of 32"
    )


def test_a_micro_batch_too_small_for_batch_normalisation_is_one_line(tmp_path: Path, pictures: Path) -> None:
    config = write_config(tmp_path / "c.yaml", pictures, tmp_path / "run", batch={"micro": 1, "num_micro": 2})
    config.write_text(
        config.read_text().replace("hidden_dim: 16\n  kind: mlp\n  latent_dim: 4", "kind: conv\n  depth: 4\n  width: 2")
    )
    launched = launch(tmp_path, 1, "train", config)
    assert launched.wait() == [2]
    assert launched.text().strip() == (
        "aedist: batch.micro: 1 image of 16 x 16 leaves batch normalisation one number of a channel; take 2 or more"
    )


@pytest.mark.parametrize(
    ("side", "told"),
    [
        (16, "objective.lpips: images of 16 x 16 are too small for alex, which needs 31 x 31; "),
        (32, "objective.lpips: the weights of its network alex are not in "),
    ],
)
def test_an_lpips_term_that_cannot_be_computed_is_refused_before_anything_is_written(
    tmp_path: Path, side: int, told: str
) -> None:
    for split in ("train", "test"):
        write_split(tmp_path / "data" / split, (12,), seed=1, shape=(side, side, 3))
    config = write_config(tmp_path / "c.yaml", tmp_path / "data", tmp_path / "run", objective={"lpips": 10.0})
    launched = launch(tmp_path, 2, "train", config, environment={"XDG_CACHE_HOME": str(tmp_path / "empty")})
    assert launched.wait() == [2, 2]
    (line,) = [line for line in launched.text().splitlines() if line.startswith("aedist:")]
    assert line.startswith(f"aedist: {told}")
    assert (side == 16) or line.endswith("run 'aedist fetch lpips' first")
    assert not (tmp_path / "run").exists()
