"""Small messages between rank zero and every other process, besides whatever the gradients travel over.

Rank zero serves at a port of its own and knows the others by a word that it told them. All calls but ``open`` and
``join`` are one thread's.
"""

import os
import secrets
import selectors
import socket
from contextlib import suppress

from aedist.link import Gone, Link, Message, connect, serve


class Star:
    """This process's end of it: rank zero has a link to each of the others, they have one to rank zero."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        self._links: dict[int, Link] = {}
        self._strangers: dict[int, Link] = {}
        self._server: socket.socket | None = None
        self._word = ""
        self._selector = selectors.DefaultSelector()
        os.register_at_fork(after_in_child=self._let_go)

    def open(self, host: str) -> tuple[int, str]:
        """On rank zero: the port where the others find it, and the word by which it knows them."""
        self._server, self._word = serve(host), secrets.token_hex(16)
        self._server.setblocking(False)
        self._selector.register(self._server, selectors.EVENT_READ)
        return self._server.getsockname()[1], self._word

    def join(self, host: str, port: int, word: str) -> bool:
        """On the others: connect to rank zero. Returns whether that worked."""
        link = connect(host, port)
        if link is None:
            return False
        link.send({"rank": self.rank, "word": word})
        self._links[0] = link
        self._selector.register(link.connection, selectors.EVENT_READ, 0)
        return True

    def receive(self, patience_seconds: float) -> list[tuple[int, Message | None]]:
        """What has come, each with the rank that sent it; None from one that is gone."""
        found = list[tuple[int, Message | None]]()
        for key, _ in self._selector.select(patience_seconds):
            if key.fileobj is self._server:
                self._accept()
            elif isinstance(key.data, Link):
                found += self._recognise(key.data)
            elif key.data in self._links:
                found += self._from(key.data)
        return found

    def send(self, message: Message, rank: int | None = None, *, if_idle: bool = False) -> None:
        """Send to one process, or to all at the other ends. That one is gone, ``receive`` will say."""
        for other, link in list(self._links.items()):
            if rank in (None, other):
                with suppress(Gone):
                    link.send(message, if_idle=if_idle)

    def _from(self, rank: int) -> list[tuple[int, Message | None]]:
        link = self._links[rank]
        try:
            return [(rank, message) for message in link.receive()]
        except Gone:
            self._selector.unregister(link.connection)
            self._links.pop(rank).close()
            return [(rank, None)]

    def _accept(self) -> None:
        assert self._server is not None  # noqa: S101 (it has called)
        with suppress(OSError):
            stranger = Link(self._server.accept()[0])
            self._selector.register(stranger.connection, selectors.EVENT_READ, stranger)

    def _recognise(self, stranger: Link) -> list[tuple[int, Message | None]]:
        """Take in one of this run's processes, and what it says besides; turn away whoever does not know the word."""
        try:
            messages = stranger.receive()
        except Gone:
            messages = [Message()]
        if not messages:  # not all of it has come
            return []
        self._selector.unregister(stranger.connection)
        rank, word = messages[0].get("rank"), str(messages[0].get("word"))
        knows = secrets.compare_digest(word.encode("utf-8", "replace"), self._word.encode())
        if knows and type(rank) is int and 0 < rank < self.world:
            self._links[rank] = stranger
            self._selector.register(stranger.connection, selectors.EVENT_READ, rank)
            return [(rank, message) for message in messages[1:]]
        stranger.close()
        return []

    def _let_go(self) -> None:
        """In a forked child: hold nothing open that should close when this process dies."""
        for link in self._links.values():
            link.close()
        if self._server is not None:
            self._server.close()
