"""What is wrong with a zone as a whole: the exact messages, and silence where there is nothing to say."""

from __future__ import annotations

import pytest

from dnslb.dns import master, name
from dnslb.dns.zone import Zone
from dnslb.text.problem import Problem, has_errors

APEX = name.parse("example.com.", name.ROOT)
HEAD = "$TTL 300\n@ SOA ns1 h 1 2 3 4 5\n@ NS ns1\nns1 A 192.0.2.1\n"


def load(text: str, apex: bytes = APEX) -> tuple[Zone | None, list[Problem]]:
    return master.load("zone", apex, lambda _: text.encode("latin-1"))


def messages(text: str, apex: bytes = APEX) -> list[str]:
    return [str(problem).removeprefix("zone:").strip() for problem in load(text, apex)[1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["the zone example.com. has no SOA; begin it with "
              "example.com. 3600 IN SOA ns1 hostmaster 1 1d 2h 4w 5m (RFC 1035 §5.2)",
              "the zone example.com. has no NS at its apex; add one for each of its nameservers"]),
        ("$TTL 300\n@ SOA ns1 h 1 2 3 4 5\n",
         ["the zone example.com. has no NS at its apex; add one for each of its nameservers"]),
        (HEAD + "@ SOA ns1 h 2 2 3 4 5",
         ["5:3: example.com. has two different SOA records; keep one; a zone has one SOA (RFC 1035 §5.2)"]),
        (HEAD + "a SOA ns1 h 1 2 3 4 5",
         ["5:3: a.example.com. has an SOA and is not the apex; move it to the zone's own file (RFC 1034 §4.2.1)"]),
        (HEAD + "a CNAME b\na A 192.0.2.1",
         ["6:3: a.example.com. has CNAME and A; a CNAME must be alone (RFC 1034 §3.6.2)"]),
        (HEAD + "a 5 A 192.0.2.1\na 5 IN CNAME b",
         ["6:8: a.example.com. has CNAME and A; a CNAME must be alone (RFC 1034 §3.6.2)"]),
        (HEAD + "a CNAME b\na CNAME c",
         ["6:3: a.example.com. has two different CNAME records; keep one; "
          "a name has one alias at most (RFC 2181 §10.1, RFC 6672 §2.4)"]),
        (HEAD + "a DNAME b\na DNAME c",
         ["6:3: a.example.com. has two different DNAME records; keep one; "
          "a name has one alias at most (RFC 2181 §10.1, RFC 6672 §2.4)"]),
        (HEAD + "@ DNAME example.org.",
         ["3:6: the NS of example.com. names ns1.example.com., below the DNAME example.com.; "
          "name a host that is outside it (RFC 6672 §2.4)",
          "4:5: warning: ns1.example.com. A is hidden by the DNAME example.com.; "
          "remove it or the DNAME; it is never an answer"]),
    ],
)  # fmt: skip
def test_a_zone_that_nobody_serves_is_refused(text: str, expected: list[str]) -> None:
    zone, problems = load(text)
    assert zone is None
    assert has_errors(problems)
    assert messages(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Targets.
        ("@ NS ns2", "5:6: warning: the NS of example.com. names ns2.example.com., which has no A or AAAA; "
                     "add one, or name another host"),
        ("@ MX 10 m", "5:9: warning: the MX of example.com. names m.example.com., which has no A or AAAA; "
                      "add one, or name another host"),
        ("s SRV 1 2 3 m", "5:13: warning: the SRV of s.example.com. names m.example.com., which has no A or AAAA; "
                          "add one, or name another host"),
        ("a TXT b\n@ MX 1 ns1\n MX 2 a", "7:7: warning: the MX of example.com. names a.example.com., "
                                         "which has no A or AAAA; add one, or name another host"),
        ("@ MX 1 ns1\n MX 2 ( ; two lines\n m )", "7:2: warning: the MX of example.com. names m.example.com., "
                                                  "which has no A or AAAA; add one, or name another host"),
        ("@ NS a\na CNAME ns1", "5:6: warning: the NS of example.com. names a.example.com., which has a CNAME; "
                                "name the host itself (RFC 2181 §10.3)"),
        ("@ MX 1 192.0.2.1", "5:8: warning: the MX of example.com. names 192.0.2.1.example.com., "
                             "which looks like an address; name a host that has A or AAAA"),
        ("@ MX 1 2001:db8::1.", "5:8: warning: the MX of example.com. names 2001:db8::1., "
                                "which looks like an address; name a host that has A or AAAA"),
        ("@ NS ns1.example.com", "5:6: warning: the NS of example.com. names ns1.example.com.example.com., "
                                 "the zone's name twice; end the name with a dot if it is complete"),
        ("www.example.com A 192.0.2.1", "5:1: warning: www.example.com.example.com. has the zone's name twice; "
                                        "end the owner with a dot if it was meant to be complete"),
        # Delegations and DNAMEs.
        ("s NS ns.s", "5:6: warning: ns.s.example.com. has no A or AAAA here, and the NS of s.example.com. needs one; "
                      "add it as glue (RFC 1034 §4.2.1)"),
        ("s NS ns1\nwww.s 60 TXT a", "6:10: warning: www.s.example.com. TXT is hidden by the delegation "
                                     "s.example.com.; remove it or the delegation; it is never an answer"),
        ("s NS ns1\ns A 192.0.2.1", "6:3: warning: s.example.com. A is hidden by the delegation s.example.com.; "
                                    "remove it or the delegation; it is never an answer"),
        ("d DNAME b\nx.d A 192.0.2.1", "6:5: warning: x.d.example.com. A is hidden by the DNAME d.example.com.; "
                                       "remove it or the DNAME; it is never an answer"),
        ("d DNAME example.org.\nd NS ns1", "6:3: warning: d.example.com. has DNAME and NS; remove one of them: "
                                           "nobody knows which is to be followed (RFC 6672 §2.3)"),
        ("* NS ns1", "5:3: warning: *.example.com. has NS: a wildcard cannot be delegated; "
                     "delegate the names one by one (RFC 4592 §4.2)"),
        ("s DS 1 8 1 " + "ab" * 20, "5:3: warning: s.example.com. has DS and no NS; "
                                    "add the NS of the delegation or remove the DS"),
        ("@ DS 1 8 1 " + "ab" * 20, "5:3: warning: example.com. has DS at the apex; move it to the zone above"),
        # RRsets.
        ("a 60 A 192.0.2.1\na 30 A 192.0.2.2\na 9 A 192.0.2.3",
         "6:3: warning: a.example.com. has A records of TTL 60 and 30; give them one TTL; "
         "the lowest, at most 30, is used (RFC 2181 §5.2)"),
        ("a A 192.0.2.1\n A 192.0.2.1", "6:2: warning: a.example.com. has the same A record twice; "
                                        "remove one; it is served once (RFC 2181 §5)"),
        ("a MX 1 ns1\na MX 1 NS1.example.com.", "6:3: warning: a.example.com. has the same MX record twice; "
                                                "remove one; it is served once (RFC 2181 §5)"),
        # Signed zones.
        ("a NSEC b A\na RRSIG NSEC 8 3 300 20300101000000 20200101000000 1 example.com. AAAA",
         "6:3: warning: the zone is signed; dnslb serves it unsigned; serve it elsewhere if validation matters"),
    ],
)  # fmt: skip
def test_a_zone_is_served_with_a_warning(text: str, expected: str) -> None:
    zone, _ = load(HEAD + text)
    assert zone is not None
    assert messages(HEAD + text)[:1] == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "@ MX 0 .",                                         # no mail (RFC 7505)
        "@ MX 1 mail.example.org.",
        "@ MX 1 a.b\n*.b A 192.0.2.1",                      # a wildcard has the address
        "@ MX 65 a\n@ MX 97 a\na AAAA ::1",                 # 'A' and 'a', as numbers no letters
        "s NS ns.s\nns.s A 192.0.2.1\ns DS 1 8 1 " + "ab" * 20,
        "s NS ns.t\nt NS ns.t\nns.t A 192.0.2.1",           # glue of a sibling
        "s NS ns1\n@ MX 1 mail.s",                          # its address is in the zone s
        "d DNAME example.org.\nd A 192.0.2.1\nd MX 1 ns1",  # besides, not below
        "a CNAME gone",
        "a 60 A 192.0.2.1\na 30 AAAA ::1",
        "_a_b A 192.0.2.1",
        "exampleXcom A 192.0.2.1",
    ],
)
def test_nothing_is_said_of_a_sound_zone(text: str) -> None:
    zone, problems = load(HEAD + text)
    assert zone is not None
    assert problems == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@ MX 1 a\na A 192.0.2.x", ["6:5"]),                # not also: a has no address
        ("@ MX 1 a\n( a A 192.0.2.1\n", ["6:1"]),
        ("@ MX 1 a\na.. A 192.0.2.1", ["6:1"]),
        ("@ MX 1 a\n@ NS a\ns SRV 1 2 3 a", ["6:6"]),        # once, not for each that names it
        ("a CNAME b\na CNAME c\na CNAME b", ["6:3", "7:3"]),
        ("$GENERATE 1-9 h$ CNAME $..", ["5:24"]),
        ("$GENERATE 1-9 h$.org. A 192.0.2.1", ["5:15"]),
        ("$GENERATE 1-9 h$ 3000000000 A 192.0.2.1", ["5:18"]),
        ("$GENERATE 1-9 @ 3000000000 MX \"1 $\"\n@ 5 MX 10 ns1", ["5:17", "5:31", "6:3"]),
        ("a 3000000000 A 192.0.2.1\na 5 A 192.0.2.2", ["5:3", "6:3"]),
    ],
)
def test_one_mistake_gives_one_message(text: str, expected: list[str]) -> None:
    assert [message.split(": ")[0] for message in messages(HEAD + text)] == expected


