"""dnslb against NSD, Knot and BIND, over the project's test zones: no difference where the three agree.

Every owner × every type and what lies around it, spellings, EDNS, sizes, TCP, and packets that nobody should send.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import dns.name
import dns.opcode
import dns.rdataclass
import dns.rdatatype
import dnslb_server
import peers
import pytest
from differential import CUT, SILENCE, Case, Lawful, Records, View, compare, view
from exchange import ask_tcp, ask_tcp_singly, ask_udp
from malformed import malformed
from peers import Address
from queries import UNKNOWN_OPTION, Query, questions, sizes

ZONES = Path(__file__).parent / "zones"
SHOWN = 40              # differences in one failure
MIN_UDP, MAX_UDP = 512, 1232    # RFC 1035 §4.2.1, RFC 9715 §3.2
MAX_LINKS = 16          # of a chain of aliases


def stops_after_max_links(case: Case) -> bool:
    """All links, and nothing more; as far as a peer shows the chain, it is the same."""
    ours = case.ours.answer
    links = [records for records in ours if isinstance(records, Records) and records.rrtype == dns.rdatatype.CNAME]
    if len(links) != MAX_LINKS or case.ours.rcode != "NOERROR" or case.ours.authority:
        return False
    return any(
        all(mine == other for mine, other in zip(ours, their.answer, strict=False))
        for their in case.answering
        if their.answer and their.answer != CUT
    )


def refuses(case: Case) -> bool:
    return case.ours.rcode == "REFUSED" and not (case.ours.answer or case.ours.authority or case.ours.aa)


def refuses_other_class(case: Case) -> bool:
    return case.query.rrclass != dns.rdataclass.IN and refuses(case)


def refuses_transfer(case: Case) -> bool:
    return case.query.rrtype in {dns.rdatatype.AXFR, dns.rdatatype.IXFR} and refuses(case)


def refuses_notify_and_update(case: Case) -> bool:
    has_question = case.query.wire[4:6] == b"\0\1"      # without one the packet is malformed: FORMERR (RFC 9619 §4)
    return case.query.opcode in {dns.opcode.NOTIFY, dns.opcode.UPDATE} and has_question and refuses(case)


def sets_tc_for_glue(case: Case) -> bool:
    """No peer fits the glue in: what they show lacks an address of a nameserver below the cut."""
    referrals = [their for their in case.answering if has_nameservers(their)]
    return case.ours.tc and bool(referrals) and not any(map(has_all_glue, referrals))


def has_nameservers(reply: View) -> bool:
    return any(isinstance(records, Records) and records.rrtype == dns.rdatatype.NS for records in reply.authority)


def has_all_glue(referral: View) -> bool:
    """Both addresses of every nameserver below the cut: in the test zones they have two where glue may not fit."""
    shown = {(records.owner, records.rrtype) for records in referral.glue if isinstance(records, Records)}
    targets = {
        dns.name.from_wire(rdata, 0)[0]
        for records in referral.authority
        if isinstance(records, Records)
        for rdata in records.rdatas
        if dns.name.from_wire(rdata, 0)[0].is_subdomain(records.owner)
    }
    return shown >= {(target, kind) for target in targets for kind in (dns.rdatatype.A, dns.rdatatype.AAAA)}


LAWFUL = (
    Lawful("A chain of aliases stops after 16 links; Knot stops after 5, BIND with SERVFAIL after 11, NSD never.",
           ("answer", "authority", "glue", "tc"), stops_after_max_links),
    Lawful("Glue that does not fit sets TC (RFC 9471 §3); NSD and BIND leave it out, Knot answers NOTIMP to TYPE0.",
           ("tc", "answer", "authority", "glue"), sets_tc_for_glue),
    Lawful("Classes other than IN are refused: we have no data there, whoever asks, and ANY is a class for updates.",
           ("rcode", "aa", "answer", "authority"), refuses_other_class),
    Lawful("Transfers are refused for every name: whether a zone is ours is no secret, but no use to a stranger.",
           ("rcode",), refuses_transfer),
    Lawful("NOTIFY and UPDATE are refused for every name: we are nobody's secondary and change nothing.",
           ("rcode", "aa"), refuses_notify_and_update),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Course:
    """What is asked of each server, in this order."""

    udp: list[Query]
    tcp: list[Query]
    odd_udp: list[Query]
    odd_tcp: list[Query]

    @property
    def queries(self) -> list[Query]:
        return [*self.udp, *self.tcp, *self.odd_udp, *self.odd_tcp]

    def ask(self, address: Address) -> list[bytes | None]:
        return [
            *ask_udp(address, [query.wire for query in self.udp]),
            *ask_tcp(address, [query.wire for query in self.tcp]),
            *ask_udp(address, [query.wire for query in self.odd_udp], tries=4),
            *ask_tcp_singly(address, [query.wire for query in self.odd_tcp]),
        ]


@dataclass(frozen=True, slots=True)
class Results:
    replies6: list[bytes | None]    # dnslb's over IPv6, to every tenth query over UDP
    replies: list[bytes | None]     # dnslb's over IPv4, in the order of the cases
    cases: list[Case]


@pytest.fixture(scope="module")
def dnslb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Address, Address]]:
    with dnslb_server.serving(ZONES, tmp_path_factory.mktemp("dnslb")) as addresses:
        yield addresses


@pytest.fixture(scope="module")
def results(dnslb: tuple[Address, Address], tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Every query's replies; the peers are gone again when the tests look at them."""
    polite = [*questions(ZONES), *sizes(ZONES)]
    course = Course(
        udp=[query for query in polite if not query.tcp],
        tcp=[query for query in polite if query.tcp],
        odd_udp=malformed(tcp=False),
        odd_tcp=malformed(tcp=True),
    )
    ours, ours6 = dnslb
    replies, cases = run(course, ZONES, ours, tmp_path_factory)
    replies6 = ask_udp(ours6, [query.wire for query in course.udp[::10]])
    return Results(replies6, replies, cases)


