"""What is fuzzed: a way to make an input, and one to have it read.  Whatever is raised is a fault."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from random import Random
from socket import AF_INET

import dns.message
import dns.name
import dns.opcode
import dns.tsig

from dnslb.admin import join_body, order_body, question
from dnslb.answer.cookies import Cookies
from dnslb.answer.responder import UDP, ForTransfers, Identity, Responder, Transport
from dnslb.answer.snapshot import Snapshot
from dnslb.balance.rotation import RRsetOrder
from dnslb.config import directory as directories
from dnslb.config import keys
from dnslb.config.files import Fingerprint
from dnslb.config.keys import TsigKey
from dnslb.control.errors import Rejected
from dnslb.dns import master
from dnslb.dns import name as names
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.dns.zone import Zone
from dnslb.ipc import frame_streams, takeover_messages
from dnslb.migrate import haproxy, named_conf
from dnslb.migrate.imported import Unreadable
from dnslb.parent import state
from dnslb.transfer import tsig
from dnslb.transfer.access import Access
from dnslb.transfer.answering import Source, Zones, answer
from dnslb.transfer.content import Content
from dnslb.transfer.publication import Publication
from dnslb.worker import proxy
from fuzzing import packets, texts

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LOOKED_AT = 64      # one reply in so many is read by dnspython too
MOST_MESSAGES = 20  # of a transfer
ZONE = b"""\
$TTL 300
@ SOA ns1 h 1 2 3 4 5
@ NS ns1
@ MX 10 mail
ns1 A 192.0.2.53
mail A 192.0.2.25
$GENERATE 1-4 www A 192.0.2.$
$GENERATE 1-4 www AAAA 2001:db8::$
$GENERATE 1-90 large TXT "$ some words that make the set too long for a packet"
alias CNAME www
*.wild A 192.0.2.9
dname DNAME www
sub NS ns.sub
ns.sub A 192.0.2.77
svc SVCB 1 . alpn=h2 ipv4hint=192.0.2.1
"""
KEY = keys.text(TsigKey("fleet.", "hmac-sha256", bytes(32))).encode()
STATE = """\
{"version": 1, "saved": 1700000000.0, "orders": [{"owner": null, "address": "192.0.2.1", "mode": "drain",
"since": 1.0, "at": null, "until": 2e9, "reason": "x", "by": "me"}], "healths": {"tcp 80 -> 192.0.2.1": {"up": false,
"since": 1.0, "reason": "refused", "recovered": null}}, "changes": [{"at": 1.0, "owner": "www.fuzz.test.", "address":
"192.0.2.1", "what": "down", "reason": "refused", "by": ""}], "clocks": [], "changed_at": {}, "serials": {}}
"""


@dataclass(frozen=True, slots=True)
class Target:
    """``make`` makes an input, ``read`` has it read, and raises for what must not be."""

    name: str
    about: str
    make: Callable[[Random], bytes]
    read: Callable[[bytes], object]


class Wrong(Exception):
    """Nothing was raised, but what came of it breaks a promise."""


def zone(octets: bytes = ZONE) -> Zone:
    found, problems = master.load("fuzz.zone", _apex(), lambda path: octets)
    if found is None:
        raise ValueError(str(problems))
    return found


def _apex() -> Name:
    return names.parse(packets.ZONE + ".", names.ROOT)


@dataclass(slots=True)
class Packets:
    """What workers do with a packet: over UDP and TCP, in turns that differ by the order."""

    responders: list[tuple[Responder, int]] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        zones = {_apex(): zone()}
        for order in (RRsetOrder.CYCLIC, RRsetOrder.STICKY, RRsetOrder.RANDOM):
            for transport in (UDP, Transport(limit=0xFFFF, idle=100)):
                identity = Identity("fuzz" * 20, "x")
                cookies = Cookies([bytes(16)], 1_700_000_000, required=order is RRsetOrder.RANDOM)
                snapshot = Snapshot(zones, order, Random(1))
                responder = Responder(snapshot, transport, identity, cookies, has_transfers=True)
                self.responders.append((responder, transport.limit))

    def read(self, packet: bytes) -> None:
        self.count += 1
        responder, limit = self.responders[self.count % len(self.responders)]
        client = struct.pack("=H2s4s8x", AF_INET, b"\1\2", self.count.to_bytes(4)) + bytes(12)
        try:
            # With the octets after the id, of which there may be none.
            reply = responder.recall(packet[2:], client)
        except ForTransfers:
            return
        if reply is None:
            return
        if len(reply) + 2 > limit:
            raise Wrong(f"{len(reply) + 2} octets, of {limit} at most")
        if packet[2] & 0x80 or not reply[0] & 0x80:
            raise Wrong("a reply to a reply, or one that is none")
        # The library wants of any UPDATE, also of one that is refused, what RFC 2136 §2.3 wants.
        if self.count % LOOKED_AT == 0 and packet[2] >> 3 & 15 != dns.opcode.UPDATE:
            dns.message.from_wire(packet[:2] + reply)


class _Texts:
    """Files in memory: is ``files.Files``."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def names(self, directory: str) -> list[str]:
        return sorted(self._files)

    def read(self, path: str, most: int) -> bytes:
        found = self._files.get(path.rpartition("/")[2])
        if found is None:
            raise FileNotFoundError(2, "No such file or directory", path)
        return found

    def read_within(self, path: str, most: int, directories: tuple[str, ...]) -> bytes | None:
        return self.read(path, most)

    def read_secret(self, path: str) -> bytes:
        return self.read(path, 0)

    def changed(self, path: str) -> float:
        raise FileNotFoundError(2, "No such file or directory", path)

    def keep(self, candidate: str, path: str) -> None:
        raise FileNotFoundError(2, "No such file or directory", path)

    def fingerprint(self) -> Fingerprint:
        return frozenset()

    def unfinished(self) -> frozenset[str]:
        return frozenset()


