"""A node that loses its power or its network: the job goes on, on others or on the same, from its last checkpoint."""

import pytest

from jobs import Site
from outcome import assert_as_undisturbed

MIDDLE = 20


@pytest.mark.parametrize(("event", "end"), [("power-off", "power-on"), ("unplug", "plug")])
@pytest.mark.parametrize("which", [0, 1], ids=["first", "second"])
def test_of_two_nodes_one_is_lost(site: Site, event: str, end: str, which: int) -> None:
    """The first has rank zero and the job's script."""
    run = site.checkout / f"{event}-{which}"
    job = site.train(run, options=("--nodes=2",), slowed=True)
    job.wait_for_step(run, MIDDLE)
    lost = job.nodes[which]
    site.cluster(event, lost)
    job.wait_for_restart()
    job.hurry()
    job.wait_until(lambda: job.state == "RUNNING", "started again")
    assert lost not in job.nodes
    job.complete()
    site.cluster(end, lost)
    assert_as_undisturbed(site, run, job)
