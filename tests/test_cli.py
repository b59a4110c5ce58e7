"""The command line as its users meet it: real processes, exit codes, and mistakes in one line, told once."""

import fcntl
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from aedist.config import sections
from aedist.errors import EXIT_USER_ERROR, UserError
from processes import Launched, launch
from samples import write_config, write_split


@pytest.fixture
def config(tmp_path: Path, shards: Path) -> Path:
    """A run of one step on the small shards."""
    return write_config(tmp_path / "mine.yaml", shards, tmp_path / "run", train={"epochs": None, "steps": 1})


def mistake(launched: Launched) -> str:
    """The one line that a command ends with on its only mistake: exit code 2 everywhere, told by rank zero alone."""
    assert launched.wait() == [EXIT_USER_ERROR] * len(launched.processes), launched.text()
    told = [[line for line in launched.text(r).splitlines() if line] for r in range(len(launched.outputs))]
    assert not any("Traceback" in line for lines in told for line in lines), told
    own = [[line for line in lines if line.startswith("aedist: ")] for lines in told]
    assert [len(lines) for lines in own] == [1] + [0] * (len(own) - 1), told
    return own[0][0].removeprefix("aedist: ")


def test_a_run_ends_with_0_and_says_what_comes_next(tmp_path: Path, config: Path) -> None:
    launched = launch(tmp_path, 1, "train", config)
    assert launched.wait() == [0], launched.text()
    run = tmp_path / "run"
    told = launched.text().splitlines()[-5:]
    assert told[0].startswith(f"{run}: trained 0.125 epochs, 12 images on 1 process, ")
    assert told[1].startswith("best      mse ")
    assert told[2] == f"left      in {run}: model/, metrics.jsonl, images/, checkpoints/"
    assert told[3:] == [f"next      aedist evaluate {run}", f"          aedist report {run}"]
    assert (run / "model" / "model.safetensors").is_file()


def test_a_missing_configuration(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    told = mistake(launch(tmp_path, 2, "train", path))
    assert told == f"{path}: cannot be read (No such file or directory); name a configuration file"


def test_several_mistakes_in_a_configuration_are_a_line_each(tmp_path: Path, config: Path) -> None:
    launched = launch(tmp_path, 1, "train", config, "optim.lr=fast", "train.stepz=3")
    assert launched.wait() == [EXIT_USER_ERROR]
    assert launched.text().splitlines() == [
        "aedist: command line: optim.lr: 'fast' is refused: it should be a valid number",
        "aedist: command line: unknown key train.stepz; did you mean train.steps?",
    ]


def test_missing_shards(tmp_path: Path, config: Path) -> None:
    told = mistake(launch(tmp_path, 2, "train", config, f"data.shards={tmp_path / 'none'}"))
    assert told == f"data.shards: there is no folder {tmp_path / 'none'}; build it with 'aedist shards build none'"


def test_a_missing_split(tmp_path: Path, config: Path, shards: Path) -> None:
    told = mistake(launch(tmp_path, 1, "train", config, "evaluate.split=val"))
    assert told == f"data.shards: {shards} has no split 'val' (it has test, train); name one of them"


def test_a_missing_index_and_a_missing_shard(tmp_path: Path, config: Path) -> None:
    data = tmp_path / "data"
    write_split(data / "test", (4,), seed=1)
    write_split(data / "train", (10, 10), seed=1)
    (data / "train" / "part-000001.tar").unlink()
    told = mistake(launch(tmp_path, 2, "train", config, f"data.shards={data}"))
    assert told.startswith(f"{data / 'train' / 'part-000001.tar'}: is missing; build or copy it again")
    (data / "train" / "index.json").unlink()
    told = mistake(launch(tmp_path, 1, "train", config, f"data.shards={data}"))
    assert told.startswith(f"{data / 'train' / 'index.json'}: missing; 'aedist shards index ")
    assert not (tmp_path / "run").exists(), "nothing was written"


def test_more_processes_than_micro_batches(tmp_path: Path, config: Path) -> None:
    told = mistake(launch(tmp_path, 3, "train", config, "batch.num_micro=2"))
    assert told.startswith("batch.num_micro: 2, but there are 3 processes, and each needs a micro-batch of its own; ")
    assert not (tmp_path / "run").exists()


def test_a_step_larger_than_the_data(tmp_path: Path, config: Path) -> None:
    told = mistake(launch(tmp_path, 1, "train", config, "batch.micro=99"))
    assert told.startswith("batch.micro x batch.num_micro: 99 x 6 = 594 images a step, but the split has 100; ")


def test_fp16_on_a_cpu(tmp_path: Path, config: Path) -> None:
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    told = mistake(launch(tmp_path, 2, "train", config, "train.precision=fp16", environment=hidden))
    assert told == "train.precision: fp16 would silently compute in fp32 on a CPU; take bf16 or fp32"


@pytest.mark.parametrize("said", [["WORLD_SIZE"], ["WORLD_SIZE", "RANK", "LOCAL_RANK"]])
def test_a_world_of_two_that_cannot_meet(tmp_path: Path, config: Path, said: list[str]) -> None:
    environment = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}
    told = mistake(launch(tmp_path, 1, "train", config, environment={name: environment[name] for name in said}))
    missing = ", ".join(name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in said)
    assert told.startswith(f"WORLD_SIZE is 2, but there is no {missing}, so the processes cannot find each other; ")


