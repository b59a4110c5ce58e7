"""How the processes of the proof find each other within a bounded time, and learn who did not come."""

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from torch._C._distributed_c10d import PrefixStore, Store, TCPStore
from torch.distributed import DistError

from aedist.asked import Asked
from aedist.errors import Fault
from aedist.meeting import store_of_all

_MARGIN = timedelta(seconds=5)
_POLL_SECONDS = 0.1
_MOST_NAMED = 5
_CAME, _MISSING = "came-{}", "missing"


@dataclass(frozen=True)
class Address:
    """Where a launcher has its processes meet."""

    host: str
    port: int
    is_served: bool
    """Whether the launcher itself answers there; else rank zero does."""


@contextmanager
def roll_call(asked: Asked, address: Address | None, patience: timedelta) -> Generator[Store]:
    """The store of all processes, after all have come; keep it open while process groups are made of it.

    Args:
        asked: this process among how many.
        address: where to meet, unless ``asked`` says how.
        patience: for how long the others are waited for.

    Raises:
        Fault: naming who did not come, or that rank zero could not be found.
    """
    if asked.meeting is not None:
        with store_of_all(asked.meeting, asked.rank, asked.world, patience) as store:
            _call(PrefixStore("doctor", store), asked.rank, asked.world, patience)
            yield store
        return
    if address is None:
        raise ValueError("there is neither a meeting nor an address")
    store = _open(address, asked.rank, patience)
    _call(PrefixStore("doctor", store), asked.rank, asked.world, patience)
    yield store


def _open(address: Address, rank: int, patience: timedelta) -> Store:
    serves = rank == 0 and not address.is_served
    try:
        return TCPStore(address.host, address.port, None, serves, patience, wait_for_workers=False)
    except DistError as error:
        where = f"{address.host}:{address.port}"
        if serves:
            reason = " ".join(str(error).split())[:200]
            raise Fault(f"rank zero cannot open {where} ({reason}); choose another MASTER_PORT") from error
        raise Fault(
            f"process {rank} did not find rank zero at {where} within {patience.total_seconds():.0f} s; see whether "
            f"process 0 was started, and whether {address.host} can be reached from here"
        ) from error


def _call(store: Store, rank: int, world: int, patience: timedelta) -> None:
    """Say that one is here; learn from rank zero whether all are."""
    store.set(_CAME.format(rank), "here")
    if rank == 0:
        missing = _wait_for(store, world, time.monotonic() + patience.total_seconds())
        store.set(_MISSING, json.dumps(missing))
    else:
        try:
            store.wait([_MISSING], patience + _MARGIN)
        except DistError as error:
            raise Fault(
                f"process {rank} heard nothing of rank zero within {patience.total_seconds():.0f} s; see whether it "
                f"still runs, and what it says"
            ) from error
        missing = [int(other) for other in json.loads(store.get(_MISSING))]
    if missing:
        if rank == 0:
            time.sleep(1.0)  # the others read it from this process
        raise Fault(absent(missing, world, patience.total_seconds()))


def absent(missing: list[int], world: int, seconds: float) -> str:
    """The line for processes that did not come."""
    more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    names = ", ".join(map(str, missing[:_MOST_NAMED]))
    return (
        f"process {names}{more} of {world} did not come within {seconds:.0f} s; see whether it was started and what it "
        f"says, and whether its machine reaches rank zero's"
    )


def _wait_for(store: Store, world: int, end: float) -> list[int]:
    """The ranks that have not come in time."""
    missing = list(range(1, world))
    while missing:
        missing = [rank for rank in missing if not store.check([_CAME.format(rank)])]
        if not missing or time.monotonic() > end:
            break
        time.sleep(_POLL_SECONDS)
    return missing