def _directory(name: str, octets: bytes) -> None:
    """One file of a directory is this; every problem in it must be printable in one line."""
    files = {"fuzz.test.zone": ZONE, "dnslb.yaml": b"", "fuzz.test.yaml": b"", "fleet.key": KEY, name: octets}
    _, problems = directories.load(Path("/fuzz"), _Texts(files))
    for problem in problems:
        if not str(problem).isprintable():
            raise Wrong(f"a problem that is no printable line: {str(problem)!r}")


def _proxied(octets: bytes) -> None:
    client = struct.pack("=H2s4s20x", AF_INET, b"\1\2", b"\3\4\5\6")  # in a place with room for any
    query, address = proxy.unwrapped(octets, client)
    if len(address) != len(client) or not octets.endswith(query):
        raise Wrong(f"{query!r} of {address!r}")


class Transfers:
    """What the process of the transfers does with a request, signed or not."""

    def __init__(self) -> None:
        self._keys = tsig.keyring({"key.": TsigKey("key.", "hmac-sha256", bytes(32))})
        self._corpus = [*packets.CORPUS]
        for kind in ("SOA", "AXFR", "IXFR"):
            request = dns.message.make_query(packets.ZONE, kind)
            request.use_tsig(self._keys, "key.")
            self._corpus.append(request.to_wire())
        publication = Publication(Content(zone()), {})
        publication.publish(0.0)
        access = Access(frozenset({"key."}), (ip_network("192.0.2.0/24"),))
        self._zones = Zones({_apex(): Source(publication, access)}, {_apex(): access})

    def make(self, rng: Random) -> bytes:
        packet = bytearray(rng.choice(self._corpus))
        for _ in range(rng.choice((0, 1, 1, 2, 6))):
            packet[rng.randrange(len(packet))] = rng.randrange(256)
        if rng.random() < 0.1:
            del packet[rng.randrange(len(packet)) :]
        return bytes(packet)

    def read(self, packet: bytes) -> None:
        try:
            request = tsig.read(packet, self._keys)
        except tsig.NotARequest:
            return
        for over_tcp in (False, True):
            answered = answer(request, ip_address("192.0.2.9"), self._zones, over_tcp=over_tcp)
            for number, message in enumerate(answered.messages):
                if number == 0 and len(message) > (0xFFFF if over_tcp else 1232):
                    raise Wrong(f"{len(message)} octets in a message")
                if number > MOST_MESSAGES:
                    raise Wrong("a transfer without end")

    def read_reply(self, packet: bytes) -> None:
        """From a secondary, to our own question."""
        for key in (None, *self._keys.values()):
            tsig.verified(packet, key, bytes(32))


def _quietly(read: Callable[[bytes], object], *expected: type[Exception]) -> Callable[[bytes], None]:
    """What says in its own words that it does not understand has done well."""
    def quiet(octets: bytes) -> None:
        with suppress(*expected):
            read(octets)
    return quiet


def _look_up(octets: bytes) -> None:
    path = "/lookup" + octets.decode("latin-1")
    if path.count("/") in (3, 4):  # others have no route
        question.parse(path)


def _import_conf(octets: bytes) -> None:
    def read(path: str) -> bytes:
        if not path.endswith("named.conf"):
            raise FileNotFoundError(2, "No such file or directory", path)
        return octets
    named_conf.read(Path("/fuzz/named.conf"), read)


