"""What a run tells of its starts, and what must hold of it after whatever happened to its jobs."""

import json
import re
from pathlib import Path

from aedist.rundir import RunDir, read_environment
from jobs import Job, Site
from processes import run as run_here
from runs import records, state_bytes


def starts_of(run: Path) -> list[tuple[str, int]]:
    """Of each start of training in a run's directory, its job and how often that had been started before."""
    path = run / "environment.json"
    attempts = json.loads(path.read_text())["attempts"] if path.exists() else []
    return [(attempt["slurm"]["id"], int(attempt["slurm"]["restarts"])) for attempt in attempts]


def assert_as_undisturbed(site: Site, run: Path, *jobs: Job) -> None:
    """The run is what it is without any event, says so itself, and was made by these jobs, one after another."""
    logs = "\n".join(job.log for job in jobs)
    assert state_bytes(run) == state_bytes(site.undisturbed), logs
    assert records(run) == records(site.undisturbed)
    told = run_here(run.parent, 1, "verify", run).text()
    assert f"{run}: all of it is proven" in told, told
    starts = starts_of(run)
    assert list(dict.fromkeys(job for job, _ in starts)) == [job.record["JobId"] for job in jobs], logs
    for job in jobs:
        numbers = [number for name, number in starts if name == job.record["JobId"]]
        assert numbers == sorted(set(numbers)), logs
        # one log, with a heading for every start; a start may be ended before training goes on
        headings = re.findall(r"^aedist job: job \d+.* start (\d+) on ", job.log, re.MULTILINE)
        assert list(map(int, headings)) == list(range(1, job.restarts + 2)), job.log
        assert set(numbers) <= set(range(job.restarts + 1)), logs
    pieces = {piece.name.rsplit("-", 1)[1] for piece in (run / "wandb").glob("offline-run-*")}
    assert pieces == {read_environment(RunDir(run))["run_id"]}
