"""The rate limit: who is held up, who never is, what it holds in memory, and what resolvers meet of it."""

from __future__ import annotations

import socket
import time
from collections import Counter
from contextlib import suppress
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from random import Random

import dns.flags
import dns.message
import dns.rcode
import pytest
from dnslb_server import ZONE, Server, eventually, question, started
from exchange import ask_udp
from peers import Address, free_port
from test_cookies import MINE, NOW, SECRET, shows
from transcript import ANONYMOUS, query, snapshot, zone

from dnslb.answer.cookies import Cookies
from dnslb.answer.responder import UDP, Responder
from dnslb.config.rate_limit import RateLimit as Wanted
from dnslb.parent.telling.limit_log import LimitLog
from dnslb.worker.rate_limit import Held, RateLimit, Watched
from dnslb.worker.shedding import Instruction, program

RATE = 100
TEXT = "\n".join([
    "@ 30 SOA ns h 1 2 3 4 5", "@ 30 NS ns", "ns 30 A 192.0.2.1",
    *(f"www{number} 5 A 192.0.2.{number}" for number in range(1, 201)),
    "*.wild 30 A 192.0.2.5", "sub 30 NS ns.example.net.", "a.b 30 A 192.0.2.6",
])  # fmt: skip
WORLD = zone("example.com.", TEXT)
LIMITED = Wanted(RATE)


def sockaddr(address: str) -> bytes:
    packed = ip_address(address).packed
    return b"\2\0\0\x35" + packed + bytes(8) if len(packed) == 4 else b"\x0a\0\0\x35" + bytes(4) + packed + bytes(4)


class World:
    """A responder with a limit, and clients of any address: every query is as one alone in its batch."""

    def __init__(self, wanted: Wanted = LIMITED, share: int = 1) -> None:
        made = snapshot(WORLD)
        self.cookies = Cookies([SECRET], NOW)
        self.responder = Responder(made, UDP, ANONYMOUS, self.cookies)
        self.limit = RateLimit(self.responder, made.zones, wanted, share, Random(1))
        self.now = NOW
        self.until = self.limit.gap()
        self.tick(0)

    def tick(self, seconds: int = 1) -> None:
        self.now += seconds
        self.cookies.tick(self.now)
        self.limit.tick(self.now)

    def ask(self, packet: bytes, address: str = "198.51.100.1") -> str:
        """What a client gets: the response code, with TC if it is set, or silence."""
        client = sockaddr(address)
        respond = self.limit.respond if self.limit.watched else self.responder.recall
        reply = self.responder.opts.completed(respond(packet[2:], client))
        self.until -= 1
        if self.until <= 0:
            self.limit.look(packet[2:], client)
            self.until = self.limit.gap()
        if reply is None:
            return "silence"
        parsed = dns.message.from_wire(packet[:2] + reply)
        assert len(reply) + 2 <= max(512, len(packet) + 28) or parsed.answer
        return dns.rcode.to_text(parsed.rcode()) + " tc" * bool(parsed.flags & dns.flags.TC)

    def flood(self, packets: list[bytes], count: int, seconds: int = 3, address: str = "198.51.100.1") -> Counter[str]:
        """So many a second for some seconds; what comes back in the last one."""
        for _ in range(seconds):
            got = Counter(self.ask(packets[number % len(packets)], address) for number in range(count))
            self.tick()
        return got


WWW = query("www1.example.com A")


def test_a_network_gets_so_many_replies_and_of_the_rest_half_are_put_off() -> None:
    got = World().flood([WWW], 20 * RATE)
    assert got["NOERROR"] == RATE
    assert abs(got["NOERROR tc"] - got["silence"]) <= 1
    assert got.total() == 20 * RATE


@pytest.mark.parametrize(("slip", "put_off"), [(0, 0), (1, 19), (2, 9.5), (10, 1.9)])
def test_how_many_are_put_off_is_set(slip: int, put_off: float) -> None:
    assert World(Wanted(RATE, slip)).flood([WWW], 20 * RATE)["NOERROR tc"] == put_off * RATE


