"""dnslb as a secondary: zones come from NSD, Knot, BIND and PowerDNS, and from whoever means it ill."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.xfr
import dns.zone
import pytest
from dnslb_server import Server, eventually, started
from hostile_primary import HostilePrimary, framed, hostile_primary, message, soa, transfer
from peers import Address, free_port
from primaries import BIND, KNOT, NSD, PRIMARIES, PrimaryKind, leading
from propagation import servers
from secondaries import KEY, ZONE, following, serial, served

from dnslb.admin import client
from dnslb.config import keys
from dnslb.transfer import tsig

ADDRESSES = frozenset({"192.0.2.1", "192.0.2.2"})
GOOD = ("example.test. 60 IN NS ns1.example.test.", "ns1.example.test. 60 IN A 192.0.2.53",
        "www.example.test. 60 IN A 192.0.2.1")  # fmt: skip


def zone(number: int, extra: str = "", times: str = "3600 900 1209600") -> str:
    return f"""\
$TTL 300
@    SOA  ns1 hostmaster {number} {times} 60
     NS   ns1
ns1  A    192.0.2.53
www  A    192.0.2.1
     A    192.0.2.2
     TXT  "a; \\"b\\"" "\\195\\164"
{extra}"""


class Copy:
    """A dnslb whose zone comes from primaries."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.stack = stack
        self.port = free_port()
        self.here = Address("127.0.0.1", self.port)
        key = directory / "fleet.key"
        key.write_text(keys.text(KEY))
        key.chmod(0o600)
        (directory / "zones").mkdir()
        (directory / "zones/dnslb.yaml").write_text(f"keys: {{fleet: {key}}}\n")

    def policy(self, primaries: str, rest: str = "") -> None:
        """As an editor does; ``primaries``: ports of those who sign, else a list as it is to stand there."""
        rows = primaries
        if re.fullmatch(r"[\d ]+", primaries):
            rows = ", ".join(f"{{address: 127.0.0.1, port: {port}, key: fleet}}" for port in primaries.split())
        new = self.directory / "zones/new"
        new.write_text(f"primary: [{rows}]\ntransfer_to: [127.0.0.0/8]\n{rest}")
        new.replace(self.directory / "zones/example.test.yaml")

    @contextmanager
    def server(self) -> Iterator[Server]:
        with started(self.directory, "--listen", f"127.0.0.1:{self.port}", "--workers", "2", judged=False) as server:
            yield server

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = client.ask(self.directory / "control", "GET", "/status")[1]
        return found

    def replica(self) -> dict[str, Any]:
        found: dict[str, Any] = self.status()["replicas"][0]
        return found

    def has(self, number: int) -> bool:
        """Whether it answers with this serial."""
        return serial(self.here) == number

    def holds(self, number: int) -> bool:
        """Whether it has this serial of the primary."""
        return bool(self.replica()["serial"] == number)

    def rcode(self) -> str:
        reply = dns.query.udp(dns.message.make_query(f"www.{ZONE}", "A"), "127.0.0.1", 2, self.port)
        return dns.rcode.to_text(reply.rcode())

    def follow(self, hostile: HostilePrimary, rest: str = "") -> Server:
        """The server, which has been told of that primary alone."""
        self.policy(f"{{address: 127.0.0.1, port: {hostile.port}, key: none}}", rest)
        return self.stack.enter_context(self.server())


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    with ExitStack() as stack:
        yield Copy(tmp_path, stack)


@pytest.fixture
def hostile() -> Iterator[HostilePrimary]:
    with hostile_primary() as primary:
        yield primary


