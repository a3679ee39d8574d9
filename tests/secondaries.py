"""Real nameservers as secondaries of a dnslb: they fetch example.test from it, signed, and answer for it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rcode
from peers import STARTING, Address, Process, running
from programs import program
from propagation.servers import Secondary, Setting, write

from dnslb.config.keys import TsigKey

KEY = TsigKey("fleet.", "hmac-sha256", b"0123456789abcdef0123456789abcdef")
ZONE = "example.test"


@contextmanager
def following(
    peer: Secondary, directory: Path, port: int, primaries: Sequence[int], *,
    extra: str = "", zones: Sequence[str] = (ZONE,),
) -> Iterator[Process]:
    """The peer, from when it serves the zones.  Skips the test when its program is missing.

    ``extra``: lines of its configuration for each zone.
    """
    path = program(peer.program, peer.package)
    here = directory / peer.program
    here.mkdir(exist_ok=True)
    setting = Setting(here, port, primaries, zones, KEY, extra=extra)
    file = write(peer, setting)
    for command in peer.prepare(setting):
        subprocess.run([program(command[0], peer.package), *command[1:]], check=True, capture_output=True)
    with running([path, *peer.options(file)], here / "log") as process:
        deadline = time.monotonic() + STARTING
        for zone in zones:
            while serial(Address("127.0.0.1", port), zone) is None:
                assert time.monotonic() < deadline, f"{peer.name} does not get {zone}:\n{(here / 'log').read_text()}"
                time.sleep(0.05)
        yield process


def asked(address: Address, name: str, kind: str) -> Any:
    """What is answered, or None when nothing is."""
    try:
        reply = dns.query.udp(dns.message.make_query(name, kind), address.host, 1.0, address.port)
    except (dns.exception.DNSException, OSError):
        return None
    return reply.answer[0] if reply.rcode() == dns.rcode.NOERROR and reply.answer else None


def serial(address: Address, zone: str = ZONE) -> int | None:
    found = asked(address, zone, "SOA")
    return None if found is None else int(found[0].serial)


def served(address: Address, name: str = f"www.{ZONE}", kind: str = "A") -> tuple[int, frozenset[str]]:
    """The TTL and the addresses."""
    found = asked(address, name, kind)
    return (0, frozenset()) if found is None else (found.ttl, frozenset(map(str, found)))
