"""What a question is answered: RFC 1034 §4.3.2 and its clarifications, as transcripts."""

from __future__ import annotations

import dns.message
import pytest
from transcript import TCP, ask, query, responder, zone

from dnslb.answer.responder import Responder

EXAMPLE = zone("example.com.", r"""
    $TTL 300
    @        3600 SOA ns1 hostmaster 1 2 3 4 60
             NS   ns1
             NS   ns.example.net.
             MX   10 mail
    ns1      A    192.0.2.1
    www      30 A 192.0.2.1
             30 A 192.0.2.2
    v6       AAAA 2001:db8::1
    mail     A    192.0.2.3
    a.b.c    A    192.0.2.4
    alias    CNAME www
    twice    CNAME alias
    out      CNAME www.example.net.
    dangling CNAME nowhere
    v4only   CNAME mail
    loop     CNAME pool
    pool     CNAME loop
    self     CNAME self
    into     CNAME host.sub
    *.wild   A    192.0.2.5
             MX   10 mail
    stop.wild TXT "no address here"
    *.alias-wild CNAME www
    sub      NS   ns.sub
             NS   ns.other
             DS   1 13 2 0000000000000000000000000000000000000000000000000000000000000000
    ns.sub   A    192.0.2.6
    other    NS   ns.other
    ns.other A    192.0.2.7
    tree     DNAME www.example.com.
    moved    DNAME example.net.
    to-wild  CNAME x.wild
    s        SRV  1 2 80 www
    web      HTTPS 1 www alpn=h2
    here     HTTPS 1 . alpn=h2
             AAAA  2001:db8::7
    other-web HTTPS 0 here
    nowhere-web HTTPS 0 .
    *.wild-web HTTPS 1 . alpn=h2
               A   192.0.2.8
""")
WWW = "www.example.com. 30 A 192.0.2.1 | www.example.com. 30 A 192.0.2.2"
REFERRAL = (
    "NOERROR | authority: sub.example.com. 300 NS ns.sub.example.com."
    " | authority: sub.example.com. 300 NS ns.other.example.com."
    " | additional: ns.sub.example.com. 300 A 192.0.2.6 | additional: ns.other.example.com. 300 A 192.0.2.7"
)


@pytest.fixture
def server() -> Responder:
    return responder(EXAMPLE)


@pytest.mark.parametrize(("question", "reply"), [
    ("www.example.com A",         f"NOERROR aa | {WWW}"),
    ("v6.example.com AAAA",       "NOERROR aa | v6.example.com. 300 AAAA 2001:db8::1"),
    ("www.example.com MX",        "NOERROR aa | authority: SOA"),  # NODATA
    ("www.example.com AAAA",      "NOERROR aa | authority: SOA"),
    ("www.example.com HTTPS",     "NOERROR aa | authority: SOA"),
    ("nope.example.com A",        "NXDOMAIN aa | authority: SOA"),
    ("a.nope.example.com A",      "NXDOMAIN aa | authority: SOA"),
    ("b.c.example.com A",         "NOERROR aa | authority: SOA"),  # empty non-terminal (RFC 8020 §2)
    ("c.example.com A",           "NOERROR aa | authority: SOA"),
    ("x.b.c.example.com A",       "NXDOMAIN aa | authority: SOA"),
    ("example.org A",             "REFUSED"),
    ("com A",                     "REFUSED"),
    (". NS",                      "REFUSED"),
    ("xexample.com A",            "REFUSED"),
    ("example.com MX",            "NOERROR aa | example.com. 300 MX 10 mail.example.com."
                                  " | additional: mail.example.com. 300 A 192.0.2.3"),
    ("s.example.com SRV",         "NOERROR aa | s.example.com. 300 SRV 1 2 80 www.example.com."
                                  " | additional: www.example.com. 30 A 192.0.2.1"
                                  " | additional: www.example.com. 30 A 192.0.2.2"),
    ("web.example.com HTTPS",     "NOERROR aa | web.example.com. 300 HTTPS 1 www.example.com. alpn=\"h2\""
                                  " | additional: www.example.com. 30 A 192.0.2.1"
                                  " | additional: www.example.com. 30 A 192.0.2.2"),
    # The root means the owner, but in AliasMode, where there is no service (RFC 9460 §2.5, §4.1).
    ("here.example.com HTTPS",    "NOERROR aa | here.example.com. 300 HTTPS 1 . alpn=\"h2\""
                                  " | additional: here.example.com. 300 AAAA 2001:db8::7"),
    ("other-web.example.com HTTPS", "NOERROR aa | other-web.example.com. 300 HTTPS 0 here.example.com."
                                  " | additional: here.example.com. 300 HTTPS 1 . alpn=\"h2\""
                                  " | additional: here.example.com. 300 AAAA 2001:db8::7"),
    ("nowhere-web.example.com HTTPS", "NOERROR aa | nowhere-web.example.com. 300 HTTPS 0 ."),
    ("x.wild-web.example.com HTTPS", "NOERROR aa | x.wild-web.example.com. 300 HTTPS 1 . alpn=\"h2\""),
])  # fmt: skip
def test_names_and_types(server: Responder, question: str, reply: str) -> None:
    assert ask(server, question) == reply


