"""Real commands in real terminals: Ctrl-C, the cursor, no colours, no terminal at all, and lines for programs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from terminals import in_terminal

from processes import launch
from samples import write_config

HIDE = b"\x1b[?25l"


@pytest.fixture
def endless(tmp_path: Path, shards: Path) -> Path:
    """A run that only a stop ends."""
    return write_config(
        tmp_path / "endless.yaml", shards, tmp_path / "run", train={"epochs": None, "steps": 10**6, "threads": 1}
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_checkpoints_says_so_first_and_a_second_one_changes_nothing(
    tmp_path: Path, endless: Path, processes: int
) -> None:
    """Also where the command starts several processes, which all hear a terminal's Ctrl-C."""
    terminal = in_terminal("train", endless, "--processes", processes, columns=200)
    terminal.wait_for(lambda: f"starting {endless}" in terminal.text())
    assert "data      blobs" not in terminal.text(), "something is at work while libraries are still being loaded"
    terminal.wait_for(lambda: "images/s" in terminal.text())
    terminal.press(b"\x03")
    terminal.wait_for(lambda: "aedist: SIGINT: stopping, with a checkpoint" in terminal.text())
    for _ in range(3):
        terminal.press(b"\x03")
    assert terminal.wait() == 75, terminal.text()
    text = terminal.text()
    assert text.count("stopping, with a checkpoint") == 1, "it is said by one process, once"
    assert "aedist: stopped by SIGINT after step " in text.replace("\n", "")
    assert "Traceback" not in text
    assert HIDE not in terminal.shown, "what is never hidden need not be put back, even after kill -9"
    assert b"\x1b[2J" not in terminal.shown, "the screen is never cleared"
    assert json.loads((tmp_path / "run" / "ending.json").read_text())["exit_code"] == 75
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))


def test_lines_where_the_terminal_is_dumb(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path / "c.yaml", shards, tmp_path / "run", train={"epochs": None, "steps": 1})
    terminal = in_terminal("train", config, TERM="dumb")
    assert terminal.wait() == 0, terminal.text()
    assert b"\x1b" not in terminal.shown
    assert "epoch 0.12 of 0.125, step 1, 12 images" in terminal.text()


@pytest.mark.parametrize("is_plain", [False, True])
def test_colours_and_width_are_as_the_environment_says(tmp_path: Path, *, is_plain: bool) -> None:
    (tmp_path / ("broken" * 12)).mkdir()
    (tmp_path / ("broken" * 12) / "metrics.jsonl").touch()
    terminal = in_terminal("runs", tmp_path, **({"NO_COLOR": "1", "COLUMNS": "45"} if is_plain else {}))
    assert terminal.wait() == 0, terminal.text()
    assert (b"\x1b[31m" in terminal.shown) != is_plain
    assert (max(len(line) for line in terminal.text().splitlines() if "reading" not in line) == 45) == is_plain


def test_a_pipe_gets_no_control_characters_and_quiet_verbs_tell_the_end_alone(tmp_path: Path, shards: Path) -> None:
    config = write_config(
        tmp_path / "c.yaml",
        shards,
        tmp_path / "run",
        train={"epochs": None, "steps": 1},
        evaluate={"images": 4, "fid_images": 0, "fit_images": 8},
    )
    without_networks = {"XDG_CACHE_HOME": str(tmp_path / "cache")}

    def told(*words: object) -> list[str]:
        launched = launch(tmp_path, 1, *words, environment=without_networks)
        assert launched.wait() == [0], launched.text()
        assert not any(character < " " and character != "\n" for character in launched.text())
        return launched.text().splitlines()

    assert told("train", config, "--quiet")[0].startswith(f"{tmp_path / 'run'}: trained 0.125 epochs, 12 images on 1 ")
    assert told("train", config)[0].startswith("data      blobs/train: 100 images")
    assert len(told("evaluate", tmp_path / "run", "--quiet")) == 1
    assert told("verify", tmp_path / "run")[-1].endswith("all of it is proven up to step 1")
    assert told("runs", tmp_path)[-1].split()[:4] == ["run", "finished", "mlp", "blobs"]


def test_programs_hear_every_record_and_the_end(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path / "c.yaml", shards, tmp_path / "run", train={"epochs": None, "steps": 8})
    launched = launch(tmp_path, 2, "train", config, "--json")
    assert launched.wait() == [0, 0], launched.text()
    assert '{"kind"' not in launched.text(1)
    told = [
        json.loads(line) for line in launched.text().splitlines() if line.startswith("{")
    ]  # not what libraries warn of
    kinds = [line["kind"] for line in told]
    assert kinds[-1] == "finished"
    assert kinds.index("started") < kinds.index("train")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line for line in told if line["kind"] in ("train", "epoch", "evaluation")] == records
    end = told[-1]
    assert (end["exit_code"], end["state"], end["step"]) == (0, "finished", 8)
    assert end["next"][0] == f"aedist evaluate {tmp_path / 'run'}"
    assert end["metrics"] == {name: value for name, value in records[-1]["metrics"].items() if value is not None}


def test_programs_hear_of_a_mistake_as_well(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path / "c.yaml", shards, tmp_path / "run", train={"epochs": None, "steps": 8})
    done = subprocess.run(
        [sys.executable, "-m", "aedist", "train", str(config), "train.stepz=1", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    (line,) = done.stdout.splitlines()
    assert json.loads(line) == {
        "kind": "finished",
        "exit_code": 2,
        "reason": "command line: unknown key train.stepz; did you mean train.steps?",
    }
    assert done.stderr == "aedist: command line: unknown key train.stepz; did you mean train.steps?\n"


def lose_the_reader() -> None:
    """In a new process: its output is a pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.dup2(writer, sys.stdout.fileno())
    os.close(reader)


def test_training_goes_on_when_nobody_reads_its_output_any_more(tmp_path: Path, shards: Path) -> None:
    """As in ``aedist train ... | head -1``."""
    config = write_config(tmp_path / "c.yaml", shards, tmp_path / "run", train={"epochs": None, "steps": 8})
    launched = launch(tmp_path, 1, "train", config, first=lose_the_reader)
    assert launched.wait() == [0]
    assert launched.text() == ""
    assert json.loads((tmp_path / "run" / "model" / "config.json").read_text())["step"] == 8


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--processes", "0"], "--processes: 0 is refused: it must be 1 or more"),
        (["--processes", "2"], "--processes: 2 is refused: a launcher has started processes already; leave it out"),
    ],
)
def test_processes_that_cannot_be_started(tmp_path: Path, endless: Path, words: list[str], told: str) -> None:
    launched = launch(tmp_path, 2, "train", endless, *words)
    assert launched.wait() == [2, 2]
    assert launched.text() == f"aedist: {told}\n"
