"""Messages between rank zero and the others: who may come, what a death looks like, and that nobody waits."""

import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from aedist.link import Message
from aedist.star import Star


def receive(star: Star, count: int = 1) -> list[tuple[int, Message | None]]:
    found, end = list[tuple[int, Message | None]](), time.monotonic() + 10
    while len(found) < count and time.monotonic() < end:
        found += star.receive(0.05)
    return found


@pytest.fixture
def stars() -> Iterator[list[Star]]:
    """Rank zero's and those of two others, which have joined."""
    zero, *others = all_of = [Star(rank, 3) for rank in range(3)]
    port, word = zero.open("127.0.0.1")
    for star in others:
        assert star.join("127.0.0.1", port, word)
        star.send({"hello": star.rank})
    assert sorted(rank for rank, _ in receive(zero, 2)) == [1, 2]
    yield all_of
    for star in all_of:
        star._let_go()


def test_messages_go_to_one_or_to_all(stars: list[Star]) -> None:
    zero, one, two = stars
    zero.send({"to": "all"})
    zero.send({"to": "two"}, 2)
    assert receive(one) == [(0, {"to": "all"})]
    assert receive(two, 2) == [(0, {"to": "all"}), (0, {"to": "two"})]
    one.send({"from": 1})
    assert receive(zero) == [(1, {"from": 1})]


def test_whoever_does_not_know_the_word_is_turned_away() -> None:
    zero = Star(0, 3)
    port, word = zero.open("127.0.0.1")
    for body in (
        b'{"rank": 1, "word": "guess"}\n',
        b"GET / HTTP/1.0\r\n\r\n",
        b'{"rank": 7, "word": "%s"}\n' % word.encode(),
    ):
        with socket.create_connection(("127.0.0.1", port), 5) as stranger:
            stranger.sendall(body)
            assert receive_nothing(zero)
            assert stranger.recv(10) == b"", body
    zero._let_go()


def receive_nothing(star: Star) -> bool:
    return not [found for _ in range(5) for found in star.receive(0.02)]


def test_the_death_of_a_process_is_heard_although_a_child_of_it_lives_on() -> None:
    """As a loader worker does for a moment: it was forked, so it has all that its parent held open."""
    zero = Star(0, 2)
    port, word = zero.open("127.0.0.1")
    grandchild, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        zero._let_go()
        star = Star(1, 2)
        star.join("127.0.0.1", port, word)
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
        os.write(told, str(child).encode())
        time.sleep(30)
        os._exit(0)
    left = int(os.read(grandchild, 20))
    receive_nothing(zero)  # it joins
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert receive(zero) == [(1, None)]
    os.kill(left, signal.SIGKILL)
    zero._let_go()


def test_a_process_that_takes_nothing_holds_nobody_up(stars: list[Star]) -> None:
    zero, one, _ = stars
    big = {"words": "x" * 10_000}
    for _ in range(2_000):  # 20 MB, which no system keeps for one that does not read
        zero.send(big, 1, if_idle=True)
    zero.send({"last": True}, 1)
    found = list[tuple[int, Message | None]]()
    end = time.monotonic() + 10
    while (0, {"last": True}) not in found and time.monotonic() < end:
        found += one.receive(0.01)
        zero.send(big, 1, if_idle=True)  # what waits goes on its way
    assert (0, {"last": True}) in found
    assert len(found) < 2_000