def take_a_place_alone(told: Path) -> None:
    """In a process of its own, which has no fellows though two were asked for."""
    from aedist.asked import Asked
    from aedist.place import take_place

    try:
        take_place(Asked(rank=0, world=2))
    except UserError as error:
        told.write_text(str(error))


def test_a_process_that_came_alone_though_two_were_asked_for(tmp_path: Path) -> None:
    """What the libraries made of the launcher's words is compared with the words."""
    process = multiprocessing.get_context("forkserver").Process(target=take_a_place_alone, args=(tmp_path / "told",))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    told = (tmp_path / "told").read_text()
    assert told.startswith("the launcher asked for 2 processes, but this one (rank 0) is one of 1; alone, each would ")


def test_a_directory_of_other_files(tmp_path: Path, config: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    told = mistake(launch(tmp_path, 2, "train", config))
    assert "holds files that are no run's (thesis.tex, ...)" in told
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_directory_in_use(tmp_path: Path, config: Path) -> None:
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".lock").open("w") as lock:
        lock.write("process 7 on the moon")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = mistake(launch(tmp_path, 2, "train", config))
    assert told.endswith("/run is in use by process 7 on the moon; wait for it, or name another folder")


def test_another_configuration_and_other_data_in_a_runs_directory(tmp_path: Path, config: Path, shards: Path) -> None:
    trained = launch(tmp_path, 1, "train", config)
    assert trained.wait() == [0], trained.text()
    told = mistake(launch(tmp_path, 2, "train", config, "model.latent_dim=5"))
    assert "is a run of another configuration (model.latent_dim: 4 there, 5 here)" in told
    other = tmp_path / "other"
    for split in ("train", "test"):
        write_split(other / split, (50, 50), seed=9)
    told = mistake(launch(tmp_path, 2, "train", config, f"data.shards={other}"))
    assert told.startswith("data.shards: blobs/train has fingerprint ")
    assert told.endswith("; name another run.dir for other data")
    attempts = json.loads((tmp_path / "run" / "environment.json").read_text())["attempts"]
    assert len(attempts) == 1, "what was refused is no attempt"


def test_a_run_that_is_not_there_cannot_be_evaluated(tmp_path: Path) -> None:
    told = mistake(launch(tmp_path, 2, "evaluate", tmp_path / "none"))
    assert told.startswith(f"{tmp_path / 'none'}: is not a run's directory (it has no config.yaml)")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian", "c.yaml"], "argument VERB: invalid choice: 'trian'"),
        ([], "the following arguments are required: VERB"),
        (["train"], "the following arguments are required: config"),
        (["train", "c.yaml", "--fast"], "unrecognized arguments: --fast"),
        (["report", "run", "--fast"], "unrecognized arguments: --fast"),
        (["plan", "c.yaml", "--processes", "two"], "argument --processes: invalid int value: 'two'"),
    ],
)
def test_a_command_that_is_none(tmp_path: Path, words: list[str], told: str) -> None:
    launched = launch(tmp_path, 1, *words)
    assert launched.wait() == [EXIT_USER_ERROR]
    assert told in launched.text().splitlines()[-1]
    assert "Traceback" not in launched.text()


