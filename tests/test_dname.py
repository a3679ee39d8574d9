"""Names below a DNAME share replies, each with its own name in it: what is shared is what each would get alone."""

from __future__ import annotations

import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_memo import remembered
from test_responder import canonical
from transcript import TCP, ask, query, responder, snapshot, wire, zone

from dnslb.answer.responder import UDP, Responder

ZONE = zone("example.com.", "\n".join([
    "@ 300 SOA x hostmaster.y 1 2 3 4 60",   # names that are missing, and may be what a name becomes
    "@ 300 NS ns1",
    "ns1 300 A 192.0.2.1",
    "to-apex 30 DNAME @",
    "to-parent 30 DNAME com.",
    "to-root 30 DNAME .",
    "outside 30 DNAME other.example.",
    "missing 30 DNAME no.where",
    "to-host 30 DNAME host",
    "host 30 A 192.0.2.2",
    "www.host 30 A 192.0.2.3",
    "www.host 30 A 192.0.2.4",
    "alias.host 30 CNAME www.host",
    "a.b.host 30 A 192.0.2.5",
    "*.c.host 30 A 192.0.2.6",
    "to-wild 30 DNAME Wild",
    "*.wild 30 A 192.0.2.7",
    "*.wild 30 A 192.0.2.8",
    "*.wild 30 MX 10 x",
    "x.wild 30 TXT here",
    "to-wildalias 30 DNAME wildalias",
    "*.wildalias 30 CNAME x.wild",
    "to-wildloop 30 DNAME wildloop",
    "*.wildloop 30 CNAME x.to-wildloop",
    "to-sub 30 DNAME sub",
    "to-below-sub 30 DNAME below.sub",
    "sub 30 NS ns.sub",
    "ns.sub 30 A 192.0.2.9",
    "to-other 30 DNAME to-wild",
    "to-itself 30 DNAME x.to-itself",
    "www.outside 30 TXT hidden",
    "wild-to 30 DNAME " + "w" * 63 + "." + "w" * 63,
    "*.via 30 CNAME x.to-host",
]))  # fmt: skip
OWNERS = [
    "to-apex", "to-parent", "to-root", "outside", "missing", "to-host", "to-wild", "to-wildalias", "to-wildloop",
    "to-sub", "to-below-sub", "to-other", "to-itself", "wild-to", "via",
]  # fmt: skip
LABELS = st.sampled_from([
    "x", "y", "X", "www", "WWW", "abc", "ns1", "ns", "a", "b", "c", "host", "wild", "alias", "alibi", "example",
    "examplf", "sub", "com", "*", "to-apex", "l" * 63, "m" * 63, r"\000\.", "hostmaster",
])  # fmt: skip
NAMES = st.builds(
    lambda labels, owner: ".".join([*labels, owner, "example.com"]),
    st.lists(LABELS, min_size=1, max_size=3),
    st.sampled_from(OWNERS),
)
TYPES = st.sampled_from(["A", "MX", "TXT", "CNAME", "DNAME", "NS", "DS", "ANY", "SOA", "TYPE1999"])


@given(questions=st.lists(st.tuples(NAMES, TYPES, st.sampled_from([None, 512, 1232])), min_size=2, max_size=8))
@settings(max_examples=600)
def test_a_shared_reply_is_what_each_would_get_alone(questions: list[tuple[str, str, int | None]]) -> None:
    for transport in (UDP, TCP):
        warm = responder(ZONE, transport=transport)
        for name, kind, size in questions:
            packet = query(f"{name} {kind}", size=size)
            alone = responder(ZONE, transport=transport).respond(packet)
            shared = warm.respond(packet)
            assert alone is not None and shared is not None
            assert canonical(shared) == canonical(alone)


@given(question=st.tuples(NAMES, TYPES), before=st.tuples(NAMES, TYPES))
@settings(max_examples=600)
def test_a_shared_reply_says_what_the_zone_says(question: tuple[str, str], before: tuple[str, str]) -> None:
    """Every owner and every alias, name by name: a pointer to what another client asked would show."""
    world = snapshot(ZONE)
    server = Responder(world, TCP, responder(ZONE)._identity)
    server.respond(query(" ".join(before)))
    packet = query(" ".join(question))
    parsed = dns.message.from_wire(server.respond(packet) or b"")
    name = wire(f"{question[0]}.").lower()
    said = world.plain(name, dns.rdatatype.from_text(question[1]).to_bytes(2) + b"\0\1")
    assert parsed.rcode() == said.rcode
    for section, placed in (
        (parsed.answer, said.answer),
        (parsed.authority, said.authority),
        (parsed.additional, (*said.glue, *said.additional)),
    ):
        got = {(owner(rrset.name), rrset.ttl, str(rdata).lower()) for rrset in section for rdata in rrset}
        assert got == {
            (owner(dns.name.from_wire(name, 0)[0]), rrset.ttl, text(rrset.rrtype, rdata))
            for name, rrset in placed for rdata in rrset.rdatas
        }  # fmt: skip


def owner(name: dns.name.Name) -> str:
    return name.to_text().lower()


def text(rrtype: int, rdata: bytes) -> str:
    made = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RdataType(rrtype), rdata, 0, len(rdata))
    return str(made).lower()


@pytest.mark.parametrize(("first", "then", "reply"), [
    ("ab.missing A", "xy.missing A", [
        "NXDOMAIN aa",
        "missing.example.com. 30 DNAME no.where.example.com.",
        "xy.missing.example.com. 30 CNAME xy.no.where.example.com.",
        "authority: SOA",
    ]),
    ("abc.to-host A", "www.to-host A", [
        "NOERROR aa",
        "to-host.example.com. 30 DNAME host.example.com.",
        "www.to-host.example.com. 30 CNAME www.host.example.com.",
        "www.host.example.com. 30 A 192.0.2.3",
        "www.host.example.com. 30 A 192.0.2.4",
    ]),
    ("x.to-wild A", "y.to-wild A", [
        "NOERROR aa",
        "to-wild.example.com. 30 DNAME wild.example.com.",
        "y.to-wild.example.com. 30 CNAME y.wild.example.com.",
        "y.wild.example.com. 30 A 192.0.2.7",
        "y.wild.example.com. 30 A 192.0.2.8",
    ]),
    ("exampli.to-parent A", "example.to-parent TXT", [
        "NOERROR aa",
        "to-parent.example.com. 30 DNAME com.",
        "example.to-parent.example.com. 30 CNAME example.com.",
        "authority: SOA",
    ]),
])  # fmt: skip
def test_each_name_finds_its_own(first: str, then: str, reply: list[str]) -> None:
    server = responder(ZONE)
    ask(server, first.replace(" ", ".example.com "))
    shown = ask(server, then.replace(" ", ".example.com ")).replace("Wild", "wild").split(" | ")
    assert sorted(shown) == sorted(reply)


@pytest.mark.parametrize("owner", ["outside", "missing", "to-host", "to-wild", "to-sub", "to-below-sub", "to-apex"])
@pytest.mark.parametrize("depth", [1, 2])
def test_random_names_share_one_reply(owner: str, depth: int) -> None:
    world = snapshot(ZONE)
    server = Responder(world, UDP, responder(ZONE)._identity)
    for number in range(10, 50):
        for kind in ("A", "MX", "TYPE1999"):
            server.respond(query(f"{'q.' * (depth - 1)}n{number}.{owner}.example.com {kind}"))
    assert world.packed <= 3


def test_what_is_remembered_of_a_query_is_not_for_others() -> None:
    server = responder(ZONE)
    for number in range(5):
        assert remembered(server, query(f"n{number}.missing.example.com A")) is None
