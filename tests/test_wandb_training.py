"""Real trainings beside a W&B that is well, dead, or neither: it gets one curve, and changes nothing."""

import json
import os
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas
import pytest
import yaml
from fakewandb import serving
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from aedist.configfile import load_config
from processes import launch, wait_for_step
from runs import state_bytes
from samples import write_config

NOBODY_LISTENS = "http://127.0.0.1:9"


def words_of(url: str, home: Path) -> dict[str, str]:
    """What the environment says of W&B."""
    home.mkdir(exist_ok=True)
    return {"WANDB_BASE_URL": url, "WANDB_API_KEY": "0" * 40, "HOME": str(home)}


def test_the_parameters_are_the_same_whatever_w_and_b_does(tmp_path: Path, shards: Path) -> None:
    """All trainings at once; each ends well, and says in one line what W&B did not do."""
    with ExitStack() as servers:
        urls = {mode: servers.enter_context(serving(mode)).url for mode in ("well", "error", "hang")}
        urls |= {"refuses": NOBODY_LISTENS, "offline": NOBODY_LISTENS, "disabled": NOBODY_LISTENS}
        launched = {}
        for name, url in urls.items():
            mode = name if name in ("offline", "disabled") else "online"
            config = write_config(
                tmp_path / f"{name}.yaml",
                shards,
                tmp_path / name,
                train={"epochs": 3, "log_every": 24, "evaluate_every": 48, "reduce": "exact"},
                track={"wandb": mode},
            )
            environment = words_of(url, tmp_path / "home")
            launched[name] = launch(tmp_path / f"out-{name}", 1, "train", config, environment=environment)
        assert {name: one.wait() for name, one in launched.items()} == {name: [0] for name in urls}
    expected = state_bytes(tmp_path / "disabled")
    assert all(state_bytes(tmp_path / name) == expected for name in urls)
    complaints = {name: len(re.findall("W&B: |W&B did not", one.text())) for name, one in launched.items()}
    assert complaints == {"well": 0, "error": 1, "hang": 1, "refuses": 1, "offline": 0, "disabled": 0}


def test_killed_and_gone_on_elsewhere_it_is_one_run_with_one_curve(tmp_path: Path, shards: Path) -> None:
    """Killed with one process, gone on with two, stopped, and finished with one: W&B, and pandas, see one run."""
    keys = {"epochs": 60, "checkpoint_every": 36, "log_every": 12, "evaluate_every": 240, "reduce": "exact"}
    config = write_config(tmp_path / "c.yaml", shards, tmp_path / "run", train=keys, track={"wandb": "online"})
    with serving() as server:
        environment = words_of(server.url, tmp_path / "home")
        for world, step in ((1, 80), (2, 200)):
            launched = launch(tmp_path, world, "train", config, environment=environment)
            wait_for_step(launched, tmp_path / "run", step)
            launched.processes[0].kill()
            launched.wait()
        last = launch(tmp_path, 1, "train", config, environment=environment)
        assert last.wait() == [0], last.text()
        (name,) = server.runs
        found = server.runs[name]
    environment_json = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert name == environment_json["run_id"]
    assert [attempt["world"] for attempt in environment_json["attempts"]] == [1, 2, 1]
    told = [row["step"] for row in found.history]
    assert told == list(range(1, 481)), "every step once, in order"
    assert found.exit_code == 0
    checkpoint = max((tmp_path / "run" / "checkpoints").glob("step-*"))
    assert json.loads((checkpoint / "state.json").read_text())["run_id"] == name

    table = pandas.read_json(tmp_path / "run" / "metrics.jsonl", lines=True)
    steps = table[table.kind == "train"].step
    assert steps.tolist() == list(range(1, 481))
    assert all(table[table.kind == kind].step.is_monotonic_increasing for kind in ("epoch", "evaluation"))
    assert set(table.attempt) == {1, 2, 3}
    ranks = table[table.kind == "train"].ranks
    assert {len(one["data_wait"]) for one in ranks} == {1, 2}
    assert (table[table.kind == "train"].memory_bytes > 2**20).all()


def test_a_run_that_lost_its_record_goes_on_under_its_id(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path / "c.yaml", shards, tmp_path / "run", train={"epochs": 2, "checkpoint_every": 24})
    assert launch(tmp_path, 1, "train", config).wait() == [0]
    record = tmp_path / "run" / "environment.json"
    known = json.loads(record.read_text())["run_id"]
    record.unlink()
    (max((tmp_path / "run" / "checkpoints").glob("step-*")) / "manifest.json").unlink()
    assert launch(tmp_path, 1, "train", config).wait() == [0]
    assert json.loads(record.read_text())["run_id"] == known


SWEEPS = sorted(Path(__file__).parents[1].glob("configs/sweep_*.yaml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda one: one.stem)
def test_what_the_agents_of_a_sweep_run_is_our_command_line(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command as the agent makes it, with one value of each parameter, names a configuration and its keys."""
    monkeypatch.chdir(path.parents[1])
    sweep: dict[str, Any] = yaml.safe_load(path.read_text())
    # the agent's own functions, as its _command_run calls them
    values = {
        name: {"value": parameter["values"][0] if "values" in parameter else parameter["min"]}
        for name, parameter in sweep["parameters"].items()
    }
    variables = {**create_sweep_command_args({"args": values}), "env": ["/usr/bin/env"]}
    command = list[str]()
    for word in create_sweep_command(sweep["command"]):
        command += variables[word[2:-1]] if word.startswith("${") and word.endswith("}") else [str(word)]
    shown = [word.replace("aedist train", "printf '%s\\n'") for word in command]  # the words that aedist would get
    environment = {**os.environ, "WANDB_RUN_ID": "agent-1", "WANDB_SWEEP_ID": "sweep-1"}
    words = subprocess.run(shown, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()
    config = load_config(Path(words[0]), words[1:])
    assert config.track.id == "agent-1"
    assert config.run.dir.endswith("/agent-1")
    assert {f"{name}={one['value']}" for name, one in values.items()} <= set(words)
    assert sweep["metric"]["name"].startswith("best/")
