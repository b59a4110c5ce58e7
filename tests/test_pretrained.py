"""A model goes to the hub and comes back bit for bit; what goes wrong on the way is one line.

The hub is a server on this machine, which huggingface_hub is pointed at in a process of its own, since it reads the
hub's address once.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import aedist
from aedist.errors import UserError
from aedist.export import export
from aedist.modelcard import model_card
from aedist.pretrained import Pretrained
from fakehub import Hub, fake_hub

OPTIONS: dict[str, Any] = {"image_shape": (8, 8, 3), "latent_dim": 4, "width": 3, "depth": 2}
RECORD: dict[str, Any] = {
    "kind": "conv",
    "options": OPTIONS,
    "value_range": [0, 1],
    "data": {"name": "blobs", "fingerprint": "abc", "classes": [f"class {number}" for number in range(30)]},
    "step": 12,
    "metrics": {"split": "test", "psnr": 21.5},
}

_DRIVER = """
import contextlib, io, json, os, sys
from safetensors.torch import save_file
import aedist
from aedist.cli import main
from aedist.errors import UserError
results = []
for token, verb, *words in json.loads(sys.argv[1]):
    os.environ["HF_TOKEN"] = token
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if verb == "load":
                save_file(aedist.load(words[0]).state_dict(), words[1])
            else:
                main([verb, *words])
        except UserError as error:
            code = f"UserError: {error}"
        except SystemExit as end:
            code = end.code
    results.append([code, out.getvalue() + err.getvalue()])
print(json.dumps(results))
"""


def converse(folder: Path, url: str, *steps: list[str], offline: bool = False) -> list[tuple[Any, str]]:
    """What each step (token, verb, words...) ended with and said, all in one process whose hub is at ``url``."""
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {"HF_ENDPOINT": url, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment |= {"HF_HUB_OFFLINE": "1"} if offline else {}
    command = [sys.executable, "-c", _DRIVER, json.dumps(steps)]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return [(code, said) for code, said in json.loads(done.stdout.splitlines()[-1])]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with fake_hub() as running:
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's directory with a model in it."""
    export(tmp_path / "run" / "model", aedist.get_model("conv", **OPTIONS), RECORD)
    return tmp_path / "run"


def files_of(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "model").iterdir()}


def test_a_model_goes_to_the_hub_and_comes_back(tmp_path: Path, hub: Hub, run: Path) -> None:
    first = files_of(run)
    (code, said), loaded = converse(
        tmp_path,
        hub.url,
        ["writer-me", "push", "run", "me/model", "--private"],
        ["writer-me", "load", "me/model", "back"],
    )
    assert (code, said) == (
        0,
        f"me/model: pushed conv with {aedist.count_parameters(aedist.load(run)):,} parameters, step 12; "
        f'load it with aedist.load("me/model")\n',
    )
    assert loaded == (0, "")
    assert hub.private == {"me/model": True}
    (commit,) = hub.commits["me/model"]
    pushed = hub.commits["me/model"][commit]
    assert {name: content for name, content in pushed.items() if name != "README.md"} == first
    card = pushed["README.md"].decode()
    assert 'aedist.load("me/model")' in card
    assert "| psnr | 21.5 |" in card
    back, original = load_file(tmp_path / "back"), aedist.load(run).state_dict()
    assert back.keys() == original.keys()
    assert all(
        torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in original.items()
    )

    # a later model takes its place; the earlier one is still there by its commit
    export(run / "model", aedist.get_model("conv", **OPTIONS), {**RECORD, "step": 24})
    steps = (
        ["writer-me", "push", "run", "me/model"],
        ["writer-me", "load", "me/model", "newer"],
        ["writer-me", "load", f"me/model@{commit}", "older"],
    )
    assert [code for code, _ in converse(tmp_path, hub.url, *steps)] == [0, 0, 0]
    assert list(hub.commits["me/model"].values())[-1]["model.safetensors"] == files_of(run)["model.safetensors"]
    assert torch.equal(load_file(tmp_path / "older")["encoder.0.weight"], back["encoder.0.weight"])
    assert not torch.equal(load_file(tmp_path / "newer")["encoder.0.weight"], back["encoder.0.weight"])


