"""Whatever asks a job to stop, it saves and is started again where it should be, and the run becomes what it is when
nothing happens.
"""

from collections.abc import Mapping

import pytest

from jobs import Site
from outcome import assert_as_undisturbed, starts_of

MIDDLE = 20
"""A step before those that are slow."""


@pytest.mark.parametrize(("name", "environment"), [("srun", {}), ("accelerate", {"AEDIST_LAUNCHER": "accelerate"})])
def test_a_warning_with_either_launcher(site: Site, name: str, environment: Mapping[str, str]) -> None:
    """2 nodes x 2 tasks."""
    run = site.checkout / f"warned-{name}"
    job = site.train(run, options=("--nodes=2",), tasks=2, slowed=True, environment=environment)
    job.wait_for_step(run, MIDDLE)
    site.login("scancel", "--batch", "--signal=USR1", job.id)
    job.wait_for_restart()
    job.hurry()
    job.complete()
    assert_as_undisturbed(site, run, job)


def test_the_time_limit(site: Site) -> None:
    """SLURM itself warns, a minute or somewhat more before."""
    run = site.checkout / "limited"
    job = site.train(run, options=("--time=2", "--signal=B:USR1@60"), slowed=True)
    job.wait_for_restart()
    job.hurry()
    job.complete()
    assert "aedist job: warned" in job.log
    assert_as_undisturbed(site, run, job)


def test_preemption_with_a_grace_period(site: Site) -> None:
    """On 2 nodes, of which a job of more weight takes the second."""
    run = site.checkout / "preempted"
    job = site.train(run, options=("--nodes=2", "--partition=low"), slowed=True)
    job.wait_for_step(run, MIDDLE)
    where = f"--nodelist={site.name(job.nodes[1])}"
    weighty = site.login("sbatch", "--parsable", "--partition=high", "--exclusive", where, "--wrap=true").strip()
    job.wait_for_restart()
    job.hurry()
    job.complete()
    assert site.record(weighty)["JobState"] == "COMPLETED"
    assert_as_undisturbed(site, run, job)


def test_a_requeue_from_outside(site: Site) -> None:
    """1 node x 2 tasks."""
    run = site.checkout / "requeued"
    job = site.train(run, tasks=2, slowed=True)
    job.wait_for_step(run, MIDDLE)
    site.login("scontrol", "requeue", job.id)
    job.wait_for_restart()
    job.hurry()
    job.complete()
    assert_as_undisturbed(site, run, job)


def test_a_cancelled_job_stays_so_and_the_same_command_goes_on_with_other_nodes(site: Site) -> None:
    run = site.checkout / "cancelled"
    job = site.train(run, slowed=True)
    job.wait_for_step(run, MIDDLE)
    site.login("scancel", job.id)
    assert job.end() == "CANCELLED"
    assert job.restarts == 0
    assert "and checkpointed" in job.log
    again = site.train(run, options=("--nodes=2",))
    again.complete()
    assert_as_undisturbed(site, run, job, again)


def test_killed_processes_fail_the_job_and_the_same_command_goes_on(site: Site) -> None:
    """As where memory does not suffice: to start again at once would end in the same way."""
    run = site.checkout / "killed"
    job = site.train(run, tasks=2, slowed=True)
    job.wait_for_step(run, MIDDLE)
    site.login("scancel", "--signal=KILL", f"{job.id}.0")
    assert job.end() == "FAILED"
    assert job.restarts == 0
    again = site.train(run)
    again.complete()
    assert_as_undisturbed(site, run, job, again)


def test_the_bound_on_restarts(site: Site) -> None:
    run = site.checkout / "bounded"
    job = site.train(run, slowed=True, environment={"AEDIST_MAX_RESTARTS": "1"})
    job.wait_for_step(run, MIDDLE)
    site.login("scancel", "--batch", "--signal=USR1", job.id)
    job.wait_for_restart()
    job.wait_until(lambda: starts_of(run) == [(job.id, 0), (job.id, 1)], "in its second start")
    site.login("scancel", "--batch", "--signal=USR1", job.id)
    assert job.end() == "FAILED"
    assert (job.exit_code, job.restarts) == (75, 1)
    assert "after 1 restarts, which is the bound" in job.log
    again = site.train(run)
    again.complete()
    assert_as_undisturbed(site, run, job, again)
