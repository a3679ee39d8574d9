"""Replies are counted by zone, though nothing counts while queries are answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

import pytest
from test_near import packed
from transcript import ANONYMOUS, TCP, query, wire, zone

from dnslb.answer.responder import UDP, Responder
from dnslb.answer.snapshot import Serving, Snapshot
from dnslb.balance.rotation import Rotation, RRsetOrder
from dnslb.dns import rrtype
from dnslb.dns.zone import RRset

COM = zone(
    "example.com.",
    """\
$TTL 300
@ SOA ns1 hostmaster 1 3600 900 1209600 60
@ NS ns1
ns1 A 192.0.2.53
www A 192.0.2.1
www A 192.0.2.2
one A 192.0.2.3
alias CNAME one
away CNAME www.example.net.
sub NS ns.sub
ns.sub A 192.0.2.54
*.wild TXT x
""",
)
NET = zone("example.net.", "$TTL 300\n@ SOA ns1 h 1 3600 900 1209600 60\n@ NS ns1\nns1 A 192.0.2.53\nwww A 192.0.2.9\n")
POOL = wire("www.example.com."), rrtype.A
# Each is answered from example.com.
QUESTIONS = [
    "www.example.com A", "one.example.com A", "one.example.com MX", "alias.example.com A", "nope.example.com A",
    "x.sub.example.com A", "a.wild.example.com TXT", "www.example.com ANY", "example.com SOA", "away.example.com A",
]  # fmt: skip


def serving(order: RRsetOrder, *hosts: str) -> Serving:
    return Serving(RRset(rrtype.A, 30, packed(*hosts)), Rotation(order))


def counted(snapshot: Snapshot) -> dict[bytes, int]:
    counts: Counter[bytes] = Counter()
    for piece in snapshot.zone_turns.take_counts():
        counts.update(piece)
    return dict(counts)


def told(counts: Mapping[bytes, int]) -> dict[bytes, int]:
    return {apex: count for apex, count in counts.items() if count}


@pytest.mark.parametrize("order", list(RRsetOrder))
@pytest.mark.parametrize("pool", [False, True])
def test_every_reply_is_counted_once(order: RRsetOrder, pool: bool) -> None:
    rng = Random(4)
    servings = {POOL: serving(order, "192.0.2.1", "192.0.2.2")} if pool else {}
    snapshot = Snapshot({COM.apex: COM, NET.apex: NET}, order, Random(1), servings)
    servers = [Responder(snapshot, UDP, ANONYMOUS), Responder(snapshot, TCP, ANONYMOUS)]
    client = bytes((2, 0, 0, 53, 192, 0, 2, 77, *bytes(8)))
    for _ in range(3):
        truth: Counter[bytes] = Counter()
        for number in range(400):
            server = rng.choice(servers)
            question = rng.choice([*QUESTIONS, "www.example.net A", "example.org A", "example.com AXFR"])
            packet = query(question, size=rng.choice((None, 512, 1232)))
            server.respond(packet, client)
            if rng.random() < 0.1:
                server.memo.miss(1 << 20, packet[2:])  # from now on it is remembered
            if question in QUESTIONS:
                truth[COM.apex] += 1
            elif "net" in question:
                truth[NET.apex] += 1
            if pool and number % 50 == 0:
                snapshot.led([POOL])
            if pool and number % 130 == 0:
                hosts = [f"192.0.2.{host}" for host in range(1, rng.randint(1, 4))]
                snapshot.update({POOL: serving(order, *hosts)})
        assert told(counted(snapshot)) == dict(truth)
    assert told(counted(snapshot)) == {}


def test_nothing_is_counted_that_nobody_has_asked() -> None:
    snapshot = Snapshot({COM.apex: COM}, RRsetOrder.CYCLIC, Random(1), {POOL: serving(RRsetOrder.CYCLIC, "192.0.2.1")})
    snapshot.prepare([(wire("one.example.com."), b"\0\x01\0\x01"), (wire("www.example.com."), b"\0\x01\0\x01")])
    assert told(counted(snapshot)) == {}