def run(
    course: Course, zones: Path, ours: Address, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[bytes | None], list[Case]]:
    """Ask dnslb, which runs, and the peers, which are started for it, all at the same time."""
    with ExitStack() as servers:
        addresses = [
            servers.enter_context(peers.serving(peer, zones, tmp_path_factory.mktemp(peer.name)))
            for peer in peers.PEERS
        ]
        with ThreadPoolExecutor() as threads:
            replies, *theirs = threads.map(course.ask, [ours, *addresses])
    names = [peer.name for peer in peers.PEERS]
    cases = [
        Case(query, see(reply), dict(zip(names, map(see, row), strict=True)))
        for query, reply, *row in zip(course.queries, replies, *theirs, strict=True)
    ]
    return replies, cases


def see(reply: bytes | None) -> View:
    return SILENCE if reply is None else view(reply[2:])


def report_differences(cases: list[Case]) -> None:
    """Fail with the first of them and the number of all."""
    found = [difference for case in cases for difference in compare(case, LAWFUL)]
    shown = "\n".join(map(str, found[:SHOWN]))
    if found:
        pytest.fail(f"{len(found)} differences in {len(cases)} queries, such as:\n{shown}", pytrace=False)


def test_there_is_no_difference_where_the_peers_agree(results: Results) -> None:
    report_differences(results.cases)