def records(address: Address, signed: bool = False) -> set[tuple[str, int, str]]:
    """Owner, TTL and data of all that a server gives, with the SOA; none when it gives nothing."""
    found = dns.zone.Zone(ZONE, relativize=False)
    ring = tsig.keyring({KEY.name: KEY}) if signed else None
    query, _ = dns.xfr.make_query(found, keyring=ring)
    try:
        dns.query.inbound_xfr(address.host, found, query, port=address.port, timeout=5)
    except (dns.exception.DNSException, OSError):
        return set()
    return {(owner.to_text(), ttl, rdata.to_text()) for owner, ttl, rdata in found.iterate_rdatas()}


@pytest.mark.parametrize("kind", PRIMARIES, ids=lambda kind: kind.name)
@pytest.mark.long
def test_a_zone_follows_its_primary_octet_by_octet_and_outlives_it(copy: Copy, kind: PrimaryKind) -> None:
    with ExitStack() as life:
        primary = life.enter_context(leading(kind, copy.directory, copy.port, zone(1)))
        copy.policy(str(primary.address.port))
        with copy.server() as server:
            eventually(lambda: records(copy.here) == records(primary.address, signed=True), "it comes", 20.0)
            for number, extra in enumerate(("new A 192.0.2.9\n", "new 60 A 192.0.2.9\n", ""), 2):
                time.sleep(1.1)  # files are compared by their times
                primary.write(zone(number, extra))
                eventually(partial(copy.has, number), f"serial {number} comes", 20.0)
                assert records(copy.here) == records(primary.address, signed=True)
            assert served(copy.here)[1] == ADDRESSES
            held = records(copy.here)
            assert copy.replica()["error"] == ""
            assert f"example.test.: serial 3 → 4, from 127.0.0.1:{primary.address.port}" in server.log
    # Nobody is there any more.
    with copy.server():
        eventually(lambda: records(copy.here) == held, "the copy is served", 10.0)
        eventually(lambda: "refused" in copy.replica()["error"], "it is said that nobody is there", 10.0)


def test_before_anything_has_come_servfail_is_answered(copy: Copy, hostile: HostilePrimary) -> None:
    hostile.serial = None
    copy.follow(hostile)
    reply = dns.query.udp(dns.message.make_query(f"www.{ZONE}", "A", use_edns=0), "127.0.0.1", 2, copy.port)
    assert (reply.rcode(), reply.flags & dns.flags.AA) == (dns.rcode.SERVFAIL, 0)
    assert [(option.code, option.text) for option in reply.options] == [
        (24, "the zone has expired, or has not come from its primary yet")
    ]
    outside = dns.query.udp(dns.message.make_query("example.org", "A"), "127.0.0.1", 2, copy.port)
    assert outside.rcode() == dns.rcode.REFUSED
    assert (copy.replica()["serial"], copy.replica()["refreshed"]) == (None, None)
    hostile.reply = transfer(soa(5), *GOOD, soa(5))
    eventually(lambda: copy.has(5), "it has come", 20.0)