@pytest.mark.parametrize(("question", "reply"), [
    ("alias.example.com A",       f"NOERROR aa | alias.example.com. 300 CNAME www.example.com. | {WWW}"),
    ("alias.example.com CNAME",   "NOERROR aa | alias.example.com. 300 CNAME www.example.com."),
    ("alias.example.com ANY",     "NOERROR aa | alias.example.com. 300 CNAME www.example.com."),
    ("twice.example.com A",       "NOERROR aa | twice.example.com. 300 CNAME alias.example.com."
                                  f" | alias.example.com. 300 CNAME www.example.com. | {WWW}"),
    ("out.example.com A",         "NOERROR aa | out.example.com. 300 CNAME www.example.net."),
    ("dangling.example.com A",    "NXDOMAIN aa | dangling.example.com. 300 CNAME nowhere.example.com."
                                  " | authority: SOA"),  # the last name's code (RFC 6604 §2)
    ("v4only.example.com AAAA",   "NOERROR aa | v4only.example.com. 300 CNAME mail.example.com. | authority: SOA"),
    ("loop.example.com A",        "NOERROR aa | loop.example.com. 300 CNAME pool.example.com."
                                  " | pool.example.com. 300 CNAME loop.example.com."),
    ("self.example.com A",        "NOERROR aa | self.example.com. 300 CNAME self.example.com."),
    ("into.example.com A",        f"NOERROR aa | into.example.com. 300 CNAME host.sub.example.com. | {REFERRAL[10:]}"),
])  # fmt: skip
def test_aliases_are_followed_inside_the_zone(server: Responder, question: str, reply: str) -> None:
    assert ask(server, question) == reply


@pytest.mark.parametrize(("question", "reply"), [
    ("x.tree.example.com A",      "NXDOMAIN aa | tree.example.com. 300 DNAME www.example.com."
                                  " | x.tree.example.com. 300 CNAME x.www.example.com. | authority: SOA"),
    ("x.moved.example.com A",     "NOERROR aa | moved.example.com. 300 DNAME example.net."
                                  " | x.moved.example.com. 300 CNAME x.example.net."),
    ("moved.example.com A",       "NOERROR aa | authority: SOA"),  # the DNAME's own name is not moved
    ("moved.example.com DNAME",   "NOERROR aa | moved.example.com. 300 DNAME example.net."),
])  # fmt: skip
def test_dname_moves_what_lies_below(server: Responder, question: str, reply: str) -> None:
    assert ask(server, question) == reply


def test_dname_to_a_name_that_is_too_long_is_yxdomain() -> None:
    label = "l" * 63
    server = responder(zone("example.com.", f"""
        @ 300 SOA ns1 h 1 2 3 4 60
        @ 300 NS ns1.example.net.
        d 300 DNAME {label}.{label}.{label}.example.net.
    """))
    long = f"{'x' * 60}.d.example.com"
    assert ask(server, f"{long} A").startswith("YXDOMAIN aa | d.example.com. 300 DNAME")