def _corpus(*patterns: str) -> list[bytes]:
    """Files of the repository."""
    found = [path.read_bytes() for pattern in patterns for path in sorted(ROOT.glob(pattern))]
    if not found:
        raise FileNotFoundError(f"no corpus at {patterns}")
    return found


def _mutating(corpus: list[bytes]) -> Callable[[Random], bytes]:
    return lambda rng: texts.mutated(corpus, rng)


def targets() -> dict[str, Target]:
    """All, by name."""
    transfers = Transfers()
    policies = _corpus("zones/*.yaml", "tests/migrate/policy*.yaml", "scripts/fuzzing/corpus/*.yaml")
    settings = _corpus("zones/dnslb.yaml", "scripts/fuzzing/corpus/dnslb.yaml")
    orders = [
        b'{"mode": "drain", "addresses": ["192.0.2.1"]}',
        b'{"mode": "maint", "addresses": ["192.0.2.*", "2001:db8::1"], "names": ["www.*"], "for": "30m"}',
        b'{"mode": "ready", "addresses": ["*"], "at": "2026-11-21T22:00:00Z", "until": 1e9, "force": true}',
    ]
    messages = [json.dumps(each).encode() for each in (
        {"take": 1}, {"answers": True}, {"endpoint": "127.0.0.1:53"}, {"end": True, "share": 0, "of": 2},
    )]  # fmt: skip
    joins = [b'{"name": "www.fuzz.test", "address": "192.0.2.1", "weight": 3}']
    proxied = [proxy.SIGNATURE + b"\x21\x11\0\x0c" + bytes(range(12)) + packets.CORPUS[0],
               proxy.SIGNATURE + b"\x21\x21\0\x24" + bytes(36) + packets.CORPUS[0],
               proxy.SIGNATURE + b"\x20\0\0\0" + packets.CORPUS[0]]
    frames = [frame_streams.control(kind, b"protobuf:dnstap.Dnstap") for kind in (2, 5)]
    zones = [ZONE, *_corpus("zones/*.zone", "tests/migrate/bind/zones/*", "scripts/fuzzing/corpus/*.zone")]
    every = (
        Target("packets", "queries, in a worker", packets.mutated, Packets().read),
        Target("transfers", "requests of secondaries", transfers.make, transfers.read),
        Target("replies", "what secondaries reply to us", transfers.make, transfers.read_reply),
        Target("zones", "zone files", _mutating(zones), lambda octets: _directory("fuzz.test.zone", octets)),
        Target("policies", "policies", _mutating(policies), lambda octets: _directory("fuzz.test.yaml", octets)),
        Target("settings", "dnslb.yaml", _mutating(settings), lambda octets: _directory("dnslb.yaml", octets)),
        Target("orders", "bodies of orders", _mutating(orders),
               _quietly(lambda octets: order_body.parse(octets, 0.0), Rejected)),
        Target("joins", "bodies of who joins a pool", _mutating(joins),
               _quietly(lambda octets: join_body.parse(octets, ip_address("192.0.2.1")), Rejected)),
        Target("proxy", "packets behind PROXY headers", _mutating(proxied), _proxied),
        Target("questions", "paths of look-ups", _mutating([b"/www.fuzz.test/A", b"/%2e/%00", b"/www/AAAA/192.0.2.1"]),
               _quietly(_look_up, Rejected)),
        Target("state", "the state file", _mutating([STATE.encode()]),
               _quietly(lambda octets: state.decode(octets.decode(errors="replace"), 1e9), state.Damaged)),
        Target("keys", "files of TSIG keys", _mutating([KEY]),
               _quietly(lambda octets: keys.read(octets.decode(errors="replace"), "key"), Mistaken)),
        Target("takeover", "who wants our sockets", _mutating(messages), _quietly(takeover_messages.parse, ValueError)),
        Target("dnstap", "who reads dnstap", _mutating(frames),
               _quietly(lambda octets: frame_streams.ControlReader().read(octets), frame_streams.Broken)),
        Target("named_conf", "what is imported from BIND", _mutating(_corpus("tests/migrate/bind/named.conf*")),
               _quietly(_import_conf, Unreadable, OSError)),
        Target("haproxy", "what is imported from HAProxy", _mutating(_corpus("tests/migrate/haproxy.cfg")),
               _quietly(lambda octets: haproxy.read(octets.decode(errors="replace"), "x", "fuzz.test."), Unreadable)),
    )  # fmt: skip
    return {each.name: each for each in every}
