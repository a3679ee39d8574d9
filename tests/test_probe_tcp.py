"""The tcp probe, and what all probes over sockets share."""

from __future__ import annotations

import asyncio
import socket
import time
from ipaddress import IPv4Address, IPv6Address, ip_address

import backends
import pytest

from dnslb.balance.health import Outcome
from dnslb.balance.pool import Address, HttpCheck, TcpCheck
from dnslb.probe import probe
from dnslb.probe.outcome import Progress, judge

AMPLE = 10.0  # seconds


def ask(home: str, source: Address | None = None) -> tuple[Outcome, list[str]]:
    """The outcome, and who connected."""
    clients: list[str] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.append(writer.get_extra_info("peername")[0])

    async def main() -> Outcome:
        async with backends.listening(note, home) as port:
            outcome = await probe(TcpCheck(port), ip_address(home), source, AMPLE)
            await asyncio.sleep(0.05)
            return outcome

    return asyncio.run(main()), clients


@pytest.mark.parametrize("home", ["127.0.1.11", "::1"])
def test_an_accepted_connection_passes(home: str) -> None:
    outcome, clients = ask(home)
    assert (outcome.ok, outcome.reason) == (True, "connected")
    assert 0 < outcome.took < AMPLE
    assert len(clients) == 1


@pytest.mark.parametrize("home", ["127.0.1.11", "::1"])
def test_a_port_without_a_server_refuses(home: str) -> None:
    outcome = asyncio.run(probe(TcpCheck(backends.closed_port(home)), ip_address(home), None, AMPLE))
    assert (outcome.ok, outcome.reason) == (False, "connection refused")


def test_a_full_backlog_gives_no_connection() -> None:
    async def main() -> Outcome:
        async with backends.full_backlog() as port:
            return await probe(TcpCheck(port), IPv4Address(backends.HOME), None, 0.3)

    outcome = asyncio.run(main())
    assert (outcome.ok, outcome.reason) == (False, "no connection within 0.3 s")
    assert 0.29 < outcome.took < 3


def test_the_source_address_is_used() -> None:
    outcome, clients = ask("127.0.1.11", IPv4Address("127.0.1.99"))
    assert outcome.ok
    assert clients == ["127.0.1.99"]


@pytest.mark.parametrize(("source", "reason"), [
    (IPv6Address("::1"), "the source ::1 is IPv6, the target is IPv4"),
    (IPv4Address("192.0.2.1"), "the source address is not on this machine, or it has no free port"),
])
def test_a_source_that_cannot_be(source: Address, reason: str) -> None:
    outcome, _ = ask("127.0.1.11", source)
    assert (outcome.ok, outcome.reason) == (False, reason)


def test_a_probe_never_talks_to_itself() -> None:
    """A connection to one's own ephemeral port can succeed with nobody there; that is no server."""
    home = "127.0.1.12"

    async def main() -> list[Outcome]:
        with socket.socket() as taken:
            taken.bind((home, 0))
            port = taken.getsockname()[1]
        return [await probe(TcpCheck(port), IPv4Address(home), IPv4Address(home), AMPLE) for _ in range(50)]

    assert {outcome.reason for outcome in asyncio.run(main())} == {"connection refused"}


def test_probes_leave_no_files_open() -> None:
    async def main() -> tuple[int, int]:
        async with backends.listening(backends.closing) as port:
            # The event loop's own files are there already.
            first, second = socket.socketpair()
            before = first.fileno()
            first.close()
            second.close()
            for check in (TcpCheck(port), TcpCheck(backends.closed_port())):
                for _ in range(20):
                    await probe(check, IPv4Address(backends.HOME), None, AMPLE)
            await asyncio.sleep(0.1)
            with socket.socket() as last:
                return before, last.fileno()

    before, after = asyncio.run(main())
    assert after <= before + 2


def test_what_is_known_when_the_time_is_up_is_the_reason() -> None:
    async def look_closer(progress: Progress) -> str:
        progress.known = "certificate has expired"
        await asyncio.sleep(AMPLE)
        return "never"

    outcome = asyncio.run(judge(look_closer, 0.05))
    assert (outcome.ok, outcome.reason) == (False, "certificate has expired")


def test_a_stall_of_our_own_loop_fails_nobody() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async def main() -> list[Outcome]:
        async with backends.listening(answer) as port:
            check = HttpCheck(port, expect=((204, 204),))
            probes = [asyncio.create_task(probe(check, IPv4Address(backends.HOME), None, 0.2)) for _ in range(20)]
            await asyncio.sleep(0)
            time.sleep(0.3)  # as a slow disk does, or a machine that is suspended
            return await asyncio.gather(*probes)

    outcomes = asyncio.run(main())
    assert {(outcome.ok, outcome.reason) for outcome in outcomes} == {(True, "status 204")}


def test_a_stall_gives_a_hung_target_no_second_life() -> None:
    async def hang(progress: Progress) -> str:
        time.sleep(0.2)
        await asyncio.sleep(60)
        return "never"

    outcome = asyncio.run(judge(hang, 0.1))
    assert (outcome.ok, outcome.reason) == (False, "no connection within 0.1 s")
    assert outcome.took < 0.5
