"""Where the processes of a job find each other when no launcher hands them a port that is known to be free.

A port that follows from the job alone may be taken on rank zero's host by somebody else. So rank zero opens the store
through which the processes come together at any port that is free, and answers at the first free one of a few ports
that all of them can work out. The others ask at those in turn; whoever does not answer with the job's word is not
rank zero, and is passed over.
"""

import json
import socket
import time
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from threading import Thread

from torch._C._distributed_c10d import Store, TCPStore

from aedist.errors import Fault, UserError
from aedist.link import serve

NUM_PORTS = 16
_FIRST_PORT, _PORTS, _STRIDE = 20_000, 10_000, 617
"""Below the ports that systems give to outgoing connections; a stride spreads the ports of jobs whose numbers follow
one another."""
_ANSWER_SECONDS = 5.0
_MOST_BYTES = 1024


@dataclass(frozen=True)
class Meeting:
    """What all processes of one start of a job know without having spoken."""

    host: str
    """Rank zero's."""
    ports: tuple[int, ...]
    """Where rank zero may answer, the first free one first."""
    word: str
    """By which they know each other from another job's processes."""


def meeting_of(host: str, job: int, step: int, restarts: int) -> Meeting:
    """The meeting of a step of a job. It moves with every restart, so that an old socket is not met."""
    first = (job + 31 * step + 7 * restarts) % _PORTS
    ports = tuple(_FIRST_PORT + (first + _STRIDE * number) % _PORTS for number in range(NUM_PORTS))
    return Meeting(host, ports, f"aedist {job}.{step}.{restarts}")


@contextmanager
def store_of_all(meeting: Meeting, rank: int, world: int, patience: timedelta) -> Generator[Store]:
    """The store that rank zero opened, from which a process group can be made; leave it when all have come.

    Raises:
        UserError: on rank zero, if it can answer at none of the ports.
        Fault: on the others, if rank zero answers at none within ``patience``.
    """
    if rank:
        yield TCPStore(meeting.host, _ask_for_port(meeting, rank, patience), None, False, patience)
        return
    server = _serve(meeting)
    store = TCPStore(meeting.host, 0, None, True, patience, wait_for_workers=False)
    with closing(server):
        Thread(target=_answer, args=(server, meeting.word, store.port), name="meeting", daemon=True).start()
        yield store
        server.shutdown(socket.SHUT_RDWR)  # ends a thread that waits for another to come


def _serve(meeting: Meeting) -> socket.socket:
    for port in meeting.ports:
        with suppress(OSError):
            return serve(meeting.host, port)
    raise UserError(
        f"{socket.gethostname()}: none of the ports {', '.join(map(str, meeting.ports))}, where the other processes "
        f"look for rank zero, can be opened; see what holds them, or submit again, which takes others"
    )


def _answer(server: socket.socket, word: str, port: int) -> None:
    """Tell whoever knows the word where the store is; ends with the server."""
    answer = json.dumps({"word": word, "port": port}).encode() + b"\n"
    while True:
        try:
            guest, _ = server.accept()
        except OSError:
            return
        with closing(guest), suppress(OSError):
            guest.settimeout(_ANSWER_SECONDS)
            if _line(guest) == word.encode():
                guest.sendall(answer)


def _ask_for_port(meeting: Meeting, rank: int, patience: timedelta) -> int:
    end, pause_seconds = time.monotonic() + patience.total_seconds(), 0.1
    while time.monotonic() < end:
        for port in meeting.ports:
            found = _ask(meeting, port)
            if found is not None:
                return found
        time.sleep(pause_seconds)
        pause_seconds = min(2.0, 1.5 * pause_seconds)
    raise Fault(
        f"process {rank} found rank zero at none of the ports {meeting.ports[0]}, {meeting.ports[1]}, ... of "
        f"{meeting.host} within {patience}; see in the log whether rank zero began, and whether {meeting.host} can be "
        f"reached from {socket.gethostname()}"
    )


def _ask(meeting: Meeting, port: int) -> int | None:
    """The store's port, if it is rank zero that answers there."""
    try:
        with socket.create_connection((meeting.host, port), _ANSWER_SECONDS) as host:
            host.sendall(meeting.word.encode() + b"\n")
            told = json.loads(_line(host))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or told.get("word") != meeting.word:
        return None
    found = told.get("port")
    return found if type(found) is int and 0 < found < 2**16 else None


def _line(connection: socket.socket) -> bytes:
    """The first line that comes, without its end; what is longer than it may be is cut."""
    found = b""
    while b"\n" not in found and len(found) < _MOST_BYTES:
        body = connection.recv(_MOST_BYTES)
        if not body:
            break
        found += body
    return found.split(b"\n")[0]