BAD: dict[str, tuple[Callable[[dns.message.Message], Any], str]] = {
    "another zone": (
        transfer(soa(2).replace(ZONE, "example.org"), soa(2).replace(ZONE, "example.org")),
        "it sends example.org., which is outside the zone"),
    "names outside": (
        transfer(soa(2), *GOOD, "www.example.org. 60 IN A 192.0.2.6", soa(2)),
        "it sends www.example.org., which is outside the zone"),
    "half of it": (transfer(soa(2), *GOOD), "it ends the connection before the end of the zone"),
    "half a message": (
        lambda query: [framed(message(query, [soa(2), *GOOD, soa(2)]))[0][:-9]],
        "it ends the connection before the end of the zone"),
    "another end": (transfer(soa(2), *GOOD, soa(3)), "it ends with another SOA than it began with"),
    "no SOA": (transfer(*GOOD), "it begins with NS, not with the SOA"),
    "a refusal": (
        lambda query: framed(message(query, [])[:3] + b"\x05" + message(query, [])[4:]), "it answers REFUSED"),
    "noise": (lambda query: framed(os.urandom(100)), "it sends what is no reply"),
    "a broken record": (
        lambda query: framed(message(query, [soa(2), *GOOD])[:-1]), "it sends a message that cannot be read"),
    "what is checked": (
        transfer(soa(2), *GOOD, "www.example.test. 60 IN CNAME ns1.example.test.", soa(2)),
        "what comes has mistakes: www.example.test. has CNAME and A"),
    "nothing": (lambda query: (), "it ends the connection before the end of the zone"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.long
def test_what_is_no_zone_leaves_the_last_good_one_and_is_said_once(
    copy: Copy, hostile: HostilePrimary, bad: tuple[Callable[[dns.message.Message], Any], str]
) -> None:
    hostile.reply = transfer(soa(1), *GOOD, soa(1))
    server = copy.follow(hostile)
    eventually(lambda: serial(copy.here) == 1, "the good one comes", 20.0)
    hostile.reply, why = bad
    hostile.serial, asked = 2, hostile.asked
    notify(copy.port)
    eventually(lambda: why in copy.replica()["error"], f"it is said: {server.log}", 10.0)
    eventually(lambda: hostile.asked > asked + 1 or "has mistakes" in why, "it is tried again", 10.0)
    assert serial(copy.here) == 1
    assert served(copy.here)[1] == {"192.0.2.1"}
    time.sleep(2.5)
    assert server.log.count(why) == 1
    hostile.reply, hostile.serial = transfer(soa(3), *GOOD, soa(3)), 3
    eventually(lambda: serial(copy.here) == 3, "the next good one comes", 10.0)
    eventually(lambda: copy.replica()["error"] == "", "nothing is wrong any more")


def notify(port: int) -> dns.message.Message:
    query = dns.message.make_query(ZONE, "SOA")
    query.set_opcode(dns.opcode.NOTIFY)
    query.flags = query.flags & ~dns.flags.RD | dns.flags.AA
    return dns.query.udp(query, "127.0.0.1", 5, port)


def test_notify_is_heeded_from_primaries_only(copy: Copy, hostile: HostilePrimary) -> None:
    hostile.reply = transfer(soa(1), *GOOD, soa(1))
    copy.follow(hostile)
    eventually(lambda: serial(copy.here) == 1, "it comes", 20.0)
    reply = notify(copy.port)
    assert (reply.opcode(), reply.rcode()) == (dns.opcode.NOTIFY, dns.rcode.NOERROR)
    for source, name in (("127.0.0.9", ZONE), ("127.0.0.1", "example.org")):
        query = dns.message.make_query(name, "SOA")
        query.set_opcode(dns.opcode.NOTIFY)
        reply = dns.query.udp(query, "127.0.0.1", 5, copy.port, source=source)
        assert (reply.opcode(), reply.rcode()) == (dns.opcode.NOTIFY, dns.rcode.REFUSED)


def test_an_older_serial_is_not_taken(copy: Copy, hostile: HostilePrimary) -> None:
    hostile.serial, hostile.reply = 7, transfer(soa(7), *GOOD, soa(7))
    copy.follow(hostile)
    eventually(lambda: serial(copy.here) == 7, "it comes", 20.0)
    hostile.serial, hostile.reply = 6, transfer(soa(6), *GOOD, soa(6))
    notify(copy.port)
    eventually(lambda: "it has serial 6, which is older than 7" in copy.replica()["error"], "it is said", 10.0)
    assert serial(copy.here) == 7


@pytest.mark.long
def test_a_zone_expires_and_comes_back(copy: Copy, hostile: HostilePrimary) -> None:
    times = {"refresh": 1, "retry": 1, "expire": 3}
    hostile.reply = transfer(soa(1, **times), *GOOD, soa(1, **times))
    server = copy.follow(hostile, "pools: {www: {}}\n")
    eventually(lambda: copy.rcode() == "NOERROR", "it comes", 20.0)
    time.sleep(4)
    assert copy.rcode() == "NOERROR"  # it is refreshed
    hostile.serial, hostile.reply = None, lambda query: ()
    eventually(lambda: copy.rcode() == "SERVFAIL", "it expires", 15.0)
    eventually(lambda: copy.replica()["expires"] is None, "it is told")
    assert copy.replica()["serial"] is None
    assert copy.status()["pools"] == []
    eventually(lambda: server.log.count("example.test. has expired") == 1, "it is said once")
    hostile.reply = transfer(soa(1, **times), *GOOD, soa(1, **times))
    eventually(lambda: copy.rcode() == "NOERROR", "it comes back", 70.0)
    eventually(lambda: [pool["owner"] for pool in copy.status()["pools"]] == [f"www.{ZONE}."], "with its pool")


def test_a_copy_that_has_expired_is_not_served_after_a_restart(copy: Copy, hostile: HostilePrimary) -> None:
    hostile.reply = transfer(soa(1), *GOOD, soa(1))
    copy.policy(f"{{address: 127.0.0.1, port: {hostile.port}, key: none}}")
    with copy.server():
        eventually(lambda: copy.rcode() == "NOERROR", "it comes", 20.0)
    hostile.reply, hostile.serial = (lambda query: ()), None
    file = copy.directory / "state/secondary/example.test.zone"
    for age, rcode in ((86000, "NOERROR"), (86500, "SERVFAIL")):
        os.utime(file, (time.time() - age,) * 2)
        with copy.server():
            assert copy.rcode() == rcode


def test_pools_lie_over_it_and_do_without_what_the_primary_takes_away(copy: Copy, hostile: HostilePrimary) -> None:
    up = copy.directory / "up"
    up.mkdir()
    for number in (1, 2):
        (up / f"192.0.2.{number}").touch()
    probe = f'probe: {{exec: [/usr/bin/test, -e, "{up}/{{address}}"], interval: 200ms, fall: 2, rise: 2}}'
    second = "www.example.test. 60 IN A 192.0.2.2"
    hostile.reply = transfer(soa(1), *GOOD, second, soa(1))
    server = copy.follow(hostile, f"pools: {{www: {{{probe}, backends: {{192.0.2.2: {{weight: 2}}}}}}}}\n")
    eventually(lambda: served(copy.here)[1] == ADDRESSES, "it comes", 20.0)
    (up / "192.0.2.1").unlink()
    eventually(lambda: served(copy.here)[1] == {"192.0.2.2"}, "a verdict counts", 10.0)
    # As of any zone with pools that is transferred.
    eventually(lambda: (serial(copy.here) or 0) > 1_700_000_000, "there is a version")
    first = serial(copy.here)
    # The address is not there any more, and then the name.
    for number, rest in ((2, GOOD), (3, GOOD[:2])):
        hostile.reply, hostile.serial = transfer(soa(number), *rest, soa(number)), number
        notify(copy.port)
        eventually(partial(copy.holds, number), "it comes", 10.0)
    eventually(lambda: copy.rcode() == "NXDOMAIN", "it is gone here too")
    assert copy.replica()["error"] == ""
    eventually(lambda: server.log.count("example.test. has no www.example.test.") == 1, "it is said")
    assert server.log.count("warning: 192.0.2.2 is no address of www.example.test.") == 1
    # What our own secondaries see never runs backwards.
    assert (serial(copy.here) or 0) > (first or 0)


def test_the_next_primary_is_asked_when_one_is_silent(copy: Copy) -> None:
    dead = free_port()
    with leading(KNOT, copy.directory, copy.port, zone(1)) as primary:
        copy.policy(f"{dead} {primary.address.port}")
        with copy.server():
            eventually(lambda: serial(copy.here) == 1, "it comes from the other", 20.0)
            told = f"127.0.0.1:{primary.address.port}"
            eventually(lambda: copy.replica()["primary"] == told, "it is named")


@pytest.mark.parametrize("kind", [NSD, BIND], ids=lambda kind: kind.name)
def test_it_goes_on_to_our_own_secondaries(copy: Copy, kind: PrimaryKind) -> None:
    place = Address("127.0.0.1", free_port())
    with leading(kind, copy.directory, copy.port, zone(1)) as primary:
        row = f"secondaries: [{{address: 127.0.0.1, port: {place.port}, key: fleet}}]\n"
        copy.policy(str(primary.address.port), row)
        with copy.server(), following(servers.KNOT, copy.directory, place.port, [copy.port]):
            assert serial(place) == 1  # the primary's own
            time.sleep(1.1)
            primary.write(zone(2, "new A 192.0.2.9\n"))
            eventually(lambda: serial(place) == 2, "the change arrives", 20.0)
            assert records(place) == records(primary.address, signed=True)


def test_a_wrong_key_is_told(copy: Copy) -> None:
    other = keys.TsigKey("fleet.", "hmac-sha256", b"f" * 32)
    (copy.directory / "fleet.key").write_text(keys.text(other))
    with leading(BIND, copy.directory, copy.port, zone(1)) as primary:
        copy.policy(str(primary.address.port))
        with copy.server() as server:
            eventually(lambda: "it answers NOTAUTH" in copy.replica()["error"], server.log, 20.0)


def bringing(server: Server) -> list[int]:
    """Processes that give way to all others: of transfers, and of primaries."""
    usual = os.getpriority(os.PRIO_PROCESS, server.parent)
    return [pid for pid in server.processes() if os.getpriority(os.PRIO_PROCESS, pid) > usual]


def test_its_process_is_replaced_and_goes_on(copy: Copy, hostile: HostilePrimary) -> None:
    hostile.reply = transfer(soa(1), *GOOD, soa(1))
    server = copy.follow(hostile)
    eventually(lambda: serial(copy.here) == 1, "it comes", 20.0)
    for pid in bringing(server):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: "the process of the primaries ended with status -9" in server.log, "it is told", 10.0)
    hostile.reply, hostile.serial = transfer(soa(2), *GOOD, soa(2)), 2
    eventually(lambda: serial(copy.here) == 2, "the next one comes", 20.0)


def test_half_an_edit_is_not_taken_with_what_comes(copy: Copy, hostile: HostilePrimary) -> None:
    hostile.reply = transfer(soa(1), *GOOD, soa(1))
    server = copy.follow(hostile)
    eventually(lambda: serial(copy.here) == 1, "it comes", 20.0)
    (copy.directory / "zones/example.org.zone").write_text("@ SOA")
    eventually(lambda: "not reloaded" in server.log, "the edit has a mistake", 10.0)
    hostile.reply, hostile.serial = transfer(soa(2), *GOOD, soa(2)), 2
    notify(copy.port)
    eventually(lambda: serial(copy.here) == 2, "what comes is served all the same", 10.0)


def zone_metrics(copy: Copy) -> dict[str, str]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(copy.directory / "control"))
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = sock.makefile("rb").read().decode()
    return dict(re.findall(r'^dnslb_zone_(\w+){zone="example.test."} (\S+)', text, re.MULTILINE))


def test_metrics_tell_when_it_was_refreshed(copy: Copy, hostile: HostilePrimary) -> None:
    hostile.reply = transfer(soa(1), *GOOD, soa(1))
    copy.follow(hostile)
    eventually(lambda: serial(copy.here) == 1, "it comes", 20.0)
    # The workers may answer before the parent is told how it came.
    eventually(lambda: "refreshed_timestamp_seconds" in zone_metrics(copy), "the parent knows when", 10.0)
    found = zone_metrics(copy)
    assert abs(float(found["refreshed_timestamp_seconds"]) - time.time()) < 60
    assert float(found["expires_timestamp_seconds"]) - float(found["refreshed_timestamp_seconds"]) == 86400
    assert found["refresh_failing"] == "0"
