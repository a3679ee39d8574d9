"""Packets in, packets out: every field of the header, EDNS, odd queries, and properties over arbitrary octets."""

from __future__ import annotations

import random

import dns.edns
import dns.flags
import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transcript import ANONYMOUS, TCP, ask, query, responder, snapshot, wire, zone

from dnslb.answer.responder import UDP, Identity, Responder
from dnslb.dns import message
from dnslb.dns.query import HEADER

ZONE = zone("example.com.", "\n".join([
    "@ 300 SOA ns1 hostmaster 1 2 3 4 60",
    "@ 300 NS ns1",
    "@ 300 MX 10 www",
    "ns1 300 A 192.0.2.1",
    *(f"www 30 A 192.0.2.{host}" for host in (1, 2, 3, 4)),
    "www 30 AAAA 2001:db8::1",
    "alias 30 CNAME www",
    "*.wild 30 A 192.0.2.5",
    "*.wildalias 30 CNAME missing",
    "*.wildmx 30 MX 10 mail.wildmx",
    "sub 30 NS ns.sub",
    "ns.sub 30 A 192.0.2.6",
    "tree 30 DNAME www",
    "a.b.c 30 A 192.0.2.7",
    r"odd\000\.\255 30 A 192.0.2.8",
    *(f"big 30 TXT {'x' * 200}{number}" for number in range(8)),
    *(f"many 30 A 198.51.100.{host}" for host in range(40)),
]))  # fmt: skip
KEEPALIVE = dns.edns.OptionType(11)
IDENTITY = Identity("ns1.example.com", "dnslb test")

QUESTION = b"\x03www\x07example\x03com\0\0\1\0\1"
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"


def header(flags: int, *counts: int) -> bytes:
    return b"".join(number.to_bytes(2) for number in (0x1234, flags, *counts))


def outcome(packet: bytes, server: Responder | None = None) -> str | None:
    """The reply's response code and what it echoes, or None for silence."""
    reply = (server or responder(ZONE)).respond(packet)
    if reply is None:
        return None
    assert reply[:2] == packet[:2]
    parsed = dns.message.from_wire(reply)
    assert reply[2] & 0x80
    assert parsed.opcode() == packet[2] >> 3 & 15
    shown = [dns.rcode.to_text(parsed.rcode())]
    shown += ["question"] if parsed.question else []
    shown += ["opt"] if parsed.edns >= 0 else []
    return " ".join(shown)


