"""Under the event loop: UDP is answered while it waits, and the loop hears of all else in time."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from dnslb.worker.selector import AnsweringSelector


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.socket(type=socket.SOCK_DGRAM) as ours, socket.socket(type=socket.SOCK_DGRAM) as theirs:
        ours.bind(("127.0.0.1", 0))
        ours.setblocking(False)
        theirs.connect(ours.getsockname())
        yield ours, theirs


def test_queries_are_answered_while_the_loop_waits_and_it_hears_nothing_of_them() -> None:
    selector = AnsweringSelector()
    with pair() as (ours, theirs):
        heard = []
        selector.add(ours.fileno(), lambda: heard.append(ours.recv(100)))
        theirs.send(b"one")
        begin = time.monotonic()
        assert selector.select(0.2) == []
        assert heard == [b"one"]
        assert time.monotonic() - begin >= 0.2
        selector.remove(ours.fileno())
        theirs.send(b"two")
        assert selector.select(0.0) == []
        assert heard == [b"one"]
    selector.close()


def test_a_flood_of_queries_delays_neither_timers_nor_other_sockets() -> None:
    """Though there is always something to answer, and that takes a while."""

    async def story() -> list[str]:
        loop = asyncio.get_running_loop()
        told: list[str] = []
        reader, writer = socket.socketpair()
        with reader, writer, pair() as (ours, theirs):
            reader.setblocking(False)

            def answer() -> None:
                theirs.send(ours.recv(100))
                time.sleep(0.001)

            selector.add(ours.fileno(), answer)
            theirs.send(b"again and again")
            loop.call_later(0.05, told.append, "timer")
            loop.call_later(0.05, writer.send, b"x")
            begin = loop.time()
            await asyncio.wait_for(loop.sock_recv(reader, 1), 5)
            told.append("socket")
            assert loop.time() - begin < 1
            selector.remove(ours.fileno())
        return told

    selector = AnsweringSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        assert runner.run(story()) == ["timer", "socket"]


def test_other_sockets_do_not_delay_queries() -> None:
    selector = AnsweringSelector()
    reader, writer = socket.socketpair()
    with reader, writer, pair() as (ours, theirs):
        heard = []
        selector.register(reader, 1)
        selector.add(ours.fileno(), lambda: heard.append(ours.recv(100)))
        writer.send(b"x")
        for number in range(10):
            theirs.send(b"%d" % number)
            assert [key.fileobj for key, _ in selector.select(1.0)] == [reader]
        assert len(heard) == 10
    selector.close()
