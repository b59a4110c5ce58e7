"""What must hold of a run after whatever happened to its jobs."""

import re
from pathlib import Path

from aedist.rundir import RunDir, read_environment
from jobs import Job, Site
from processes import run as run_here
from runs import records, state_bytes


def assert_as_undisturbed(site: Site, run: Path, starts: list[tuple[Job, int]]) -> None:
    """The run is what it is without any event, says so itself, and was made by these starts of these jobs alone.

    Args:
        site: where it ran.
        run: its directory.
        starts: of each start of training, its job and how often that had been started before.
    """
    logs = "\n".join(job.log for job in dict.fromkeys(job for job, _ in starts))
    assert state_bytes(run) == state_bytes(site.undisturbed), logs
    assert records(run) == records(site.undisturbed)
    told = run_here(run.parent, 1, "verify", run).text()
    assert f"{run}: all of it is proven" in told, told
    environment = read_environment(RunDir(run))
    attempts = [(entry["slurm"]["id"], entry["slurm"]["restarts"]) for entry in environment["attempts"]]
    assert attempts == [(job.record["JobId"], str(restarts)) for job, restarts in starts], logs
    pieces = {piece.name.rsplit("-", 1)[1] for piece in (run / "wandb").glob("offline-run-*")}
    assert pieces == {environment["run_id"]}
    for job in dict.fromkeys(job for job, _ in starts):  # one log, with a heading for every start
        numbers = [int(number) for number in re.findall(r"^aedist job: job \d+.* start (\d+) on ", job.log, re.M)]
        assert numbers == list(range(1, job.restarts + 2)), job.log
