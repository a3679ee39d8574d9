"""Whatever happens to a dnslb, in whatever order: in the end its secondaries hold what it holds."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import dns.exception
import dns.name
import dns.query
import dns.zone
import pytest
from dnslb_server import Server, eventually
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from peers import Address
from propagation.servers import SECONDARIES
from secondaries import ZONE
from test_transfers import Fleet, transferred
from world import kill

pytestmark = pytest.mark.long

_BACKENDS = st.sampled_from([f"192.0.2.{number}" for number in range(1, 5)])
_HOSTS = st.sampled_from(["a", "b", "*.c", "d.e"])
_STEPS = st.one_of(
    st.tuples(st.sampled_from(["up", "down", "drain", "maint", "ready", "pause"]), _BACKENDS),
    st.tuples(st.just("write"), _HOSTS, st.integers(1, 3), st.sampled_from([60, 300])),
    st.tuples(st.just("remove"), _HOSTS),
    st.tuples(st.sampled_from(["reload", "restart", "kill"])),
)


class Life:
    """A server that has secondaries, and what is done to it."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.world = fleet.world
        self.file = fleet.world.directory / "zones/example.test.zone"
        self.written = self.file.read_text()
        self.hosts: dict[str, tuple[int, int]] = {}  # how many addresses, and the TTL
        self.server: Server = fleet.serve(*SECONDARIES)

    def do(self, step: tuple[str, ...] | tuple[str, str, int, int]) -> None:
        match step:
            case "up", str(address):
                (self.world.up / address).touch()
            case "down", str(address):
                (self.world.up / address).unlink(missing_ok=True)
            case ("drain" | "maint" | "ready") as mode, str(address):
                self.world.ask("POST", "/orders", {"mode": mode, "addresses": [address]})
            case "write", str(host), int(count), int(ttl):
                self.hosts[host] = count, ttl
                self.write()
            case "remove", str(host):
                self.hosts.pop(host, None)
                self.write()
            case ["reload"]:
                os.kill(self.server.parent, signal.SIGHUP)
            case ["restart" | "kill" as how]:
                if how == "kill":
                    kill(self.server)
                self.fleet.life.close()
                self.server = self.fleet.life.enter_context(self.fleet.server())

    def write(self) -> None:
        """As an editor does."""
        records = (
            f"{host} {ttl} A 198.51.100.{number}\n"
            for host, (count, ttl) in self.hosts.items() for number in range(count)
        )
        new = self.file.with_suffix(".new")
        new.write_text(self.written + "".join(records))
        new.replace(self.file)

    def wanted(self) -> dict[str, set[str]]:
        """The addresses by name that are to be held in the end."""
        handed_out = {address for address, backend in self.world.backends().items() if backend["handed_out"]}
        hosts = {host: {f"198.51.100.{number}" for number in range(count)} for host, (count, _) in self.hosts.items()}
        return {"ns1": {"192.0.2.53"}, "www": handed_out} | hosts

    def is_settled(self) -> bool:
        """Whether we hold what we should, and everybody else what we hold: names, records, TTLs and serial."""
        try:
            ours = transferred(self.fleet)
            return addresses(ours) == self.wanted() and all(
                records(held(place)) == records(ours) for place in self.fleet.places.values()
            )
        except (dns.exception.DNSException, OSError):
            return False  # for the moment

    def told(self) -> str:
        """Who holds what."""
        return "\n".join([
            f"wanted: {self.wanted()}",
            f"ours: {transferred(self.fleet).to_text()}",
            *(f"{name}: {held(place).to_text()}" for name, place in self.fleet.places.items()),
            self.server.log[-3000:],
        ])  # fmt: skip


def held(place: Address) -> dns.zone.Zone:
    """What a secondary has."""
    zone = dns.zone.Zone(ZONE, relativize=False)
    dns.query.inbound_xfr(place.host, zone, port=place.port, timeout=5)
    return zone


def records(zone: dns.zone.Zone) -> set[tuple[str, int, str]]:
    """Owner, TTL and data of all, with the SOA."""
    # Zones that differ in TTLs alone are equal to the library.
    return {(owner.to_text(), ttl, rdata.to_text()) for owner, ttl, rdata in zone.iterate_rdatas()}


def addresses(zone: dns.zone.Zone) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for owner, _, rdata in zone.iterate_rdatas("A"):
        found.setdefault(owner.relativize(dns.name.from_text(ZONE)).to_text(), set()).add(rdata.to_text())
    return found


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    with ExitStack() as stack:
        fleet = Fleet(tmp_path, stack)
        fleet.world.configure(
            (tmp_path / "zones/dnslb.yaml").read_text() + "confirm: 0s\nsettle: 100ms\n"
        )
        yield Life(fleet)


@settings(
    max_examples=5, deadline=None, phases=[Phase.generate], derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(_STEPS, min_size=3, max_size=8))
def test_all_secondaries_hold_what_we_hold(life: Life, steps: list[tuple[str, ...]]) -> None:
    """One life for all examples: each goes on where the last one ended."""
    for step in [*steps, ("ready", "192.0.2.1")]:
        life.do(step)
    try:
        eventually(life.is_settled, "they differ", 30.0)
    except pytest.fail.Exception:
        pytest.fail(f"after {steps}\n{life.told()}")
