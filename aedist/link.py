"""A connection between two processes of a run that carries small messages, each a line of JSON.

It says at once when the other process is gone, whatever ended it: the system closes what a dead process held, and asks
a machine that has fallen silent whether it is still there. Nothing here waits: what cannot be sent yet is kept.
"""

import json
import socket
from typing import Any

Message = dict[str, Any]

_MOST_BYTES = 2**16
_ALIVE = (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 30_000))
"""A machine that answers nothing for half a minute is gone. Of these, what the system has."""


class Gone(Exception):
    """The other process closed the connection, or does not keep to the protocol."""


class Link:
    """One end."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _ALIVE:
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._in, self._out = b"", b""

    def send(self, message: Message, *, if_idle: bool = False) -> None:
        """Send a message as far as the system takes it; ``flush`` sends the rest.

        With ``if_idle``, leave it out if an earlier one is still waiting.

        Raises:
            Gone: if nobody is there.
        """
        if not (if_idle and self._out):
            self._out += json.dumps(message).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send what is waiting, as far as the system takes it.

        Raises:
            Gone: if nobody is there.
        """
        try:
            while self._out:
                self._out = self._out[self.connection.send(self._out) :]
        except BlockingIOError:
            return
        except OSError as error:
            raise Gone from error

    def receive(self) -> list[Message]:
        """The messages that have come.

        Raises:
            Gone: if nobody is there any more; what came before is lost with it only if it was cut.
        """
        try:
            body = self.connection.recv(_MOST_BYTES)
        except BlockingIOError:
            return []
        except OSError as error:
            raise Gone from error
        if not body:
            raise Gone
        *lines, self._in = (self._in + body).split(b"\n")
        try:
            messages = [json.loads(line) for line in lines]
        except (ValueError, RecursionError) as error:
            raise Gone from error
        if len(self._in) > _MOST_BYTES or not all(isinstance(message, dict) for message in messages):
            raise Gone
        return messages

    def close(self) -> None:
        """Close this end."""
        self.connection.close()


def serve(host: str, port: int = 0) -> socket.socket:
    """A socket that others can connect to; on loopback alone, where ``host`` is that. Port 0 is any free one.

    Raises:
        OSError: if the port is taken.
    """
    if host in ("localhost", "127.0.0.1", ""):
        return socket.create_server(("127.0.0.1", port))
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
    return socket.create_server(("", port), backlog=1024)


def free_port() -> int:
    """A port of loopback that is free now, for a launcher that must name one before anybody opens it."""
    with serve("") as free:
        return free.getsockname()[1]


def connect(host: str, port: int, patience_seconds: float = 10.0) -> Link | None:
    """A link to whoever serves there, or None."""
    try:
        return Link(socket.create_connection((host or "127.0.0.1", port), patience_seconds))
    except OSError:
        return None