@pytest.mark.parametrize(("packet", "expected"), [
    (b"",                                                  None),
    (b"\x12\x34\1\0\0\1\0\0\0\0\0",                        None),   # 11 octets
    (header(0x8100, 1, 0, 0, 0) + QUESTION,                None),   # QR: a reply, perhaps forged to make us loop
    (header(0x8100, 0, 0, 0, 0),                           None),
    (header(0x0100, 1, 0, 0, 0) + QUESTION,                "NOERROR question"),
    (header(0x0100, 1, 0, 0, 1) + QUESTION + OPT,          "NOERROR question opt"),
    (header(0x0100, 1, 0, 0, 0),                           "FORMERR"),
    (header(0x0100, 0, 0, 0, 0),                           "FORMERR"),   # RFC 9619
    (header(0x0100, 0, 0, 0, 1) + OPT,                     "FORMERR opt"),
    (header(0x0100, 2, 0, 0, 0) + 2 * QUESTION,            "FORMERR"),
    (header(0x0100, 65535, 65535, 65535, 65535),           "FORMERR"),
    (header(0x0100, 1, 0, 0, 0) + QUESTION[:-1],           "FORMERR"),
    (header(0x0100, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1",     "FORMERR"),   # a pointer to itself
    (header(0x0100, 1, 0, 0, 0) + b"\x40a\0\0\1\0\1",      "FORMERR"),   # a label type that is not defined
    (header(0x0100, 1, 0, 0, 0) + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1", "FORMERR"),  # 257 octets
    (header(0x0100, 1, 0, 0, 0) + QUESTION + b"junk",      "NOERROR question"),  # trailing octets are ignored
    (header(0x0100, 1, 0, 0, 1) + QUESTION,                "FORMERR question"),
    (header(0x0100, 1, 0, 0, 1) + QUESTION + OPT[:-1],     "FORMERR question"),
    (header(0x0100, 1, 0, 0, 2) + QUESTION + 2 * OPT,      "FORMERR question"),  # RFC 6891 §6.1.1
    (header(0x0100, 1, 0, 0, 1) + QUESTION + b"\1a" + OPT, "FORMERR question"),  # OPT with a name
    (header(0x0100, 1, 0, 0, 1) + QUESTION + OPT[:-1] + b"\3\0\x0a\0",         "FORMERR question"),
    (header(0x0100, 1, 0, 0, 1) + QUESTION + OPT[:-1] + b"\5\0\x0a\0\2a",      "FORMERR question"),
    (header(0x0100, 1, 0, 0, 1) + QUESTION + OPT[:6] + b"\1" + OPT[7:],        "BADVERS question opt"),
    (header(0x0100, 1, 0, 0, 1) + QUESTION + OPT[:7] + b"\xff\xff" + OPT[9:],  "NOERROR question opt"),
    (header(0x0100, 1, 1, 0, 0) + QUESTION + QUESTION[:-4] + bytes(10),        "NOERROR question"),
    (header(0x0100, 1, 0, 0, 1) + QUESTION + b"\xc0\x0c\0\1\0\1" + bytes(6),   "NOERROR question"),
    (header(0x07b0, 1, 0, 0, 0) + QUESTION,                "NOERROR question"),  # AA, TC, RA, Z, AD, CD: ignored
    (header(0x010f, 1, 0, 0, 0) + QUESTION,                "NOERROR question"),  # a response code in a query: ignored
    (header(0x0100, 1, 1, 0, 0) + QUESTION + OPT,          "FORMERR question"),  # OPT among the answers
    (header(0x0100, 1, 0, 0, 1) + QUESTION + b"\xff\xff\0\1\0\1" + bytes(6),   "FORMERR question"),
    (header(0x0100, 1, 0, 0, 1) + QUESTION + b"\0\0\xfa\0\xff" + bytes(6),     "NOTAUTH question"),  # TSIG
    (header(0x0100, 1, 0, 0, 2) + QUESTION + b"\0\0\xfa\0\xff" + bytes(6) + OPT, "FORMERR question"),
    (header(0x2400, 0, 0, 0, 0),                           "FORMERR"),
    (header(0x0900, 1, 0, 0, 0) + QUESTION,                "NOTIMP question"),   # IQUERY
    (header(0x1000, 1, 0, 0, 0) + QUESTION,                "NOTIMP question"),   # STATUS
    (header(0x1800, 0, 0, 0, 0),                           "NOTIMP"),
    (header(0x2400, 1, 0, 0, 0) + QUESTION,                "REFUSED question"),  # NOTIFY
    (header(0x2800, 1, 0, 0, 0) + QUESTION[:-4] + b"\0\6\0\1", "REFUSED question"),  # UPDATE
    (header(0x3000, 0, 0, 0, 0),                           "NOTIMP"),            # DSO
    (header(0x0100, 1, 0, 0, 0) + QUESTION[:-1] + b"\3",   "REFUSED question"),  # class CH
    (header(0x0100, 1, 0, 0, 0) + QUESTION[:-1] + b"\xff", "REFUSED question"),  # class ANY
    (header(0x0100, 1, 0, 0, 0) + QUESTION[:-4] + b"\0\xfc\0\1", "REFUSED question"),  # AXFR
    (header(0x0100, 1, 0, 0, 0) + QUESTION[:-4] + b"\0\xfb\0\1", "REFUSED question"),  # IXFR
    (header(0x0100, 1, 0, 0, 1) + QUESTION[:-4] + b"\0\xfc\0\1" + OPT, "REFUSED question opt"),
    (header(0x0100, 1, 0, 0, 0) + b"\0\0\1\0\1",           "REFUSED question"),  # the root
])  # fmt: skip
def test_odd_packets(packet: bytes, expected: str | None) -> None:
    assert outcome(packet) == expected
    warm = responder(ZONE)
    for _ in range(3):
        assert ask(warm, "www.example.com A").startswith("NOERROR")
        assert outcome(packet, warm) == expected


@pytest.mark.parametrize("flags", range(0, 0x0800, 0x0010))
def test_of_the_flags_only_rd_comes_back(flags: int) -> None:
    reply = responder(ZONE).respond(header(flags, 1, 0, 0, 0) + QUESTION)
    assert reply is not None
    assert int.from_bytes(reply[2:4]) == 0x8400 | flags & 0x0100


def test_the_questions_spelling_comes_back() -> None:
    server = responder(ZONE)
    for spelling in (b"wWw", b"WWW", b"www"):
        reply = server.respond(header(0, 1, 0, 0, 0) + b"\3" + spelling + b"\7eXaMple\3cOm\0\0\1\0\1")
        assert reply is not None
        assert reply[12:29] == b"\3" + spelling + b"\7eXaMple\3cOm\0"


def test_types_that_look_like_letters_are_kept_apart() -> None:
    """TYPE65 is 0x0041, an 'A' to ``bytes.lower``; TYPE97 is an 'a'."""
    server = responder(zone("example.com.", "@ 1 SOA ns h 1 2 3 4 5\n@ 1 NS ns.example.net.\n@ 1 HTTPS 1 . alpn=h2"))
    for _ in range(2):
        assert "HTTPS 1 ." in ask(server, "example.com HTTPS")
        assert ask(server, "example.com TYPE97") == "NOERROR aa | authority: SOA"


def test_names_with_zero_octets_and_dots_are_found() -> None:
    server = responder(ZONE)
    for _ in range(2):
        assert ask(server, r"odd\000\.\255.example.com A") == r"NOERROR aa | odd\000\.\255.example.com. 30 A 192.0.2.8"
        assert ask(server, r"odd\000\.\254.example.com A") == "NXDOMAIN aa | authority: SOA"


def edns(options: list[dns.edns.Option], server: Responder) -> dns.message.Message:
    return dns.message.from_wire(server.respond(query("www.example.com A", size=1232, options=tuple(options))) or b"")


def test_edns_replies_offer_1232_octets_and_copy_do() -> None:
    made = dns.message.make_query("www.example.com", "A", want_dnssec=True, payload=4096)
    reply = dns.message.from_wire(responder(ZONE).respond(made.to_wire()) or b"")
    assert (reply.edns, reply.payload, reply.ednsflags) == (0, 1232, dns.flags.DO)


def test_nsid_comes_when_asked_for_and_configured() -> None:
    """RFC 5001."""
    ask_nsid = dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")
    named, unnamed = responder(ZONE, identity=IDENTITY), responder(ZONE)
    assert [option.to_wire() for option in edns([ask_nsid], named).options] == [b"ns1.example.com"]
    assert edns([ask_nsid], unnamed).options == ()
    assert edns([], named).options == ()


def test_unknown_options_are_ignored() -> None:
    server = responder(ZONE, identity=IDENTITY)
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
    unknown = dns.edns.GenericOption(dns.edns.OptionType(65001), b"")
    nsid = dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")
    for _ in range(2):
        assert edns([cookie], server).options == ()
        assert edns([cookie, unknown], server).options == ()
        assert len(edns([cookie, nsid], server).options) == 1
        assert len(edns([nsid, cookie], server).options) == 1


def test_keepalive_is_for_tcp() -> None:
    """RFC 7828 §3.3."""
    keepalive = dns.edns.GenericOption(KEEPALIVE, b"")
    assert edns([keepalive], responder(ZONE)).options == ()
    assert [option.to_wire() for option in edns([keepalive], responder(ZONE, transport=TCP)).options] == [b"\0\x64"]


@pytest.mark.parametrize(("name", "reply"), [
    ("version.bind",   "dnslb test"),
    ("VERSION.server", "dnslb test"),
    ("id.server",      "ns1.example.com"),
    ("hostname.bind",  "ns1.example.com"),
    ("other.bind",     None),
])  # fmt: skip
def test_the_servers_own_names_in_class_ch(name: str, reply: str | None) -> None:
    """RFC 4892."""
    made = dns.message.make_query(name, "TXT", "CH").to_wire()
    answered = dns.message.from_wire(responder(ZONE, identity=IDENTITY).respond(made) or b"")
    assert [str(rrset[0]) for rrset in answered.answer] == ([f'"{reply}"'] if reply else [])
    refused = dns.message.from_wire(responder(ZONE).respond(made) or b"")
    assert dns.rcode.to_text(refused.rcode()) == "REFUSED"


# Properties.

LABELS = st.sampled_from([
    b"www", b"WWW", b"example", b"com", b"alias", b"wild", b"wildalias", b"wildmx", b"mail", b"missing", b"sub", b"ns",
    b"tree", b"a", b"b", b"c", b"x", b"y", b"zz", b"*", b"big", b"many", b"odd\0.\xff", b"\0", b"l" * 63, b"nope",
])  # fmt: skip
TYPES = st.sampled_from(
    [0, 1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 41, 43, 64, 65, 97, 250, 251, 252, 253, 255, 256, 65280]
)
NAMES = st.one_of(
    st.lists(LABELS, max_size=4).map(lambda labels: [*labels, b"example", b"com"]),
    st.lists(LABELS, max_size=4),
)
TAILS = st.sampled_from([
    (0, b""), (1, OPT), (1, OPT[:3] + b"\2\0" + OPT[5:]), (1, OPT[:3] + b"\xff\xff" + OPT[5:]),
    (1, OPT[:-1] + b"\x0c\0\x0a\0\x08abcdefgh"), (1, OPT[:-1] + b"\4\0\3\0\0"), (1, OPT[:-1] + b"\4\0\x0b\0\0"),
    (1, OPT[:-1] + b"\x08\0\x0a\0\0\0\3\0\0"), (1, OPT[:7] + b"\x80\0" + OPT[9:]), (0, b"\0"), (2, OPT + OPT),
])  # fmt: skip


@st.composite
def queries(draw: st.DrawFn) -> bytes:
    name = b"".join(bytes((len(label),)) + label for label in draw(NAMES)) + b"\0"
    additionals, tail = draw(TAILS)
    flags = draw(st.sampled_from([0, 0x0100, 0x0120, 0x0010, 0x01b0]))
    kind = draw(TYPES).to_bytes(2)
    return header(flags, 1, 0, 0, additionals) + name + kind + b"\0\1" + tail


SERVERS = [responder(ZONE, identity=IDENTITY), responder(ZONE, transport=TCP, identity=IDENTITY)]


@given(packets=st.lists(queries(), min_size=1, max_size=6))
@settings(max_examples=200)
def test_a_ready_reply_is_the_plain_one(packets: list[bytes]) -> None:
    """Whatever was asked before: the quick way and the plain way give the same records, in some turn's order."""
    for transport, limit in ((UDP, 1232), (TCP, 0xFFFF)):
        warm = responder(ZONE, transport=transport)
        for packet in packets:
            fresh = responder(ZONE, transport=transport)
            expected, got = fresh.respond(packet), warm.respond(packet)
            assert expected is not None and got is not None
            assert canonical(got) == canonical(expected)
            assert len(got) <= limit


def canonical(reply: bytes) -> list[object]:
    parsed = dns.message.from_wire(reply)
    sections = (parsed.question, parsed.answer, parsed.authority, parsed.additional)
    return [reply[:12], parsed.opt, *(sorted("\n".join(map(str, section)).split("\n")) for section in sections)]


@given(packet=queries())
@settings(max_examples=400)
def test_the_plain_reply_is_what_the_packet_says(packet: bytes) -> None:
    """What dnspython reads in the packet is what ``dns.answer`` said, as far as it fits."""
    reply = SERVERS[1].respond(packet)
    assert reply is not None
    parsed = dns.message.from_wire(reply)
    if not parsed.question or parsed.rcode() in (dns.rcode.FORMERR, dns.rcode.REFUSED):
        return
    name = wire(parsed.question[0].name.to_text()).lower()
    answer = snapshot(ZONE).plain(name, int(parsed.question[0].rdtype).to_bytes(2) + b"\0\1")
    assert parsed.rcode() == answer.rcode
    assert bool(parsed.flags & dns.flags.AA) == answer.authoritative
    for section, placed in (
        (parsed.answer, answer.answer),
        (parsed.authority, answer.authority),
        (parsed.additional, (*answer.glue, *answer.additional)),
    ):
        got = {(rrset.name.to_text().lower(), int(rrset.rdtype), rrset.ttl, len(rrset)) for rrset in section}
        want = {(wire_text(owner), rrset.rrtype, rrset.ttl, len(rrset.rdatas)) for owner, rrset in placed}
        assert got == want


def wire_text(name: bytes) -> str:
    return dns.name.from_wire(name, 0)[0].to_text().lower()


@given(packet=st.one_of(st.binary(max_size=200), queries()))
@settings(max_examples=1000)
def test_any_octets_in_octets_or_silence_out(packet: bytes) -> None:
    for server, limit in zip(SERVERS, (1232, 0xFFFF), strict=True):
        reply = server.respond(packet)
        if reply is not None:
            assert reply[:2] == packet[:2] and reply[2] & 0x80 and len(reply) <= limit
            if packet[2] & 0x78 == 0:  # dnspython has other rules for the questions of other opcodes
                dns.message.from_wire(reply)


def test_a_hundred_thousand_mutated_packets_are_answered_or_dropped() -> None:
    """Random damage to real queries: nothing is raised, the tables stay bounded, replies can be parsed."""
    rng = random.Random(7)
    names = ["www", "nope", "x.wild", "x.y.wild", "a.wildalias", "x.sub", "x.tree", "b.c", "many", "big", "mx.wildmx"]
    originals = [
        query(f"{name}.example.com {kind}", size=size)
        for name in names for kind in ("A", "MX", "TXT", "ANY") for size in (None, 512, 1232)
    ]  # fmt: skip
    server = responder(ZONE, identity=IDENTITY)
    for count in range(100_000):
        packet = bytearray(rng.choice(originals))
        for _ in range(rng.randrange(1, 5)):
            match rng.randrange(4):
                case 0:
                    packet[rng.randrange(len(packet))] = rng.randrange(256)
                case 1:
                    packet[rng.randrange(len(packet))] ^= 1 << rng.randrange(8)
                case 2:
                    del packet[rng.randrange(len(packet)) :]
                case 3:
                    at = rng.randrange(len(packet) + 1)
                    packet[at:at] = rng.randbytes(rng.randrange(1, 8))
            packet = packet or bytearray(b"\0")
        reply = server.respond(bytes(packet))
        if reply is not None:
            assert reply[:2] == packet[:2] and len(reply) <= 1232
            if count % 20 == 0 and packet[2] & 0x78 == 0:
                dns.message.from_wire(reply)


def test_the_tables_are_bounded() -> None:
    world = snapshot(ZONE)
    server = Responder(world, UDP, Identity())
    for number in range(65_536):
        server.respond(header(0, 1, 0, 0, 0) + b"\3www\7example\3com\0" + number.to_bytes(2) + b"\0\1")
    assert len(world.over_udp.by_question) < 35_000
    for number in range(30_000):
        label = b"%08x" % number
        server.respond(header(0, 1, 0, 0, 0) + b"\x08" + label + b"\7example\3com\0\0\1\0\1")
    assert len(world.over_udp.covering) < 10


def test_ready_replies_of_missing_names_do_not_depend_on_who_asked_first() -> None:
    """A name that a wildcard makes may be spelled like a name in the reply's own data."""
    for first, second in (("mail.wildmx", "abcd.wildmx"), ("abcd.wildmx", "mail.wildmx")):
        server = responder(ZONE)
        for name in (first, second, first):
            assert ask(server, f"{name}.example.com MX") == (
                f"NOERROR aa | {name}.example.com. 30 MX 10 mail.wildmx.example.com."
            )


def test_a_body_is_the_same_message_in_every_order() -> None:
    reply = snapshot(ZONE).plain(wire("example.com."), b"\0\x0f\0\1")
    body = message.pack(wire("example.com."), reply, 1000)
    start = HEADER + len(QUESTION)
    assert start and body.size == len(body.arranged(tuple(range(len(body.turning)))))


@pytest.mark.parametrize("name", ["chaos", "long"])
def test_a_long_name_for_nsid_leaves_room_for_the_reply(name: str) -> None:
    server = responder(ZONE, identity=Identity("n" * 255))
    question = {
        "chaos": b"\x02id\x06server\0\0\x10\0\3",
        "long": 3 * (b"\x3f" + b"l" * 63) + b"\x28" + b"l" * 40 + b"\7example\3com\0\0\1\0\1",
    }[name]
    opt = b"\0\0\x29\2\0\0\0\0\0\0\4\0\3\0\0"
    reply = server.respond(header(0, 1, 0, 0, 1) + question + opt)
    assert reply is not None and len(reply) <= 512
    assert not dns.message.from_wire(reply).flags & dns.flags.TC


def test_a_loop_of_wildcard_aliases_does_not_depend_on_who_asked_first() -> None:
    looping = zone("example.com.", """
        @ 300 SOA ns1 h 1 2 3 4 60
        @ 300 NS ns1
        ns1 300 A 192.0.2.1
        *.wild 300 CNAME x.wild
    """)
    server = responder(looping)
    for _ in range(2):
        assert ask(server, "x.wild.example.com A").count("CNAME") == 1
        assert ask(server, "y.wild.example.com A").count("CNAME") == 2


def test_names_below_the_glue_of_a_cut_share_one_ready_reply() -> None:
    world = snapshot(ZONE)
    server = Responder(world, UDP, ANONYMOUS)
    question = wire("a.ns.sub.example.com.") + b"\0\1\0\1"
    for _ in range(3):
        server.respond(header(0, 1, 0, 0, 0) + question)
    [ready] = world.over_udp.covering.values()
    server.respond(header(0, 1, 0, 0, 0) + question.replace(b"\1a\2ns", b"\1b\2ns"))
    assert list(world.over_udp.covering.values()) == [ready]


def test_a_new_snapshot_can_be_prepared_for_what_the_old_one_is_asked() -> None:
    old, new = snapshot(ZONE), snapshot(ZONE)
    asked = ["www A", "alias A", "alias MX", "www TXT", r"odd\000\.\255 A", "ns.sub A", "a.wild A", "missing A"]
    for text in asked:
        label, kind = text.split()
        assert Responder(old, UDP, IDENTITY).respond(query(f"{label}.example.com {kind}"))
    new.prepare(old.questions(100))
    # What stands for all names that are missing is not a question: it is packed when it is asked for.
    assert set(new.over_udp.by_question) == set(old.over_udp.by_question)
    assert len(new.over_udp.by_question) >= len(asked) - 3
    assert len(list(old.questions(2))) == 2
    emptied = snapshot(zone("example.org.", "@ 300 SOA ns1 hostmaster 1 2 3 4 60\n@ 300 NS ns1"))
    emptied.prepare(old.questions(100))
    assert not emptied.over_udp.by_question
