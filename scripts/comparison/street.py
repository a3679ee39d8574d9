"""Two networks of one experiment: servers of all manners here, their clients behind a cable (veth(4)).

    clients, 192.0.2.10 ──── 192.0.2.1 (DNS), near servers 192.0.2.11-14; far servers 198.51.100.0/24

Only inside an enclosure.  The addresses are those of documentation (RFC 5737): were one to leak, it would go nowhere.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from comparison.enclosure import ip
from comparison.experiment import Lab
from comparison.processes import Process, await_ready
from comparison.stub import Endpoint

RESOLVER = Endpoint("192.0.2.1", 53)
CLIENT = "192.0.2.10"
NEAR = tuple(f"192.0.2.{number}" for number in range(11, 15))
FAR = tuple(f"198.51.100.{number}" for number in range(11, 15))
GOOD = "198.51.100.40"
# What is wrong with an address, and where that is so.
FAULTS = {"refuses": "198.51.100.21", "loses SYNs": "198.51.100.22", "stays silent": "198.51.100.23",
          "resets": "198.51.100.24", "answers 500": "198.51.100.25"}
WORKS = "works"
KEEPING, CLOSING = 80, 8080     # ports: connections are kept, or closed after each reply
NOBODY = "02:00:00:00:00:99"    # a hardware address that no interface has
LINGER_NOT = struct.pack("ii", 1, 0)    # a close is a reset
PAGE = """<!doctype html><link rel=icon href="data:,"><script>(async () => {
const words = new URL(location).searchParams, urls = words.getAll("url"), many = Number(words.get("many"));
const get = (url) => fetch(url, {cache: "no-store"}).then((reply) => reply.text()).catch(() => "");
if (many) for (let turn = 0; turn < many; turn++) await get(urls[0]);
else for (;;) { for (const url of urls) await get(url); await new Promise((next) => setTimeout(next, 500)); }
})()</script>"""


@dataclass(frozen=True, slots=True)
class Visit:
    """One request that arrived."""

    at: float       # on the monotonic clock
    address: str    # of the server
    host: str       # that was asked for, without a port
    path: str


@dataclass
class Street:
    """The servers, and where clients run."""

    home: Process                                   # holds the clients' network
    visits: list[Visit] = field(default_factory=list)

    def at_home(self, command: list[str]) -> list[str]:
        """The command, as a client runs it."""
        return [*at_home(self.home), *command]


def lay_cable(lab: Lab) -> Process:
    """The two networks, with all addresses and routes."""
    ours = Path("/proc/self/ns/net").readlink()
    home = lab.spawn("home", "unshare", "--net", "sleep", "infinity")
    theirs = Path(f"/proc/{home.pid}/ns/net")
    await_ready(home, lambda: theirs.exists() and theirs.readlink() != ours)
    # A link-local IPv6 address that is not there at first would make look-ups differ from one second to the next.
    subprocess.run([*at_home(home), "sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad"], check=False)
    ip("link", "add", "servers", "type", "veth", "peer", "name", "clients", "netns", home.pid)
    for address in (RESOLVER.address, *NEAR):
        ip("address", "add", f"{address}/24", "dev", "servers")
    for address in (*FAR, *FAULTS.values(), GOOD):
        if address != FAULTS["loses SYNs"]:
            ip("address", "add", f"{address}/32", "dev", "servers")
    ip("link", "set", "servers", "up")
    for words in (("link", "set", "lo", "up"), ("address", "add", f"{CLIENT}/24", "dev", "clients"),
                  ("link", "set", "clients", "up"), ("route", "add", "default", "via", RESOLVER.address),
                  # Packets for that address leave for an interface that nobody has: they are lost without a word.
                  ("neighbour", "add", "192.0.2.254", "lladdr", NOBODY, "dev", "clients", "nud", "permanent"),
                  ("route", "add", f"{FAULTS['loses SYNs']}/32", "via", "192.0.2.254")):
        ip(*words, by=at_home(home))
    return home


def at_home(home: Process) -> list[str]:
    """The beginning of a command line that runs in the clients' network."""
    return ["nsenter", "--target", str(home.pid), "--net", "--"]


@asynccontextmanager
async def open_street(lab: Lab) -> AsyncIterator[Street]:
    """All servers, until the block ends."""
    street = Street(lay_cable(lab))
    manners = dict.fromkeys((*NEAR, *FAR, GOOD), WORKS) | {
        address: fault for fault, address in FAULTS.items() if fault not in ("refuses", "loses SYNs")}
    doors = [(Server(street, address, manner, port == KEEPING), port)
             for address, manner in manners.items() for port in (KEEPING, CLOSING)]
    servers = [await asyncio.start_server(door.converse, door.address, port, backlog=512) for door, port in doors]
    try:
        yield street
    finally:
        for server in servers:
            server.close()


@dataclass(frozen=True, slots=True)
class Server:
    """One address and port."""

    street: Street
    address: str
    manner: str
    keeps: bool     # connections

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        # A client may leave in the middle of anything, and the street be closed.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace")
                path = head.split(" ", 2)[1].partition("?")[0]
                self.street.visits.append(Visit(time.monotonic(), self.address, _host(head), path))
                if self.manner == "stays silent":
                    await reader.read()
                    break
                if self.manner == "resets":
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
                    break
                writer.write(self.reply(path))
                await writer.drain()
                if not self.keeps:
                    break
        writer.close()

    def reply(self, path: str) -> bytes:
        status = "200 OK" if self.manner == WORKS else "500 Internal Server Error"
        kind, body = ("html", PAGE) if path == "/page" else ("plain", f"{self.address}\n")
        lines = (f"HTTP/1.1 {status}", f"Content-Type: text/{kind}", f"Content-Length: {len(body)}",
                 "Access-Control-Allow-Origin: *", "Cache-Control: no-store",
                 f"Connection: {'keep-alive' if self.keeps else 'close'}", "", body)
        return "\r\n".join(lines).encode()


def _host(head: str) -> str:
    """Whom the client wants, without the port."""
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "host":
            return value.strip().partition(":")[0]
    return ""
