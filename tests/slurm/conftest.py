"""The tests' cluster, once for all of them, and the tests on it, which are played at the same time.

What happens to a job takes a minute, most of which it waits: for Python to start, for SLURM to notice. So a few of the
tests that use ``site`` are played at a time, each in a thread of its own. Such a test uses no other fixture, and
disturbs no nodes but its own jobs'. There are nodes enough that no job waits for another test's.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs import CLUSTER, Site
from processes import run
from samples import write_config

ROOT = Path(__file__).resolve().parent.parent.parent
NODES = 14
PLAYED_TOGETHER = 5
TRAIN = {"reduce": "exact", "epochs": 16, "log_every": 16, "evaluate_every": 800, "checkpoint_every": 160}  # 96 steps
_PLAYED = pytest.StashKey[dict[str, Future[float]]]()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Iterator[Site]:
    """A cluster. Skipped where it cannot be; where it only does not come up, that is a failure."""
    folder = tmp_path_factory.mktemp("slurm")
    environment = {**os.environ, "AEDIST_CLUSTER": str(folder / "cluster")}
    told = subprocess.run([CLUSTER, "check"], env=environment, capture_output=True, text=True, check=False)
    if told.returncode:
        pytest.skip(told.stderr.strip() or f"{CLUSTER.name} check: exit code {told.returncode}")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in ("slurm", "launch", "configs"):
        (checkout / name).symlink_to(ROOT / name)
    (checkout / ".venv").symlink_to(sys.prefix)
    config = write_config(
        checkout / "c.yaml",
        shards,
        folder / "undisturbed",
        batch={"micro": 2, "num_micro": 8},
        train=TRAIN,
        track={"wandb": "offline"},
    )
    run(folder, 1, "train", config, "track.wandb=disabled")
    with subprocess.Popen(
        [CLUSTER, "hold", str(NODES)],  # until its standard input ends, be it with this process
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as cluster:
        assert cluster.stdin
        assert cluster.stdout
        said = cluster.stdout.readline()
        if "nodes are up" not in said:
            pytest.fail(said + cluster.stdout.read())
        yield Site(folder / "cluster", checkout, config, folder / "undisturbed")
        cluster.stdin.close()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """The first test on the cluster begins all that were selected; each then only waits for its own end.

    The last begin first: they are those in which most is waited for.
    """
    if "site" not in pyfuncitem.fixturenames:
        return None
    stash = pyfuncitem.session.stash
    if _PLAYED not in stash:
        items = [item for item in pyfuncitem.session.items if "site" in getattr(item, "fixturenames", ())]
        stage, there = ThreadPoolExecutor(PLAYED_TOGETHER, "play"), pyfuncitem.funcargs["site"]
        stash[_PLAYED] = {item.nodeid: stage.submit(_play, item, there) for item in reversed(items)}
    pyfuncitem.user_properties.append(("seconds", stash[_PLAYED][pyfuncitem.nodeid].result()))
    return True


def _play(item: pytest.Function, site: Site) -> float:
    began = time.monotonic()
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    item.obj(site, **parameters)
    return time.monotonic() - began
