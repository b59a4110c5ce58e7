"""What a template makes of what sbatch was told, seen by stand-ins for SLURM's commands: no cluster is needed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCONTROL = """
case "$*" in
    "show config") printf '%s\\n' 'SlurmdPort = 1' 'SlurmdTimeout = 300 sec' 'TaskPlugin = task/none' ;;
    "show hostnames"*) echo localhost ;;
    "-o show job"*) echo JobState=RUNNING ;;
    requeue*) echo requeued ;;
esac
"""
SRUN = """
printf '<%s>\\n' "$@"
exit "${SRUN_CODE:-0}"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a blank in its name, and stand-ins that come before the commands of that name."""
    checkout = tmp_path / "a checkout"
    (checkout / "commands").mkdir(parents=True)
    (checkout / "slurm").symlink_to(ROOT / "slurm")
    (checkout / ".venv").symlink_to(sys.prefix)
    stand_in(checkout, "scontrol", SCONTROL)
    stand_in(checkout, "srun", SRUN)
    return checkout


def stand_in(checkout: Path, name: str, script: str) -> None:
    path = checkout / "commands" / name
    path.write_text(f"#!/bin/bash\n{script}")
    path.chmod(0o755)


def start(checkout: Path, *words: str, template: str = "train.sbatch", **told: str) -> subprocess.Popen[str]:
    """A job's script as SLURM starts it, with ``told`` besides what it always says."""
    usual = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "localhost"}
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "AEDIST_"))}
    environment = mine | usual | {"SLURM_CPUS_ON_NODE": "16"} | told
    environment["PATH"] = f"{checkout / 'commands'}{os.pathsep}{environment['PATH']}"
    return subprocess.Popen(
        ["bash", f"slurm/{template}", *words],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(checkout: Path, *words: str, **told: str) -> tuple[int, str, list[str]]:
    """The exit code of a job, its log, and the words that srun was given."""
    job = start(checkout, *words, **told)
    log, _ = job.communicate(timeout=60)
    return job.returncode, log, [line[1:-1] for line in log.splitlines() if line.startswith("<")]


@pytest.mark.parametrize(
    ("gpus", "tasks"), [("4", 4), ("a100:4", 4), ("a100", 1), ("a100:4,h100:2", 6), ("0", 1), (None, 1)]
)
def test_a_task_a_gpu_however_these_are_asked_for(checkout: Path, gpus: str | None, tasks: int) -> None:
    told = {} if gpus is None else {"SLURM_GPUS_PER_NODE": gpus}
    code, log, words = run(checkout, "c.yaml", **told)
    assert code == 0, log
    asked = {f"--ntasks={2 * tasks}", f"--ntasks-per-node={tasks}", f"--cpus-per-task={16 // tasks}"}
    assert asked < set(words)


def test_words_reach_the_command_as_they_are(checkout: Path) -> None:
    code, log, words = run(checkout, "my config.yaml", "run.dir=runs/with a blank")
    assert code == 0, log
    assert words[-5:] == ["-m", "aedist", "train", "my config.yaml", "run.dir=runs/with a blank"]


def test_one_launcher_a_node_is_told_what_it_cannot_ask_in_a_container(checkout: Path) -> None:
    told = {"AEDIST_LAUNCHER": "accelerate", "SLURM_GPUS_PER_NODE": "4"}
    code, log, words = run(checkout, "c.yaml", **told)
    assert code == 0, log
    assert {"--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=16"} < set(words)
    *given, port, verb, config = words[words.index("slurm/accelerate.sh") :]
    assert given == ["slurm/accelerate.sh", "4", "4", "localhost"]
    assert port.isdecimal()
    assert (verb, config) == ("train", "c.yaml")


@pytest.mark.parametrize("script", sorted((ROOT / "slurm").glob("*.s*")), ids=lambda path: path.name)
def test_bash_reads_every_script(script: Path) -> None:
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_line_of_a_list_that_was_written_on_windows(checkout: Path) -> None:
    (checkout / "list.txt").write_bytes(b"a.yaml run.dir=runs/%a\r\nb.yaml run.dir=runs/%a\r\n")
    array = {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_JOB_ID": "5"}
    code, log, words = run(checkout, "@list.txt", **array)
    assert code == 0, log
    assert words[-3:] == ["b.yaml", "track.group=aedist-5", "run.dir=runs/2"]


@pytest.mark.parametrize("word", ["run.seed=%a", "@list.txt"])
def test_what_goes_with_an_array_alone_is_refused_elsewhere(checkout: Path, word: str) -> None:
    (checkout / "list.txt").write_text("a.yaml\n")
    code, log, words = run(checkout, "c.yaml", word)
    assert (code, words) == (2, [])
    assert f"aedist job: {word}: " in log


def test_a_failure_where_living_nodes_cannot_be_asked_is_a_failure(checkout: Path) -> None:
    """The stand-in's port is one at which nobody answers, as behind a firewall: no node is taken for dead."""
    code, log, _ = run(checkout, "c.yaml", SRUN_CODE="1")
    assert code == 1, log
    assert "no answer from" not in log


def test_a_warning_that_comes_before_the_step_reaches_it(checkout: Path) -> None:
    """SLURM knows no step at first, as when a job is preempted that has only begun."""
    stand_in(checkout, "srun", "trap 'exit 75' USR1\nsleep 2\necho $$ >step\nfor i in {1..300}; do sleep 0.1; done\n")
    stand_in(checkout, "scancel", '[[ -s step ]] || exit 1\nkill -USR1 "$(<step)"\n')
    job = start(checkout, "c.yaml")
    assert job.stdout
    said = ""
    while " start 1 on " not in said:
        said = job.stdout.readline()
        assert said
    time.sleep(0.2)
    job.send_signal(signal.SIGUSR1)
    log, _ = job.communicate(timeout=60)
    assert job.returncode == 0, log
    assert "exit code 75, requeued" in log