def test_a_broken_soa_is_not_missed_as_well() -> None:
    assert messages("$TTL 300\n@ SOA ns1 h 1 2 3 4 5x\n@ NS ns1\nns1 A 192.0.2.1\n")[1:] == []


def test_the_lowest_ttl_of_an_rrset_is_used_however_long_it_is() -> None:
    lines = "".join(f"a {ttl} A 10.0.0.{ttl}\n" for ttl in range(60, 40, -1))
    zone, problems = load(HEAD + lines)
    assert zone is not None
    assert len(problems) == 1
    (rrset,) = zone.nodes[name.parse("a", APEX)]
    assert (rrset.ttl, len(rrset.rdatas)) == (41, 20)


def test_the_root_zone_loads() -> None:
    text = "$TTL 300\n@ SOA a.example. h. 1 2 3 4 5\n@ NS a.example.\nexample NS a.example.\na.example A 192.0.2.1\n"
    assert messages(text, name.ROOT) == []


def test_a_reverse_zone_has_no_address_for_a_name() -> None:
    apex = name.parse("2.0.192.in-addr.arpa.", name.ROOT)
    assert messages("$TTL 300\n@ SOA a.org. h.org. 1 2 3 4 5\n@ NS a.org.\n1 PTR www.example.com.\n", apex) == []