@pytest.mark.parametrize(("question", "reply"), [
    ("x.wild.example.com A",      "NOERROR aa | x.wild.example.com. 300 A 192.0.2.5"),
    ("y.x.wild.example.com A",    "NOERROR aa | y.x.wild.example.com. 300 A 192.0.2.5"),
    ("*.wild.example.com A",      "NOERROR aa | *.wild.example.com. 300 A 192.0.2.5"),
    ("x.wild.example.com AAAA",   "NOERROR aa | authority: SOA"),
    ("wild.example.com A",        "NOERROR aa | authority: SOA"),
    ("stop.wild.example.com A",   "NOERROR aa | authority: SOA"),     # an existing name blocks the wildcard
    ("x.stop.wild.example.com A", "NXDOMAIN aa | authority: SOA"),    # also for the names below it (RFC 4592 §2.2.1)
    ("x.wild.example.com MX",     "NOERROR aa | x.wild.example.com. 300 MX 10 mail.example.com."
                                  " | additional: mail.example.com. 300 A 192.0.2.3"),
    ("x.alias-wild.example.com A", f"NOERROR aa | x.alias-wild.example.com. 300 CNAME www.example.com. | {WWW}"),
    ("to-wild.example.com A",     "NOERROR aa | to-wild.example.com. 300 CNAME x.wild.example.com."
                                  " | x.wild.example.com. 300 A 192.0.2.5"),
])  # fmt: skip
def test_wildcards(server: Responder, question: str, reply: str) -> None:
    assert ask(server, question) == reply


@pytest.mark.parametrize(("question", "reply"), [
    ("sub.example.com A",         REFERRAL),
    ("sub.example.com NS",        REFERRAL),
    ("host.sub.example.com A",    REFERRAL),
    ("a.b.sub.example.com MX",    REFERRAL),
    ("ns.sub.example.com A",      REFERRAL),  # glue is no answer
    ("sub.example.com DS",        "NOERROR aa | sub.example.com. 300 DS 1 13 2 " + "0" * 64),
    ("other.example.com DS",      "NOERROR aa | authority: SOA"),
])  # fmt: skip
def test_delegations(server: Responder, question: str, reply: str) -> None:
    assert ask(server, question) == reply


def test_negative_answers_are_cached_as_the_soa_says() -> None:
    """TTL min(SOA TTL, MINIMUM): RFC 2308 §3."""
    for ttl, minimum, cached in ((3600, 60, 60), (30, 60, 30)):
        server = responder(zone("example.com.", f"@ {ttl} SOA ns1 h 1 2 3 4 {minimum}\n@ 60 NS ns.example.net."))
        reply = dns.message.from_wire(server.respond(query("nope.example.com A")) or b"")
        assert reply.authority[0].ttl == cached


def test_the_deepest_zone_answers_but_ds_is_the_parents() -> None:
    parent = zone("example.com.", """
        @ 300 SOA ns h 1 2 3 4 5
        @ 300 NS ns.example.net.
        child 300 NS ns.example.net.
        child 300 DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000
    """)
    child = zone("child.example.com.", "@ 300 SOA ns h 1 2 3 4 5\n@ 300 NS ns.example.net.\nwww 300 A 192.0.2.1")
    both = responder(parent, child)
    assert ask(both, "www.child.example.com A") == "NOERROR aa | www.child.example.com. 300 A 192.0.2.1"
    assert ask(both, "child.example.com NS") == "NOERROR aa | child.example.com. 300 NS ns.example.net."
    assert ask(both, "child.example.com DS").startswith("NOERROR aa | child.example.com. 300 DS")
    assert ask(responder(child), "child.example.com DS") == "NOERROR aa | authority: SOA"


