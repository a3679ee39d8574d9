"""Real clients in the subnet of the servers: glibc sorts whole sets of addresses, and takes single ones as they come.

All of it lives in two network namespaces of the test's own, with a cable between them: servers, dnslb and unbound in
one, fifty client addresses in the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from shutil import rmtree
from typing import NamedTuple

import pytest
from comparison import unbound
from comparison.stub import Endpoint
from dnslb_server import eventually, started
from peers import STARTING, running
from programs import program

SERVERS = (20, 70, 180, 200)      # hosts of both networks
CLIENTS = range(101, 151)
DNSLB, UNBOUND = 2, 3
ZONE = "\n".join([
    "$TTL 300",
    "@ SOA ns1 hostmaster 1 3600 900 1209600 60",
    "@ NS ns1",
    f"ns1 A 192.0.2.{DNSLB}",
    *(f"{name} 30 A 192.0.2.{host}" for name in ("whole", "single") for host in SERVERS),
    *(f"{name}6 30 AAAA 2001:db8::{host:x}" for name in ("whole", "single") for host in SERVERS),
    "",
])  # fmt: skip
# Behind a resolver each look-up is a turn only where nothing is cached.
POLICY = """\
defaults: {ttl: 0s}
pools:
  whole:
  whole6:
  single: {answers: {near: 1, far: all}}
  single6: {answers: {near: 1, far: all}}
"""

# Sends everybody the address that was connected to.
SERVER = """
import asyncio, sys
async def serve(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    address = writer.get_extra_info("sockname")[0]
    writer.write(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + address.encode())
    await writer.drain()
    writer.close()
async def main():
    await asyncio.start_server(serve, sys.argv[1:], 80, backlog=256)
    print("serving", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""

# Connects to a name from one address after the other, and tells by which servers it was received.
CLIENT = """
import json, socket, subprocess, sys
from urllib.request import urlopen
program, name, route, *clients = sys.argv[1:]
found = []
for client in clients:
    subprocess.run(["ip", "route", "replace", *route.split(), "src", client], check=True)
    if program == "urllib":
        with urlopen(f"http://{name}/", timeout=10) as reply:
            found.append(reply.read().decode())
    else:
        words = [program, "--silent", "--show-error", "--max-time", "10", f"http://{name}/"]
        found.append(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
print(json.dumps(found))
"""


class Namespaces(NamedTuple):
    """Two networks with a cable between them, by the names that ``ip netns`` knows them by."""

    servers: str
    clients: str


@contextmanager
def namespaces() -> Iterator[Namespaces]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    program("ip", "iproute2")
    made = Namespaces(f"dnslb-servers-{os.getpid()}", f"dnslb-clients-{os.getpid()}")
    with ExitStack() as stack:
        for name in made:
            ip("netns", "add", name)
            stack.callback(ip, "netns", "del", name)
            # Where `ip netns exec` takes it from.
            (directory := Path("/etc/netns", name)).mkdir(parents=True)
            stack.callback(rmtree, directory)
        ip("link", "add", "cable", "netns", made.servers, "type", "veth", "peer", "cable", "netns", made.clients)
        for name, hosts in ((made.servers, (DNSLB, UNBOUND, *SERVERS)), (made.clients, CLIENTS)):
            addresses = [
                f"address add {address}/{length} dev cable{nodad}"
                for host in hosts
                for address, length, nodad in ((v4(host), 24, ""), (v6(host), 64, " nodad"))
            ]
            links = ["link set lo up", "link set cable up"]
            ip("-netns", name, "-batch", "-", given="\n".join([*addresses, *links]))
        yield made


def ip(*words: str, given: str = "") -> None:
    subprocess.run(["ip", *words], check=True, input=given, text=True, capture_output=True)


def v4(host: int) -> str:
    return f"192.0.2.{host}"


def v6(host: int) -> str:
    return f"2001:db8::{host:x}"


class Scene(NamedTuple):
    """Everything runs; clients may come."""

    namespace: str

    def shares(self, client: str, name: str, resolver: str) -> Counter[int]:
        """By how many of the clients each server was used; each asks once."""
        family = v6 if name.endswith("6") else v4
        Path("/etc/netns", self.namespace, "resolv.conf").write_text(f"nameserver {resolver}\n")
        # What the system itself has for the subnet has a metric of 0, and for IPv6 256.
        route = "2001:db8::/64 dev cable metric 1" if family is v6 else "192.0.2.0/24 dev cable"
        words = [client, f"{name}.example.test", route, *map(family, CLIENTS)]
        inside = ["ip", "netns", "exec", self.namespace, sys.executable, "-c", CLIENT, *words]
        done = subprocess.run(inside, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return Counter(int(ip_address(address)) & 0xFF for address in json.loads(done.stdout))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    resolving = program("unbound", "unbound")
    directory = tmp_path_factory.mktemp("neighbours")
    (directory / "zones").mkdir()
    (directory / "zones" / "example.test.zone").write_text(ZONE)
    (directory / "zones" / "example.test.yaml").write_text(POLICY)
    ours, theirs = Endpoint(v4(UNBOUND), 53), [Endpoint(v4(DNSLB), 53)]
    configuration = unbound.configuration(unbound.Setting(), ours, theirs, str(directory), "example.test.")
    (directory / "unbound.conf").write_text(f"{configuration}server:\n  access-control: 192.0.2.0/24 allow\n")
    with ExitStack() as stack:
        there = stack.enter_context(namespaces())
        inside = ("ip", "netns", "exec", there.servers)
        hosts = [address for host in SERVERS for address in (v4(host), v6(host))]
        serving = [*inside, sys.executable, "-c", SERVER, *hosts]
        servers = stack.enter_context(running(serving, directory / "servers.log"))
        stack.enter_context(running([*inside, resolving, "-d", "-c", str(directory / "unbound.conf")],
                                    directory / "unbound.log"))
        listen = ("--listen", f"{v4(DNSLB)}:53", "--listen", f"[{v6(DNSLB)}]:53", "--workers", "1")
        stack.enter_context(started(directory, *listen, under=inside))
        eventually(lambda: "serving" in servers.log.read_text(), "the servers do not come up", STARTING)
        eventually(lambda: "start of service" in (directory / "unbound.log").read_text(), "unbound does not", STARTING)
        yield Scene(there.clients)


def most_alike(client: int) -> int:
    """The server whose address shares the longest prefix with the client's."""
    return min(SERVERS, key=lambda server: (server ^ client).bit_length())


CASES = [
    ("curl", "", v4(DNSLB)),
    ("curl", "", v4(UNBOUND)),
    ("urllib", "6", v6(DNSLB)),
]


@pytest.mark.parametrize(("client", "family", "resolver"), CASES)
def test_with_one_address_for_who_is_near_all_servers_have_their_share(
    scene: Scene, client: str, family: str, resolver: str
) -> None:
    program(client, client) if client == "curl" else None
    shares = scene.shares(client, f"single{family}", resolver)
    even = len(CLIENTS) / len(SERVERS)
    assert {server for server in SERVERS if abs(shares[server] - even) > even / 10} == set(), shares


@pytest.mark.parametrize(("client", "family", "resolver"), CASES)
def test_of_whole_sets_each_client_takes_the_address_most_like_its_own(
    scene: Scene, client: str, family: str, resolver: str
) -> None:
    """Two of four servers stand idle: this is what the advice of `dnslb check` is about."""
    shares = scene.shares(client, f"whole{family}", resolver)
    assert shares == Counter(map(most_alike, CLIENTS)) == {70: 27, 180: 23}