def test_what_goes_wrong_is_one_line(tmp_path: Path, hub: Hub, run: Path) -> None:
    hub.commits |= {"me/there": {}, "me/empty": {}, "me/odd": {}, "you/secret": {}}
    hub.private |= {"me/there": False, "me/empty": False, "me/odd": False, "you/secret": True}
    hub.commit("me/there", files_of(run))
    hub.commit("me/empty", {"config.json": b"{}"})
    hub.commit("me/odd", {"config.json": b'{"kind": "vit", "options": {}}', "model.safetensors": b"nothing"})
    hub.commit("you/secret", files_of(run))
    (tmp_path / "runs").mkdir()
    loads = {
        "me/none": "me/none: is neither a folder here nor a model on the hub; correct it, or log in",
        "you/secret": "you/secret: is neither a folder here nor a model on the hub; correct it, or log in",
        "me/there@gone": "me/there@gone: there is no such revision on the hub; name a branch, a tag or a commit",
        "me/empty": "me/empty: this place on the hub holds no exported model of aedist",
        "me/odd": "me/odd: is not an exported model of this version (there is no model 'vit'",
        "me/a--b": "me/a--b: is not the name of a place on the hub (Cannot have -- or ..",
        "runs/none": "runs/none: holds no exported model (No such file or directory)",
        "me/there/model": "me/there/model: holds no exported model (No such file or directory)",
        "nothing": "nothing: holds no exported model (No such file or directory)",
        "": ".: holds no exported model (No such file or directory)",
    }
    pushes = {
        ("writer-me", "run", "you/model"): "you/model: the hub refuses it (403); log in with 'hf auth login'",
        ("stranger", "run", "me/model"): "me/model: the hub refuses it (401); log in with 'hf auth login'",
        ("", "run", "me/model"): "me/model: nobody is logged in to the hub; run 'hf auth login', or set HF_TOKEN",
        ("writer-me", "none", "me/model"): "none: holds no exported model (No such file or directory)",
        ("writer-me", "run", "model"): "model: is not the name of a place on the hub; write owner/name",
        ("writer-me", "run", "me/model@main"): "me/model@main: is not the name of a place on the hub",
        ("writer-me", "run", "me/there", "--private"): "me/there: is on the hub already, and public; make it private",
    }
    before = {name: list(commits) for name, commits in hub.commits.items()}
    ends = converse(
        tmp_path,
        hub.url,
        *(["writer-me", "load", name, "back"] for name in loads),
        *([token, "push", *words] for token, *words in pushes),
    )
    told = [str(code).removeprefix("UserError: ") for code, _ in ends[: len(loads)]]
    for (code, said), expected in zip(ends[len(loads) :], pushes.values(), strict=True):
        assert (code, said[:8]) == (2, "aedist: "), expected
        told.append(said.removeprefix("aedist: ").removesuffix("\n"))
    for line, expected in zip(told, [*loads.values(), *pushes.values()], strict=True):
        assert line.startswith(expected)
        assert "\n" not in line
    assert {name: list(commits) for name, commits in hub.commits.items()} == before
    assert not (tmp_path / "back").exists()


def test_a_hub_that_cannot_be_reached_is_told(tmp_path: Path, hub: Hub, run: Path) -> None:
    """A port that refuses; and with the library told to stay offline, where what was loaded before still loads."""
    hub.commits["me/there"], hub.private["me/there"] = {}, False
    hub.commit("me/there", files_of(run))
    (refused,) = converse(tmp_path, "http://127.0.0.1:9", ["writer-me", "push", "run", "me/model"])
    assert (refused[0], refused[1][:48]) == (2, "aedist: me/model: the hub cannot be reached ([Er")
    assert refused[1].count("\n") == 1
    (online,) = converse(tmp_path, hub.url, ["writer-me", "load", "me/there", "back"])
    steps = (["", "load", "me/there", "again"], ["", "load", "me/other", "none"], ["a", "push", "run", "me/model"])
    cached, unknown, pushed = converse(tmp_path, hub.url, *steps, offline=True)
    assert (online[0], cached[0]) == (0, 0)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "again").read_bytes()
    assert unknown[0] == (
        "UserError: me/other: is no folder here, and the hub cannot be reached; give a folder, or go online once"
    )
    assert (pushed[0], pushed[1][:45]) == (2, "aedist: me/model: the hub cannot be reached (")


def test_the_mixins_own_names_work_on_folders(tmp_path: Path, run: Path) -> None:
    pretrained = Pretrained.from_pretrained(run / "model")
    assert pretrained.record["step"] == 12
    pretrained.save_pretrained(tmp_path / "saved")
    saved = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    assert {name: content for name, content in saved.items() if name != "README.md"} == files_of(run)
    (tmp_path / "saved" / "config.json").write_text("[]")
    with pytest.raises(UserError, match="is not an exported model"):
        Pretrained.from_pretrained(tmp_path / "saved")


def test_the_page_is_short_and_nothing_breaks_out_of_its_tables() -> None:
    card = model_card({**RECORD, "data": {"name": "a | b\n# c <script>", "classes": RECORD["data"]["classes"]}}, None)
    assert card.startswith("---\nlibrary_name: aedist\ntags:\n- aedist\n- autoencoder\n---\n# conv\n")
    assert "| name | a \\| b # c &lt;script> |" in card
    assert "class 19, and 10 more |" in card
    assert 'aedist.load("FOLDER")' in card
    assert model_card({"kind": "mlp"}, "me/model").count("##") == 1
