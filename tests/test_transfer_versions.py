"""Versions of a zone: what is published when, the steps between, and transfers as dnspython understands them."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from itertools import pairwise
from typing import TypeAlias

import dns.message
import dns.rdatatype
import dns.tsig
import dns.xfr
import dns.zone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnslb.config.keys import TsigKey
from dnslb.dns import master, name, rrtype
from dnslb.dns.name import Name
from dnslb.dns.zone import RRset, Zone
from dnslb.ipc.forwarding import Inlet
from dnslb.transfer import tsig
from dnslb.transfer.access import Access
from dnslb.transfer.answering import Source, Zones, answer
from dnslb.transfer.content import Content, between
from dnslb.transfer.journal import Journal, Step, serial_of
from dnslb.transfer.publication import PAUSE, Publication, Version
from dnslb.transfer.refusals import Refusals
from dnslb.transfer.requests import Requests
from dnslb.transfer.serial import following, is_newer
from dnslb.transfer.updating import Updating

APEX = name.parse("example.com.", name.ROOT)
WWW, API = (name.parse(f"{label}.example.com.", name.ROOT) for label in ("www", "api"))
ADDRESSES = [ip_address(f"192.0.2.{number}").packed for number in range(11, 16)]
CLIENT = ip_address("127.0.0.1")
KEY = TsigKey("fleet.", "hmac-sha256", b"0123456789abcdef0123456789abcdef")
CEILING = 60


def zone(extra: str = "", serial: int = 7) -> Zone:
    text = f"""\