INVENTED = {
    "types": [query(f"www1.example.com TYPE{number}") for number in range(300, 400)],
    "missing names": [query(f"x{number}.example.com A") for number in range(100)],
    "missing names of many labels": [query(f"{'a.' * (number % 50)}x{number}.example.com A") for number in range(100)],
    "names of a wildcard": [query(f"x{number}.wild.example.com A") for number in range(100)],
    "names below a delegation": [query(f"x{number}.sub.example.com A") for number in range(100)],
    "spellings": [query(name + ".example.com A") for name in ("www1", "Www1", "wWw1", "WWW1")],
    "names of nobody here": [query(f"x{number}.example.org A") for number in range(100)],
    "sizes": [query("www1.example.com A", size=size) for size in range(512, 1232, 10)],
}


@pytest.mark.parametrize("packets", INVENTED.values(), ids=INVENTED)
def test_nobody_gets_more_by_inventing(packets: list[bytes]) -> None:
    got = World().flood(packets, 20 * RATE)
    assert got["silence"] + sum(count for what, count in got.items() if what.endswith("tc")) == 19 * RATE


@pytest.mark.parametrize(("others", "are_held"), [
    (["198.51.100.2", "198.51.100.255"], True), (["198.51.101.1", "203.0.113.1", "2001:db8::1"], False),
])  # fmt: skip
def test_a_network_is_a_24(others: list[str], are_held: bool) -> None:
    world = World()
    for _ in range(20 * RATE):
        world.ask(WWW)
    assert {world.ask(WWW, other) != "NOERROR" for other in others} == {are_held}


@pytest.mark.parametrize(("other", "is_held"), [("2001:db8:0:ff::9", True), ("2001:db8:0:100::9", False)])
def test_a_network_of_ipv6_is_a_56(other: str, is_held: bool) -> None:
    world = World()
    for _ in range(20 * RATE):
        world.ask(WWW, "2001:db8::1")
    assert (world.ask(WWW, other) != "NOERROR") is is_held


def test_another_name_is_another_account() -> None:
    world = World()
    world.flood([WWW], 20 * RATE)
    assert world.ask(query("www2.example.com A")) == "NOERROR"
    assert world.ask(query("no.example.com A")) == "NXDOMAIN"


def test_who_shows_a_cookie_of_ours_is_never_held_up() -> None:
    world = World()
    world.flood([shows(MINE, "www1.example.com A")], 20 * RATE)
    given = world.cookies.reply(MINE, ip_address("198.51.100.1").packed)
    assert given is not None
    assert world.flood([shows(given, "www1.example.com A")], 20 * RATE) == {"NOERROR": 20 * RATE}
    # The same cookie from next door is nobody's.
    assert world.flood([shows(given, "www1.example.com A")], 20 * RATE, address="198.51.100.2")["NOERROR"] <= RATE


def test_who_has_cookies_is_put_off_with_one() -> None:
    got = World().flood([shows(MINE, "www1.example.com A")], 20 * RATE)
    assert got["BADCOOKIE"] > 9 * RATE
    assert not got["NOERROR tc"]


def test_networks_are_exempt_as_set() -> None:
    wanted = Wanted(RATE, exempt=(ip_network("198.51.100.0/24"),))
    assert World(wanted).flood([WWW], 20 * RATE) == {"NOERROR": 20 * RATE}
    assert World(Wanted(RATE)).flood([WWW], 20 * RATE, address="127.0.0.1") == {"NOERROR": 20 * RATE}


def test_workers_share_the_limit() -> None:
    assert World(Wanted(RATE), share=4).flood([WWW], 20 * RATE)["NOERROR"] == RATE // 4


@pytest.mark.parametrize("rate", [1, 2, 5, 20, 100, 500, 2_000])
def test_any_limit_is_kept(rate: int) -> None:
    asked = max(200, 10 * rate)
    got = World(Wanted(rate)).flood([WWW], asked)
    assert got["NOERROR"] == rate


