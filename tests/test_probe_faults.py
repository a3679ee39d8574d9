"""Whose fault it is that a probe brings nothing: the target's, or ours, which tells nothing of it."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import backends
import pytest

from dnslb.balance.health import Outcome
from dnslb.balance.pool import Address, Check, DnsCheck, ExecCheck, HttpCheck, TcpCheck
from dnslb.probe import probe
from dnslb.probe.outcome import Progress, judge

HOME = IPv4Address(backends.HOME)
NOWHERE = IPv6Address("fe80::1%lo")  # the loopback has no such network: nothing is sent


def ask(check: Check, target: Address = HOME, source: Address | None = None) -> Outcome:
    return asyncio.run(probe(check, target, source, 5.0))


@contextmanager
def few_files(count: int) -> Iterator[None]:
    """So many more may be opened."""
    with open(os.devnull) as last:
        used = last.fileno()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


OURS: list[tuple[str, Callable[[], Outcome]]] = [
    ("source", lambda: ask(TcpCheck(80), source=ip_address("192.0.2.1"))),
    ("source", lambda: ask(DnsCheck("a."), source=ip_address("192.0.2.1"))),
    ("network", lambda: ask(TcpCheck(80), NOWHERE)),
    ("network", lambda: ask(HttpCheck(80), NOWHERE)),
    ("network", lambda: ask(DnsCheck("a."), NOWHERE)),
    ("network", lambda: ask(TcpCheck(80), ip_address("fe80::1%none"))),
    ("permission", lambda: ask(DnsCheck("a."), ip_address("255.255.255.255"))),  # without SO_BROADCAST
    ("setting", lambda: ask(TcpCheck(80), source=ip_address("::1"))),
    ("setting", lambda: ask(HttpCheck(80, headers=(("X", "a\nb"),)))),
    ("setting", lambda: ask(HttpCheck(443, tls=True, ca_file="/nonexistent"))),
    ("setting", lambda: ask(DnsCheck("a..b."))),
    ("program", lambda: ask(ExecCheck(("/nonexistent/check",)))),
    ("program", lambda: ask(ExecCheck(("/etc/passwd",)))),
]


@pytest.mark.parametrize(("fault", "happen"), OURS)
def test_what_keeps_us_from_asking_is_our_fault(fault: str, happen: Callable[[], Outcome]) -> None:
    outcome = happen()
    assert (outcome.ok, outcome.fault) == (False, fault), outcome


@pytest.mark.parametrize("check", [TcpCheck(1), HttpCheck(1), DnsCheck("a."), ExecCheck(("/bin/true",))])
def test_too_many_open_files_are_our_fault(check: Check) -> None:
    async def main() -> Outcome:
        with few_files(0):
            return await probe(check, HOME, None, 5.0)

    outcome = asyncio.run(main())
    assert (outcome.ok, outcome.fault) == (False, "descriptors"), outcome
    assert "too many open files" in outcome.reason


def test_want_of_memory_is_our_fault_whenever_it_comes() -> None:
    """Simulated: nobody can take the kernel's memory away from one process only."""

    async def main() -> Outcome:
        async def refuse(progress: Progress) -> str:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

        return await judge(refuse, 1.0)

    outcome = asyncio.run(main())
    assert (outcome.ok, outcome.fault) == (False, "memory")


THEIRS: list[Callable[[], Outcome]] = [
    lambda: ask(TcpCheck(backends.closed_port())),
    lambda: ask(HttpCheck(backends.closed_port())),
    lambda: ask(DnsCheck("a.", port=backends.closed_port())),
    lambda: ask(ExecCheck(("/bin/false",))),
    lambda: ask(ExecCheck(("/bin/sh", "-c", "kill -9 $$"))),
]


@pytest.mark.parametrize("happen", THEIRS)
def test_what_the_target_does_is_its_own_fault(happen: Callable[[], Outcome]) -> None:
    outcome = happen()
    assert (outcome.ok, outcome.fault) == (False, ""), outcome


@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.ECONNREFUSED])
def test_what_a_router_says_of_a_connection_is_the_targets(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """It comes after the connection has begun, as an ICMP message, whatever its number is called."""

    async def main() -> Outcome:
        async with backends.full_backlog() as port:

            async def unreachable(sock: socket.socket, place: object) -> None:
                raise OSError(code, os.strerror(code))

            monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", unreachable)
            return await probe(TcpCheck(port), HOME, None, 5.0)

    outcome = asyncio.run(main())
    assert (outcome.ok, outcome.fault) == (False, "")


def test_a_program_that_appears_is_run(tmp_path: Path) -> None:
    program = tmp_path / "check"
    assert ask(ExecCheck((str(program),))).fault == "program"
    program.write_text(f"#!{sys.executable}\n")
    program.chmod(0o755)
    assert ask(ExecCheck((str(program),))).ok