@pytest.mark.parametrize("processes", [["--processes", "4"], []])
def test_plan_says_what_would_run(tmp_path: Path, config: Path, shards: Path, processes: list[str]) -> None:
    """Words may come before the option or behind it."""
    launched = launch(tmp_path, 1, "plan", config, "train.steps=20", *processes, "optim.lr=0.5")
    assert launched.wait() == [0], launched.text()
    told = [line.split(maxsplit=1) for line in launched.text().splitlines() if not line.startswith(" ")]
    lines = dict(told[:6])
    assert list(lines) == ["data", "step", "epoch", "model", "train", "run"]
    assert lines["data"].startswith("blobs/train: 100 images of 12 x 12 x 1 in 7 shards, kept in memory, fingerprint ")
    share = "4 processes: 1 or 2 each in turn (gradient accumulation 2)"
    alone = "1 process: 6 each in turn (gradient accumulation 6)"
    assert lines["step"] == f"12 images = 6 micro-batches of 2, on {share if processes else alone}"
    assert lines["epoch"] == "8 steps; 4 images are left over, others each time; 7 shards are shuffled together"
    # 144 x 16 + 16, 16 x 4 + 4 and the same back
    assert lines["model"] == "mlp, 4,916 parameters; an image becomes 4 numbers"
    assert lines["train"] == "20 steps = 2.5 epochs, adam, learning rate 0.5 constant, fp32, reduction fast"
    assert lines["run"] == f"{tmp_path / 'run'}, seed 0"
    assert not (tmp_path / "run").exists(), "a plan writes nothing"


@pytest.mark.parametrize(
    ("processes", "told"),
    [(7, "batch.num_micro: 6, but there are 7 processes"), (0, "--processes: 0; it must be 1 or more")],
)
def test_a_plan_that_cannot_work(tmp_path: Path, config: Path, processes: int, told: str) -> None:
    assert mistake(launch(tmp_path, 1, "plan", config, "--processes", processes)).startswith(told)


def test_config_shows_a_configuration_whole(tmp_path: Path, config: Path) -> None:
    launched = launch(tmp_path, 1, "config", config, "optim.lr=1e-4")
    assert launched.wait() == [0], launched.text()
    shown = yaml.safe_load(launched.text())
    assert list(shown) == list(sections())
    assert shown["optim"]["lr"] == 1e-4
    assert shown["evaluate"]["batch"] == 4
    assert shown["train"]["keep_last"] == 2, "a default"


def test_config_alone_lists_every_key_with_its_default_and_sentence(tmp_path: Path) -> None:
    launched = launch(tmp_path, 1, "config")
    assert launched.wait() == [0], launched.text()
    lines = launched.text().splitlines()
    assert [line.split()[0] for line in lines] == [
        f"{section}.{name}" for section, each in sections().items() for cls in each for name in cls.model_fields
    ]
    assert all(line.endswith(".") for line in lines)
    (line,) = [line for line in lines if line.startswith("optim.lr ")]
    assert line.split(maxsplit=2)[1:] == ["0.001", "Learning rate at its height."]


def test_help_imports_nothing_heavy() -> None:
    """So it answers at once, on any machine; a clock would only measure this one."""
    heavy = {"torch", "pydantic", "numpy", "rich", "accelerate", "yaml", "PIL", "wandb", "matplotlib"}
    code = (
        "import sys\n"
        "from aedist.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit as end:\n"
        f"    print('loaded:', sorted({heavy!r} & set(sys.modules)), 'exit:', end.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "loaded: [] exit: 0"
    for word in (
        "train",
        "plan",
        "config",
        "evaluate",
        "report",
        "runs",
        "shards",
        "fetch",
        "Exit codes: 0 done; 2 a mistake",
    ):
        assert word in done.stdout


def test_the_module_and_the_installed_command_are_the_same_program() -> None:
    command = Path(sys.executable).with_name("aedist")
    outputs = [
        subprocess.run([*words, "--help"], capture_output=True, text=True, check=True, timeout=60).stdout
        for words in ([sys.executable, "-m", "aedist"], [str(command)])
    ]
    assert outputs[0] == outputs[1]
    assert outputs[0].startswith("usage: aedist ")


def test_a_reader_that_goes_away_is_no_fault() -> None:
    """As in ``aedist config | head -1``."""
    command = [sys.executable, "-m", "aedist", "config"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ.copy()) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0