def test_a_zone_without_delegation_in_its_parent_is_still_found() -> None:
    """The parent's ready NXDOMAIN for missing children must not swallow the apex of another zone."""
    parent = zone("example.com.", "@ 300 SOA ns h 1 2 3 4 5\n@ 300 NS ns.example.net.")
    child = zone("child.example.com.", "@ 300 SOA ns h 1 2 3 4 5\n@ 300 NS ns.example.net.\n@ 300 A 192.0.2.1")
    server = responder(parent, child)
    for _ in range(2):
        assert ask(server, "other.example.com A") == "NXDOMAIN aa | authority: SOA"
        assert ask(server, "child.example.com A") == "NOERROR aa | child.example.com. 300 A 192.0.2.1"
        assert ask(server, "other.example.com A") == "NXDOMAIN aa | authority: SOA"


def test_any_is_answered_with_one_rrset(server: Responder) -> None:
    """RFC 8482 §4.1."""
    assert ask(server, "www.example.com ANY") == f"NOERROR aa | {WWW}"
    assert ask(server, "b.c.example.com ANY") == "NOERROR aa | authority: SOA"


BIG = zone("example.com.", "\n".join([
    "@ 300 SOA ns h 1 2 3 4 5",
    "@ 300 NS ns.example.net.",
    *(f"forty 300 A 192.0.2.{host}" for host in range(40)),
    *(f"huge 300 A 198.51.{host // 250}.{host % 250}" for host in range(1000)),
    "c 300 CNAME huge",
    *(f"mx 300 MX 10 mail{host}" for host in range(10)),
    *(f"mail{host} 300 A 203.0.113.{host}" for host in range(10)),
    *(f"cut 300 NS ns{host}.cut" for host in range(12)),
    *(f"ns{host}.cut 300 AAAA 2001:db8::{host:x}" for host in range(12)),
    *(f"wide 300 NS ns{host}.elsewhere" for host in range(20)),
    *(f"ns{host}.elsewhere 300 AAAA 2001:db8::{host:x}" for host in range(20)),
]))  # fmt: skip


@pytest.mark.parametrize(("question", "size", "truncated"), [
    ("forty.example.com A",  None, True),    # 672 octets
    ("forty.example.com A",  600,  True),
    ("forty.example.com A",  1232, False),
    ("huge.example.com A",   4096, True),    # never more than 1232 (RFC 9715 §3)
    ("mx.example.com MX",    None, False),   # additional data are left out instead
    ("cut.example.com A",    None, True),    # glue that is needed does not fit (RFC 9471 §3)
    ("cut.example.com A",    1232, False),
    ("wide.example.com A",   None, False),   # addresses beside the cut are a courtesy
])  # fmt: skip
def test_what_does_not_fit_is_truncated_by_whole_rrsets(question: str, size: int | None, truncated: bool) -> None:
    server = responder(BIG)
    for _ in range(3):
        reply = ask(server, question, size=size)
        assert (" tc" in reply) == truncated, reply
        assert reply.count("forty.example.com. 300 A") in (0, 40)
        assert reply.count("huge.example.com. 300 A") == 0


def test_a_truncated_chain_keeps_what_is_whole() -> None:
    reply = ask(responder(BIG), "c.example.com A")
    assert reply == "NOERROR aa tc | c.example.com. 300 CNAME huge.example.com."


def test_over_tcp_everything_fits() -> None:
    reply = ask(responder(BIG, transport=TCP), "c.example.com A")
    assert reply.count("huge.example.com. 300 A") == 1000 and " tc" not in reply


def test_names_beyond_the_reach_of_a_pointer_are_written_out() -> None:
    """Compression pointers reach 16383 octets (RFC 1035 §4.1.4); dnslib writes broken ones beyond."""
    many = zone("example.com.", "\n".join([
        "@ 300 SOA ns h 1 2 3 4 5",
        "@ 300 NS ns.example.net.",
        *(f"mx 300 MX 10 mail-with-a-long-name-{host}.hosts" for host in range(500)),
        *(f"mail-with-a-long-name-{host}.hosts 300 A 192.0.2.1" for host in range(500)),
    ]))  # fmt: skip
    reply = ask(responder(many, transport=TCP), "mx.example.com MX")
    assert reply.count(" MX 10 mail-with") == 500 and reply.count("additional: mail-with") == 500