$TTL 300
@ SOA ns1 hostmaster {serial} 3600 900 1209600 60
@ NS ns1
@ MX 10 ns1
ns1 A 192.0.2.53
www 60 A 192.0.2.11
www 60 A 192.0.2.12
www TXT "a text"
api 60 A 192.0.2.13
sub NS ns.sub
ns.sub A 192.0.2.54
*.wild A 192.0.2.55
{extra}"""
    found, problems = master.load("f", APEX, lambda _: text.encode(), lambda _: b"")
    assert found is not None, problems
    return found


def a(ttl: int, *addresses: bytes) -> RRset:
    return RRset(rrtype.A, ttl, addresses)


def records(content: Content) -> set[tuple[Name, int, int, bytes]]:
    return {(owner, rrset.rrtype, rrset.ttl, rdata) for owner, rrset in content.rrsets() for rdata in rrset.rdatas}


def publication(written: Zone | None = None) -> Publication:
    return Publication(Content(written or zone()), {(WWW, rrtype.A): CEILING, (API, rrtype.A): CEILING})


# Serials


@pytest.mark.parametrize(("serial", "than", "expected"), [
    (1, 0, True), (0, 1, False), (5, 5, False), (0, 0xFFFFFFFF, True), (1 << 31, 0, False), ((1 << 31) - 1, 0, True),
    (0, (1 << 31) + 1, True),
])  # fmt: skip
def test_serials_are_compared_around_the_circle(serial: int, than: int, *, expected: bool) -> None:
    assert is_newer(serial, than) is expected


_NOW = 1_795_000_000


@given(st.none() | st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF), st.floats(_NOW, 2**31))
def test_the_next_serial_is_newer_than_the_last(last: int | None, written: int, now: float) -> None:
    serial = following(last, written, now)
    assert is_newer(serial, written if last is None else last)
    assert is_newer(following(serial, written, now), serial)


@pytest.mark.parametrize(("last", "written", "now", "expected"), [
    (None, 7, _NOW, _NOW),
    (_NOW, 7, _NOW, _NOW + 1),
    (_NOW + 5, 7, _NOW, _NOW + 6),
    (None, 2026112101, _NOW, 2026112102 + _NOW - 1_767_225_600),
    (None, 2026112101, _NOW + 60, 2026112102 + _NOW + 60 - 1_767_225_600),  # another primary, a minute later
])  # fmt: skip
def test_the_serial_follows_the_clock(last: int | None, written: int, now: float, expected: int) -> None:
    assert following(last, written, now) == expected


# What is published


def test_the_first_version_is_the_zone_with_what_its_pools_serve() -> None:
    one = publication()
    one.lay({(WWW, rrtype.A): a(5, ADDRESSES[1])})
    version = one.publish(1000.0)
    assert version is not None
    assert (WWW, rrtype.A, 5, ADDRESSES[1]) in records(version.content)
    assert (WWW, rrtype.A, 60, ADDRESSES[0]) not in records(version.content)
    assert records(Content(zone())) - records(version.content) == {
        (WWW, rrtype.A, 60, ADDRESSES[0]), (WWW, rrtype.A, 60, ADDRESSES[1])
    }  # fmt: skip


def test_a_verdict_makes_two_versions_and_the_ramp_none() -> None:
    one = publication()
    one.lay({(WWW, rrtype.A): a(60, *ADDRESSES[:2])})
    one.publish(1000.0)
    published = []
    for now, ttl in ((1010.0, 5), (1015.0, 10), (1020.0, 20), (1040.0, 40), (1070.0, 60), (1080.0, 60)):
        one.lay({(WWW, rrtype.A): a(ttl, ADDRESSES[0])})
        if version := one.publish(now):
            published.append((now, version.content.node(WWW)[-1].ttl))
    assert published == [(1010.0, 5), (1070.0, 60)]


def test_a_ttl_that_falls_is_published_at_each_step() -> None:
    one = publication()
    one.lay({(WWW, rrtype.A): a(60, *ADDRESSES[:2])})
    one.publish(1000.0)
    for now, ttl in ((1010.0, 40), (1020.0, 20), (1030.0, 5)):
        one.lay({(WWW, rrtype.A): a(ttl, *ADDRESSES[:2])})
        version = one.publish(now)
        assert version is not None
        assert version.content.node(WWW)[-1].ttl == ttl


def test_nothing_new_is_no_version_and_the_next_may_come_after_a_pause() -> None:
    one = publication()
    assert one.earliest == 0.0
    one.publish(1000.0)
    assert one.publish(1001.0) is None
    assert one.earliest == 1000.0 + PAUSE


def test_a_new_life_begins_ahead_of_what_a_killed_one_may_have_published_last() -> None:
    killed, new = publication(), publication()
    saved = killed.publish(_NOW)
    assert saved is not None
    # In the second before it was killed, and not saved.
    killed.lay({(WWW, rrtype.A): a(5, ADDRESSES[1])})
    unsaved = killed.publish(_NOW + 1.0)
    new.last_serial = saved.serial
    first = new.publish(_NOW + 1.5)
    assert unsaved is not None
    assert first is not None
    assert is_newer(first.serial, unsaved.serial)


def test_an_edited_zone_is_a_version_with_the_difference() -> None:
    one = publication()
    first = one.publish(1000.0)
    assert first is not None
    two = publication(zone('new A 192.0.2.99\n', serial=8))
    two.inherit(first)
    second = two.publish(1001.0)
    assert second is not None
    assert [(owner, rrset.rdatas) for owner, rrset in second.steps[-1].change.added] == [
        (name.parse("new.example.com.", name.ROOT), (ip_address("192.0.2.99").packed,))
    ]
    assert second.steps[-1].change.removed == ()
    assert serial_of(second.steps[-1].old) == first.serial


def test_a_serial_alone_is_no_version() -> None:
    one = publication()
    first = one.publish(1000.0)
    assert first is not None
    two = publication(zone(serial=8))
    two.inherit(first)
    assert two.publish(1001.0) is None


Change: TypeAlias = tuple[Name, int, list[bytes]]  # owner, TTL and addresses that a pool serves from now on
_SERVED = st.tuples(
    st.sampled_from([WWW, API]), st.integers(1, CEILING), st.sets(st.sampled_from(ADDRESSES)).map(sorted)
)


@given(st.lists(_SERVED), st.integers(0, 5))
def test_whoever_follows_the_steps_from_any_version_holds_the_last(served: list[Change], skip: int) -> None:
    one = publication()
    versions = [one.publish(1000.0)]
    for number, (owner, ttl, addresses) in enumerate(served):
        one.lay({(owner, rrtype.A): a(ttl, *addresses)})
        versions.append(one.publish(1001.0 + number))
    known = [version for version in versions if version is not None]
    begin, last = known[min(skip, len(known) - 1)], known[-1]
    held = records(begin.content)
    for step in one.journal.since(begin.serial) or []:
        for owner, rrset in step.change.removed:
            held -= {(owner, rrset.rrtype, rrset.ttl, rdata) for rdata in rrset.rdatas}
        for owner, rrset in step.change.added:
            held |= {(owner, rrset.rrtype, rrset.ttl, rdata) for rdata in rrset.rdatas}
    assert held == records(last.content)
    serials = [version.serial for version in known]
    assert all(is_newer(later, earlier) for earlier, later in pairwise(serials))


def test_a_journal_lets_go_of_the_oldest_steps_and_keeps_no_giant() -> None:
    content = Content(zone())
    journal = Journal(300)
    soas = [content.soa(serial) for serial in range(10)]
    change = between(content, Content(content.zone, {WWW: {rrtype.A: a(5, ADDRESSES[3])}}))
    for old, new in pairwise(soas):
        journal.add(Step(old, new, change))
    assert journal.since(0) is None
    assert journal.since(8) is not None
    assert sum(step.change.octets for step in journal.steps) <= 300
    giant = between(content, Content(zone("$GENERATE 1-99 g$ A 192.0.2.1\n")))
    journal.add(Step(soas[9], content.soa(10), giant))
    assert journal.steps == []


# On the wire


def asked(kind: int, serial: int | None = None, key: TsigKey | None = KEY) -> dns.message.Message:
    message = dns.message.make_query("Example.com.", dns.rdatatype.RdataType(kind))
    if serial is not None:
        soa = dns.rrset.from_text("example.com.", 0, "IN", "SOA", f". . {serial} 0 0 0 0")
        message.authority.append(soa)
    if key is not None:
        ring = tsig.keyring({key.name: key})
        message.use_tsig(ring, keyname=dns.name.from_text(key.name), algorithm=key.algorithm)
    return message


def replied(question: dns.message.Message, one: Publication, *, over_tcp: bool = True) -> list[bytes]:
    request = tsig.read(question.to_wire(), tsig.keyring({KEY.name: KEY}))
    zones = Zones({APEX: Source(one, Access(frozenset({KEY.name})))}, {})
    return list(answer(request, CLIENT, zones, over_tcp=over_tcp).messages)


def understood(question: dns.message.Message, one: Publication, *, over_tcp: bool = True) -> dns.message.Message:
    """The first message of the reply; its signature holds."""
    wire = replied(question, one, over_tcp=over_tcp)[0]
    return dns.message.from_wire(wire, keyring=question.keyring, request_mac=question.mac)


def empty() -> dns.zone.Zone:
    return dns.zone.Zone("example.com.", relativize=False)


def held(question: dns.message.Message, wires: list[bytes], begin: dns.zone.Zone, serial: int | None) -> dns.zone.Zone:
    """What a secondary holds after the transfer, by dnspython."""
    context, multi = None, len(wires) > 1
    with dns.xfr.Inbound(begin, question.question[0].rdtype, serial=serial) as inbound:
        for wire in wires:
            message = dns.message.from_wire(
                wire, keyring=question.keyring, request_mac=question.mac, xfr=True, one_rr_per_rrset=True,
                tsig_ctx=context, multi=multi,
            )  # fmt: skip
            assert message.had_tsig
            context = message.tsig_ctx
            done = inbound.process_message(message)
    assert done
    return begin


def read_zone(content: Content, serial: int) -> dns.zone.Zone:
    """The version as dnspython holds it."""
    lines = [
        f"{name.text(owner)} {rrset.ttl} IN {rrtype.text(rrset.rrtype)} \\# {len(rdata)} {rdata.hex()}"
        for owner, rrset in [(APEX, content.soa(serial)), *content.rrsets()] for rdata in rrset.rdatas
    ]  # fmt: skip
    return dns.zone.from_text("\n".join(lines), origin="example.com.", relativize=False, check_origin=False)


def nodes(zone: dns.zone.Zone) -> dict[object, object]:
    return {
        owner: {(rdataset.rdtype, rdataset.ttl, frozenset(map(str, rdataset))) for rdataset in node}
        for owner, node in zone.nodes.items() if len(node.rdatasets)
    }  # fmt: skip


def same(zone: dns.zone.Zone, version: Version | None) -> None:
    assert version is not None
    assert nodes(zone) == nodes(read_zone(version.content, version.serial))


def test_a_whole_zone_is_what_dnspython_reads_from_it() -> None:
    one = publication(zone("$GENERATE 1-3000 host$ A 192.0.2.1\n"))
    one.publish(1000.0)
    question = asked(rrtype.AXFR)
    wires = replied(question, one)
    assert len(wires) > 2
    same(held(question, wires, empty(), None), one.version)


@given(st.lists(_SERVED, min_size=1, max_size=8))
def test_steps_are_what_dnspython_makes_the_last_version_of(served: list[Change]) -> None:
    one = publication()
    first = one.publish(1000.0)
    assert first is not None
    for number, (owner, ttl, addresses) in enumerate(served):
        one.lay({(owner, rrtype.A): a(ttl, *addresses)})
        one.publish(1001.0 + number)
    question = asked(rrtype.IXFR, first.serial)
    if one.version is first:
        assert len(understood(question, one).answer) == 1
        return
    begin = read_zone(first.content, first.serial)
    same(held(question, replied(question, one), begin, first.serial), one.version)


def test_who_is_too_far_behind_gets_the_whole_zone() -> None:
    one = publication()
    one.publish(1000.0)
    question = asked(rrtype.IXFR, 1)
    same(held(question, replied(question, one), empty(), 1), one.version)


@pytest.mark.parametrize("serial", [2_000_000_000, 1000])
def test_who_has_all_or_comes_from_the_future_gets_the_soa(serial: int) -> None:
    one = publication()
    one.publish(1000.0)
    assert [rrset.rdtype for rrset in understood(asked(rrtype.IXFR, serial), one).answer] == [dns.rdatatype.SOA]


def test_over_udp_the_soa_says_come_over_tcp() -> None:
    one = publication()
    one.publish(1000.0)
    assert len(understood(asked(rrtype.IXFR, 1), one, over_tcp=False).answer) == 1


OTHER = TsigKey("other.", "hmac-sha512", b"x" * 32)
FALSE = TsigKey("fleet.", "hmac-sha256", b"y" * 32)


@pytest.mark.parametrize(("key", "kind", "over_tcp", "rcode", "error"), [
    (None, rrtype.AXFR, True, "REFUSED", None),
    (KEY, rrtype.AXFR, True, "NOERROR", 0),
    (KEY, rrtype.AXFR, False, "REFUSED", 0),
    (KEY, rrtype.A, True, "REFUSED", 0),
    (OTHER, rrtype.AXFR, True, "NOTAUTH", 17),  # BADKEY
    (FALSE, rrtype.AXFR, True, "NOTAUTH", 16),  # BADSIG
])  # fmt: skip
def test_who_may_not_is_told_why(
    key: TsigKey | None, kind: int, *, over_tcp: bool, rcode: str, error: int | None
) -> None:
    one = publication()
    one.publish(1000.0)
    wire = replied(asked(kind, key=key), one, over_tcp=over_tcp)[0]
    reply = dns.message.from_wire(wire, keyring=lambda message, key_name: False)
    assert dns.rcode.to_text(reply.rcode()) == rcode
    assert (None if reply.tsig is None else reply.tsig[0].error) == error


def test_a_request_of_another_time_is_told_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    one = publication()
    one.publish(1000.0)
    question = asked(rrtype.AXFR)
    with monkeypatch.context() as patched:
        patched.setattr("time.time", lambda: 1_000_000.0)
        wire = question.to_wire()
    reply = dns.message.from_wire(replied_to(wire, one), keyring=lambda message, key_name: False)
    assert reply.tsig is not None
    assert (dns.rcode.to_text(reply.rcode()), reply.tsig[0].error, len(reply.tsig[0].other)) == ("NOTAUTH", 18, 6)


def replied_to(wire: bytes, one: Publication) -> bytes:
    request = tsig.read(wire, tsig.keyring({KEY.name: KEY}))
    zones = Zones({APEX: Source(one, Access(frozenset({KEY.name})))}, {})
    return next(answer(request, CLIENT, zones, over_tcp=True).messages)


def test_before_anything_is_known_secondaries_are_asked_to_come_again() -> None:
    question = asked(rrtype.AXFR)
    assert understood(question, publication()).rcode() == dns.rcode.SERVFAIL


@given(st.binary(max_size=600) | st.builds(lambda wire, at, octet: wire[:at] + bytes((octet,)) + wire[at + 1 :],
       st.just(asked(rrtype.IXFR, 5).to_wire()), st.integers(0, 130), st.integers(0, 255)))  # fmt: skip
def test_any_octets_are_a_request_or_nothing(packet: bytes) -> None:
    one = publication()
    one.publish(1000.0)
    try:
        replied_to(packet, one)
    except tsig.NotARequest:
        return




def test_refusals_are_told_once_and_not_many_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    refusals = Refusals(lambda: now[0])
    for number in range(1000):
        refusals.tell(f"192.0.2.{number % 250}", f"n{number}.test. is not transferred")
        refusals.tell("192.0.2.0", "n0.test. is not transferred")
    assert len(caplog.messages) == 10
    now[0] = 61.0
    refusals.tell("192.0.2.1", "another reason")
    assert caplog.messages[10:] == [
        "990 more transfers and updates were refused", "a transfer is refused to 192.0.2.1: another reason"
    ]  # fmt: skip


def test_of_a_flood_of_packets_so_many_a_second_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes signatures up has each checked, which takes longer than to make one up."""
    read: list[bytes] = []

    def count(packet: bytes, keys: object) -> tsig.Request:
        read.append(packet)
        raise tsig.NotARequest

    async def flood() -> None:
        inlet = Inlet()
        requests = Requests(Zones({}, {}), {}, (), lambda apex, by: None, Updating(lambda asked: None))
        requests.begin(inlet)
        for _ in range(150):
            for _ in range(20):
                inlet.packets.put(0, b"x", b"\2\0" + bytes(26), bytes(64))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await requests.finish(0.0)

    monkeypatch.setattr(tsig, "read", count)
    clock = iter([1000.0] * 2500 + [1001.0] * 500)
    monkeypatch.setattr("dnslb.transfer.requests.monotonic", lambda: next(clock))
    asyncio.run(flood())
    assert len(read) == 2000 + 500
