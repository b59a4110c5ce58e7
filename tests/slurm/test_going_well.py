"""Jobs to which nothing happens: any number of nodes and tasks, arrays, every template, and mistakes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from buildable import recipe_of_pictures, write_pictures

from aedist.meeting import meeting_of
from jobs import CLUSTER, Site
from outcome import assert_as_undisturbed
from processes import run as run_here
from runs import records, state_bytes

SLURM = Path(__file__).resolve().parent.parent.parent / "slurm"
LISTEN = "import socket, sys; s = socket.create_server(('', {})); print('listens', flush=True); sys.stdin.read()"


def test_four_nodes(site: Site) -> None:
    run = site.checkout / "four"
    job = site.train(run, options=("--nodes=4",))
    job.complete()
    assert_as_undisturbed(site, run, job)


def test_two_nodes_where_the_port_is_taken_and_once_more_when_it_is_done(site: Site) -> None:
    """Another program listens on rank zero's node at the port that follows from the job's number."""
    run, first = site.checkout / "taken", 2
    options = ("--nodes=2", f"--nodelist={site.name(first)},{site.name(first + 1)}", "--hold")
    job = site.train(run, options=options)
    port = meeting_of("", int(job.id), 0, 0).ports[0]
    with site.start("on", first, sys.executable, "-c", LISTEN.format(port)) as listener:
        assert listener.stdout
        assert listener.stdin
        assert listener.stdout.readline() == "listens\n"
        site.login("scontrol", "release", job.id)
        job.complete()
        assert listener.poll() is None
        listener.stdin.close()
    assert_as_undisturbed(site, run, job)
    again = site.train(run)
    again.complete()
    assert again.restarts == 0
    assert state_bytes(run) == state_bytes(site.undisturbed)
    assert records(run) == records(site.undisturbed)


def test_an_array_over_seeds(site: Site) -> None:
    words = ("run.seed=%a", f"run.dir={site.checkout}/seed%a", "track.wandb=disabled")
    array = site.submit("train.sbatch", site.config, *words, options=("--array=0-1",))
    for task in array.tasks(0, 1):
        task.complete()
    assert state_bytes(site.checkout / "seed0") == state_bytes(site.undisturbed)
    assert state_bytes(site.checkout / "seed1") != state_bytes(site.undisturbed)
    for seed in (0, 1):
        (attempt,) = json.loads((site.checkout / f"seed{seed}" / "environment.json").read_text())["attempts"]
        assert attempt["slurm"]["array"] == array.id
        assert attempt["slurm"]["array_task"] == str(seed)


def test_an_array_over_the_lines_of_a_file(site: Site) -> None:
    lines = (
        f"{site.config} track.wandb=disabled run.dir={site.checkout}/line%a{word}"
        for word in ("", " model.latent_dim=3")
    )
    (site.checkout / "list.txt").write_text("\n".join(lines) + "\n")
    for task in site.submit("train.sbatch", "@list.txt", options=("--array=1-2",)).tasks(1, 2):
        task.complete()
    assert state_bytes(site.checkout / "line1") == state_bytes(site.undisturbed)
    assert "latent_dim: 3" in (site.checkout / "line2" / "config.yaml").read_text()


def test_a_mistake_fails_the_job_in_one_line_and_once(site: Site) -> None:
    job = site.train(site.checkout / "mistake", "train.epochz=3")
    assert job.end() == "FAILED"
    assert (job.exit_code, job.restarts) == (2, 0)
    assert "Traceback" not in job.log
    (line,) = [line for line in job.log.splitlines() if line.startswith("aedist: ")]
    assert "train.epochz" in line


def test_an_evaluation_on_two_nodes_is_that_of_one_process(site: Site) -> None:
    here, there = (shutil.copytree(site.undisturbed, site.checkout / name) for name in ("here", "there"))
    words = ("evaluate.fid_images=0", "evaluate.fit_images=50")
    job = site.submit("evaluate.sbatch", there, *words, options=("--nodes=2",))
    run_here(site.folder, 1, "evaluate", here, *words)
    job.complete()
    of_one, of_two = (
        json.loads((run / "evaluation" / "comprehensive_evaluation.json").read_text()) for run in (here, there)
    )
    assert of_two == of_one
    assert of_one["metrics"]["mse"]["mean"] > 0
    assert (there / "report.html").stat().st_size > 10_000


def test_shards_of_an_array_are_those_of_one_process(site: Site) -> None:
    pictures = write_pictures(site.checkout / "pictures", 60, 20, 20)
    recipe = site.checkout / "mine.yaml"
    recipe.write_text(yaml.safe_dump(recipe_of_pictures(16, samples_per_shard=8)))
    words = (recipe, "--from", pictures, "--out")
    options = ("--array=1-2", "--cpus-per-task=2")
    array = site.submit("shards.sbatch", *words, site.checkout / "of_many", options=options, tasks=None)
    run_here(site.folder, 1, "shards", "build", *words, site.checkout / "of_one", "--workers", 1)
    for task in array.tasks(1, 2):
        task.complete()
    of_one, of_many = (
        {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.*")) if path.is_file()}
        for folder in (site.checkout / "of_one", site.checkout / "of_many")
    )
    assert of_many == of_one
    assert len(of_one) >= 8 + 2


def test_the_doctor_looks_at_two_nodes(site: Site) -> None:
    command = (site.checkout / ".venv" / "bin" / "python", "-m", "aedist", "doctor")
    told = site.login("srun", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=2", *command)
    assert "number of processes: 2 on cpu" in told, told
    assert "nothing is broken" in told, told


@pytest.mark.parametrize(
    "words", [("train.sbatch", "c.yaml"), ("evaluate.sbatch", "runs/x"), ("shards.sbatch", "mnist")], ids=lambda w: w[0]
)
def test_slurm_accepts_the_options_of_every_template(site: Site, words: tuple[str, str]) -> None:
    site.login("sbatch", "--test-only", f"slurm/{words[0]}", words[1])
    assert {path.name for path in SLURM.glob("*.sbatch")} == {"train.sbatch", "evaluate.sbatch", "shards.sbatch"}


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize(
    "script", [*sorted(SLURM.glob("*.sbatch")), SLURM / "accelerate.sh", CLUSTER], ids=lambda path: path.name
)
def test_shellcheck_finds_nothing(script: Path) -> None:
    """Neither there nor in what is sourced."""
    done = subprocess.run(
        ["shellcheck", "-x", "-P", "SCRIPTDIR", "-S", "warning", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