def test_there_is_no_difference_over_the_root_zone(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The root and EDU, parent and child on one server; nothing is outside."""
    zones = ZONES / "rfc1034"
    asked = questions(zones)
    course = Course(
        [query for query in asked if not query.tcp], [query for query in asked if query.tcp], odd_udp=[], odd_tcp=[]
    )
    with dnslb_server.serving(zones, tmp_path_factory.mktemp("dnslb")) as (ours, _):
        _, cases = run(course, zones, ours, tmp_path_factory)
    report_differences(cases)


def test_every_lawful_choice_is_needed(results: Results) -> None:
    differing = [case for case in results.cases if any(compare(case, ()))]
    for choice in LAWFUL:
        others = [other for other in LAWFUL if other is not choice]
        assert any(any(compare(case, others)) for case in differing), f"never needed: {choice.reason}"


def test_a_reply_that_differs_is_seen(results: Results) -> None:
    """One field changed at a time, in replies on which all four agree."""
    unanimous = next(case for case in results.cases if case.ours.answer and set(case.theirs.values()) == {case.ours})
    wrongs: dict[str, Any] = {
        "answered": False, "rcode": "NXDOMAIN", "opcode": 2, "aa": False, "tc": True, "rd": True, "ra": True, "z": True,
        "ad": True, "cd": True, "question": b"", "answer": (), "authority": "else", "glue": "else", "edns": "else",
        "options": (UNKNOWN_OPTION,),
    }  # fmt: skip
    for field, wrong in wrongs.items():
        changed = replace(unanimous, ours=unanimous.ours._replace(**{field: wrong}))
        assert field in {difference.field for difference in compare(changed, LAWFUL)}


def test_ipv6_is_answered_as_ipv4(results: Results) -> None:
    for reply6, case in zip(results.replies6, results.cases[: 10 * len(results.replies6) : 10], strict=True):
        assert see(reply6) == case.ours, case.query.dig


def test_a_reply_is_never_larger_than_the_client_takes(results: Results) -> None:
    for reply, case in zip(results.replies, results.cases, strict=True):
        if reply is not None and not case.query.tcp:
            assert len(reply) <= min(max(case.query.size, MIN_UDP), MAX_UDP), case.query.dig


def test_a_truncated_reply_holds_whole_rrsets(results: Results) -> None:
    """Each is one that a peer shows in a complete reply (RFC 2181 §9)."""
    whole = {
        records for case in results.cases for their in case.answering for records in their.answer if their.answer != CUT
    }
    cut = [reply for reply, case in zip(results.replies, results.cases, strict=True) if reply and case.ours.tc]
    assert cut
    for reply in cut:
        kept = view(reply[2:3] + bytes((reply[2] & ~0x02,)) + reply[3:])
        assert set(kept.answer) <= whole


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
@pytest.mark.parametrize(("packet", "reply"), [
    ("the first 11 octets of a query",      "silence"),
    ("the first 12 octets of a query",      "FORMERR"),
    ("QR set",                              "silence"),
    ("QDCOUNT 0, nothing else",             "FORMERR"),
    ("QDCOUNT 0, OPT",                      "FORMERR opt"),
    ("QDCOUNT 2, twice the same",           "FORMERR"),
    ("15 trailing octets",                  "NOERROR aa question"),
    ("15 trailing octets after OPT",        "NOERROR aa question opt"),
    ("label type 01",                       "FORMERR"),
    ("a pointer to itself",                 "FORMERR"),
    ("a pointer to the header",             "FORMERR"),
    ("256 octets, below the apex",          "FORMERR"),
    ("AA set, data",                        "NOERROR aa question"),
    ("TC set, data",                        "NOERROR aa question"),
    ("RD set, data",                        "NOERROR aa rd question"),
    ("RD set, outside",                     "REFUSED rd question"),
    ("RA set, data",                        "NOERROR aa question"),
    ("Z set, data",                         "NOERROR aa question"),
    ("AD set, data",                        "NOERROR aa question"),
    ("CD set, data",                        "NOERROR aa question"),
    ("rcode 5 set",                         "NOERROR aa question"),
    ("opcode 1",                            "NOTIMP question"),
    ("opcode 2",                            "NOTIMP question"),
    ("opcode 4",                            "REFUSED question"),
    ("opcode 5",                            "REFUSED question"),
    ("opcode 6",                            "NOTIMP question"),
    ("opcode 15, OPT",                      "NOTIMP question opt"),
    ("opcode 4, nothing else",              "FORMERR"),
    ("opcode 5, nothing else",              "FORMERR"),
    ("NOTIFY for a zone",                   "REFUSED question"),
    ("UPDATE of a zone, one record",        "REFUSED question"),
    ("AXFR of a zone",                      "REFUSED question"),
    ("IXFR of a zone",                      "REFUSED question"),
    ("class 0",                             "REFUSED question"),
    ("class 254",                           "REFUSED question"),
    ("class 255",                           "REFUSED question"),
    ("class 65535",                         "REFUSED question"),
    ("class CH, a name of ours",            "REFUSED question"),
    ("class CH, version.bind",              "REFUSED question"),
    ("class CH, id.server",                 "REFUSED question"),
    ("a record in ANSWER",                  "NOERROR aa question"),
    ("a record in AUTHORITY",               "NOERROR aa question"),
    ("a record before OPT",                 "NOERROR aa question opt"),
    ("DO",                                  "NOERROR aa question opt do"),
    ("EDNS flags 0xffff",                   "NOERROR aa question opt do"),
    ("EDNS version 1",                      "BADVERS question opt"),
    ("EDNS version 1, DO",                  "BADVERS question opt do"),
    ("two OPTs",                            "FORMERR question"),
    ("an option longer than OPT",           "FORMERR question"),
    ("option: cookie",                      "NOERROR aa question opt"),
])  # fmt: skip
def test_what_the_peers_disagree_on_is_decided(
    packet: str, reply: str, transport: str, dnslb: tuple[Address, Address]
) -> None:
    asked = next(query for query in malformed(transport == "TCP") if query.dig.startswith(f"{transport}, {packet}: "))
    ask = ask_tcp_singly if asked.tcp else partial(ask_udp, tries=1)
    assert outline(see(ask(dnslb[0], [asked.wire])[0])) == reply


def outline(reply: View) -> str:
    """The rcode and what is set or there, in words."""
    if not reply.answered:
        return "silence"
    words = [field for field in ("aa", "tc", "rd", "ra", "z", "ad", "cd", "question") if getattr(reply, field)]
    opt = ["opt"] if reply.edns else []
    return " ".join([reply.rcode, *words, *opt, *(["do"] if reply.edns.endswith("8000") else [])])