def test_a_network_that_stays_below_is_not_held_up_and_soon_not_watched() -> None:
    world = World()
    world.flood([WWW], 20 * RATE)
    world.tick(2)
    assert world.flood([WWW], RATE - 10, seconds=5) == {"NOERROR": RATE - 10}
    assert world.flood([WWW], RATE // 20, seconds=12) == {"NOERROR": RATE // 20}
    assert not world.limit.watched


def test_memory_is_bounded_under_spoofed_sources() -> None:
    world, rng = World(), Random(3)
    packets = [query(f"www{number}.example.com A") for number in range(1, 201)]
    for number in range(200_000):
        # A few each from very many networks, so that all of them are watched.
        address = str(IPv4Address(0x0B000000 + (number // 40 << 8)))
        world.limit.look(packets[number % 200][2:], sockaddr(address))
        world.limit.watched.setdefault(sockaddr(address)[4:7], Watched(world.now))
        if number % 4 == 0:
            world.limit.respond(packets[rng.randrange(200)][2:], sockaddr(address))
        if number % 5_000 == 0:
            world.tick()
    assert len(world.limit._accounts) <= 20_000
    assert len(world.limit._seen) <= 10_001


def test_the_log_has_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    log = LimitLog()
    for second in range(150):
        log.add(Held(1000, 500, {b"\xc6\x33\x64": 900, b"\x20\1\x0d\xb8\0\0\0": 100}), 1000.0 + second)
    assert [record.getMessage() for record in caplog.records] == [
        "rate limit: 1,000 queries held up since the last such line, at most one a minute; "
        "most of 198.51.100.0/24 (900), 2001:db8::/56 (100)",
        *["rate limit: 60,000 queries held up since the last such line, at most one a minute; "
          "most of 198.51.100.0/24 (54,000), 2001:db8::/56 (6,000)"] * 2,
    ]  # fmt: skip


# -- what resolvers meet -----------------------------------------------------------------------------------------------

class Cache:
    """A resolver's: it asks when a record has expired and somebody wants it; of several who want it, once."""

    def __init__(self) -> None:
        self.expires: dict[int, float] = {}

    def asks(self, name: int, now: float, ttl: float) -> bool:
        if self.expires.get(name, 0.0) > now:
            return False
        self.expires[name] = now + ttl
        return True


def simulate(caches: int, clients: int, names: int, ttl: float, seconds: int = 30) -> Counter[str]:
    """Clients behind one /24 want names every few seconds, from cold caches on; A, AAAA and HTTPS each time."""
    world, rng = World(Wanted()), Random(4)
    packets = [
        [query(f"www{name}.example.com {kind}") for kind in ("A", "AAAA", "HTTPS")] for name in range(1, names + 1)
    ]
    network = [Cache() for _ in range(caches)]
    got: Counter[str] = Counter()
    for second in range(seconds):
        for _ in range(clients // 3):
            name, cache = min(int(rng.paretovariate(1)), names) - 1, rng.randrange(caches)
            if network[cache].asks(name, second + rng.random(), ttl):
                got.update(world.ask(packet, f"198.51.100.{cache % 256}") for packet in packets[name])
        world.tick()
    return got


@pytest.mark.parametrize(("caches", "clients", "names", "ttl"), [
    (1, 10_000, 200, 2),     # ten thousand clients behind one address
    (1, 10_000, 1, 0),       # a cache that keeps nothing, but asks once for all who wait in a second
    (16, 10_000, 200, 2),    # a farm of resolvers
    (256, 10_000, 3, 5),     # every address of a /24 is a resolver, and all want the same
])  # fmt: skip
def test_resolvers_never_meet_the_limit(caches: int, clients: int, names: int, ttl: float) -> None:
    got = simulate(caches, clients, names, max(ttl, 0.5))
    assert set(got) == {"NOERROR"}
    assert got.total() > 30


# -- over sockets ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("setting", "is_held"), [
    ("rate_limit: {per_second: 50, exempt: []}", True),
    ("rate_limit: {per_second: 50}", False),
    ("rate_limit: no", False),
])  # fmt: skip
@pytest.mark.long
def test_a_flood_over_sockets(tmp_path: Path, setting: str, is_held: bool) -> None:
    port = free_port()
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(ZONE)
    (zones / "dnslb.yaml").write_text(setting)
    with started(tmp_path, "--listen", f"127.0.0.1:{port}", "--workers", "1") as server:
        replies = ask_udp(Address("127.0.0.1", port), [question("www")] * 3_000, tries=1, wait=0.5)
        got = Counter("silence" if reply is None else "tc" if reply[2] & 2 else "answer" for reply in replies)
        assert (got["silence"] > 0 and got["tc"] > 0) is is_held
        if is_held:
            assert got["answer"] < 1_500
            eventually(lambda: "rate limit: " in server.log and "127.0.0.0/24" in server.log, "no line in the log", 5)
            assert server.log.count("rate limit: ") == 1


def flooded(address: Address, source: str, packet: bytes, seconds: float) -> int:
    """So many replies come to who asks as fast as it can."""
    with socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.setblocking(False)
        replies, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(50):
                with suppress(BlockingIOError):
                    sock.sendto(packet, address)
            with suppress(BlockingIOError):
                while sock.recv(2048):
                    replies += 1
        return replies


@pytest.mark.parametrize(("host", "source", "other"), [("127.0.0.1", "127.0.9.1", "127.0.0.1"), ("::1", "::1", None)])
@pytest.mark.long
def test_what_floods_is_dropped_by_the_system_but_for_cookies(
    tmp_path: Path, host: str, source: str, other: str | None
) -> None:
    port = free_port()
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(ZONE)
    (zones / "dnslb.yaml").write_text("rate_limit: {per_second: 50, exempt: []}")
    listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with started(tmp_path, "--listen", listen, "--workers", "1") as server:
        address = Address(host, port)
        flooded(address, source, question("www"), 3.5)
        before = drops(server.workers()[0])
        flooded(address, source, question("www"), 0.5)
        assert drops(server.workers()[0]) > before + 1000
        if other is not None:
            assert None not in ask_udp(address, [question("www")] * 20, tries=1)
        (given,) = cookies_of(ask_from(address, source, [shows(MINE, "www.example.test A")] * 200))
        assert len(ask_from(address, source, [shows(given, "www.example.test A")] * 50)) == 50
        eventually(lambda: no_drops(address, source, server), "packets are still dropped", 30)


def no_drops(address: Address, source: str, server: Server) -> bool:
    time.sleep(1)
    before = drops(server.workers()[0])
    ask_from(address, source, [question("www")] * 40)
    return drops(server.workers()[0]) == before


def drops(pid: int) -> int:
    """Packets that were dropped before any socket of UDP, as the system counts them."""
    texts = [Path(f"/proc/{pid}/net/{kind}").read_text() for kind in ("udp", "udp6")]
    fields = [line.split()[-1] for text in texts for line in text.splitlines()]
    return sum(int(field) for field in fields if field.isdigit())


def ask_from(address: Address, source: str, packets: list[bytes]) -> list[bytes]:
    """The replies to these, one after the other."""
    found = []
    with socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.settimeout(0.05)
        for packet in packets:
            sock.sendto(packet, address)
            with suppress(TimeoutError):
                found.append(sock.recv(2048))
    return found


def cookies_of(replies: list[bytes]) -> set[bytes]:
    return {option.to_wire() or b"" for reply in replies for option in dns.message.from_wire(reply).options}


@pytest.mark.parametrize(("size", "source", "octets"), [(3, 12, 4), (7, 8, 16)])
def test_the_program_drops_these_networks_and_no_others(size: int, source: int, octets: int) -> None:
    rng = Random(1)
    networks = [rng.randbytes(size) for _ in range(50)] + [bytes(size)]
    made = program(networks, source)
    for _ in range(300):
        asked = rng.choice(networks) if rng.random() < 0.5 else rng.choice(networks)[: size - 1] + rng.randbytes(1)
        address = asked + rng.randbytes(octets - size)
        for end in (0, 0x000A0018):  # of a packet: something, or the beginning of a whole cookie
            for drawn in (0, 1, 15, 16):
                is_dropped = asked in networks and not end and drawn % 16 != 0
                assert run(made, address, source, end, drawn) is not is_dropped


def run(made: list[Instruction], address: bytes, source: int, end: int, drawn: int) -> bool:
    """Whether a packet comes through, as the system runs such a program."""
    loaded, at = 0, 0
    while True:
        code, if_so, if_not, operand = made[at]
        at += 1
        match code:
            case 0x20 if operand == 0xFFFFF038:  # a random number
                loaded = drawn
            case 0x20:
                start = operand - 0xFFF00000 - source
                loaded = int.from_bytes(address[start : start + 4])
            case 0x40:
                loaded = end
            case 0x54:
                loaded &= operand
            case 0x15:
                at += if_so if loaded == operand else if_not
            case 0x05:
                at += operand
            case 0x06:
                return operand != 0
