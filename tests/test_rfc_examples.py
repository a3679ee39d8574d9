"""The worked examples of RFC 1034 §6.2 and RFC 4592 §2.2.1, asked of a running dnslb.

A reply is written as: rcode, aa, then its records, in any order and case; ``SOA`` stands for the zone's own in the
authority section; records after ``+`` may come as additional data, and no others may.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import dnslb_server
import pytest
from peers import Address

ZONES = Path(__file__).parent / "zones"


@pytest.fixture(scope="module")
def c_isi_edu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """The host of RFC 1034 §6.2: it serves the root and EDU, but not MIL nor ISI.EDU."""
    with dnslb_server.serving(ZONES / "rfc1034", tmp_path_factory.mktemp("rfc1034")) as (address, _):
        yield address


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """A server of the zone ``example.`` of RFC 4592 §2.2.1 (and of the other test zones)."""
    with dnslb_server.serving(ZONES, tmp_path_factory.mktemp("rfc4592")) as (address, _):
        yield address


SRI_NIC_ADDRESSES = "SRI-NIC.ARPA. 86400 A 26.0.0.73 | SRI-NIC.ARPA. 86400 A 10.0.0.51"


@pytest.mark.parametrize(("question", "reply"), [
    # §6.2.1
    ("SRI-NIC.ARPA A",      f"NOERROR aa | {SRI_NIC_ADDRESSES}"),
    # §6.2.2 asks for everything; one RRset is enough since RFC 8482.  See below.
    # §6.2.3
    ("SRI-NIC.ARPA MX",     f"NOERROR aa | SRI-NIC.ARPA. 86400 MX 0 SRI-NIC.ARPA. + {SRI_NIC_ADDRESSES}"),
    # §6.2.4: no NS there; the SOA since RFC 2308.
    ("SRI-NIC.ARPA NS",     "NOERROR aa | SOA"),
    # §6.2.5: a typing mistake.
    ("SIR-NIC.ARPA A",      "NXDOMAIN aa | SOA"),
    # §6.2.6: MIL is not ours.  Its servers lie elsewhere in the root zone: their addresses may come along.
    ("BRL.MIL A",           "NOERROR | MIL. 86400 NS SRI-NIC.ARPA. | MIL. 86400 NS A.ISI.EDU."
                            f" + A.ISI.EDU. 86400 A 26.3.0.103 | {SRI_NIC_ADDRESSES}"),
    # §6.2.7: an alias into another zone.  The RFC's host adds the address it has of its own; we stop at the alias.
    ("USC-ISIC.ARPA A",     "NOERROR aa | USC-ISIC.ARPA. 86400 CNAME C.ISI.EDU."),
    # §6.2.8
    ("USC-ISIC.ARPA CNAME", "NOERROR aa | USC-ISIC.ARPA. 86400 CNAME C.ISI.EDU."),
    # The same host on EDU, which it serves as well: data, and a referral with the glue that it needs.
    ("EDU NS",              "NOERROR aa | EDU. 86400 NS SRI-NIC.ARPA. | EDU. 86400 NS C.ISI.EDU."),
    ("UDEL.EDU A",          "NOERROR | UDEL.EDU. 172800 NS LOUIE.UDEL.EDU. | UDEL.EDU. 172800 NS UMN-REI-UC.ARPA."
                            " | LOUIE.UDEL.EDU. 172800 A 10.0.0.96 | LOUIE.UDEL.EDU. 172800 A 192.5.39.3"),
    ("C.ISI.EDU A",         "NOERROR | ISI.EDU. 172800 NS VAXA.ISI.EDU. | ISI.EDU. 172800 NS A.ISI.EDU."
                            " | ISI.EDU. 172800 NS VENERA.ISI.EDU."
                            " | VAXA.ISI.EDU. 172800 A 10.2.0.27 | VAXA.ISI.EDU. 172800 A 128.9.0.33"
                            " | VENERA.ISI.EDU. 172800 A 10.1.0.52 | VENERA.ISI.EDU. 172800 A 128.9.0.32"
                            " | A.ISI.EDU. 172800 A 26.3.0.103"),
    ("ARPA A",              "NOERROR aa | SOA"),    # an empty non-terminal
])  # fmt: skip
def test_rfc_1034_section_6_2(question: str, reply: str, c_isi_edu: Address) -> None:
    check(question, reply, c_isi_edu)


def test_rfc_1034_section_6_2_2_is_answered_with_one_rrset(c_isi_edu: Address) -> None:
    message = ask("SRI-NIC.ARPA ANY", c_isi_edu)
    everything = {"A", "MX", "HINFO"}
    assert message.rcode() == dns.rcode.NOERROR
    assert message.flags & dns.flags.AA
    assert len(message.answer) == 1
    assert dns.rdatatype.to_text(message.answer[0].rdtype) in everything


@pytest.mark.parametrize(("question", "reply"), [
    # Synthesised:
    ("host3.example MX",                 "NOERROR aa | host3.example. 3600 MX 10 host1.example."
                                         " + host1.example. 3600 A 192.0.2.1"),
    ("host3.example A",                  "NOERROR aa | SOA"),       # the wildcard has no A
    ("foo.bar.example TXT",              'NOERROR aa | foo.bar.example. 3600 TXT "this is a wildcard"'),
    # Not synthesised:
    ("host1.example MX",                 "NOERROR aa | SOA"),       # host1.example. exists
    ("sub.*.example MX",                 "NOERROR aa | SOA"),       # sub.*.example. exists
    ("_telnet._tcp.host1.example SRV",   "NXDOMAIN aa | SOA"),      # _tcp.host1.example. exists, without data
    ("host.subdel.example A",            "NOERROR | subdel.example. 3600 NS ns.example.com."
                                         " | subdel.example. 3600 NS ns.example.net."),     # a cut
    ("ghost.*.example MX",               "NXDOMAIN aa | SOA"),      # *.example. exists
    # The asterisk asked for by name is data like any other (§2.3).
    ("*.example TXT",                    'NOERROR aa | *.example. 3600 TXT "this is a wildcard"'),
    ("sub.*.example TXT",                'NOERROR aa | sub.*.example. 3600 TXT "this is not a wildcard"'),
    # Names that exist without data answer NODATA (§2.2.2).
    ("_tcp.host1.example MX",            "NOERROR aa | SOA"),
    ("host2.example MX",                 "NOERROR aa | SOA"),
])  # fmt: skip
def test_rfc_4592_section_2_2_1(question: str, reply: str, example: Address) -> None:
    check(question, reply, example)


def check(question: str, reply: str, address: Address) -> None:
    required, _, additional = reply.partition(" + ")
    status, *records = required.split(" | ")
    message = ask(question, address)
    seen = transcript(message)
    allowed = set(fold(additional.split(" | "))) if additional else set()
    assert seen[0] == status
    assert sorted(record for record in seen[1:] if record not in allowed) == sorted(fold(records))


def ask(question: str, address: Address) -> dns.message.Message:
    name, rrtype = question.split()
    query = dns.message.make_query(name, rrtype, use_edns=0, payload=1232)
    return dns.query.udp(query, address.host, timeout=5, port=address.port)


def transcript(message: dns.message.Message) -> list[str]:
    """The status, then every record of the three sections, folded; the SOA of the authority section in short."""
    status = dns.rcode.to_text(message.rcode()) + (" aa" if message.flags & dns.flags.AA else "")
    soa = [rrset for rrset in message.authority if rrset.rdtype == dns.rdatatype.SOA]
    rrsets = [rrset for rrset in (*message.answer, *message.authority, *message.additional) if rrset not in soa]
    return [status, *fold(record for rrset in rrsets for record in records_of(rrset)), *("soa" for _ in soa)]


def records_of(rrset: dns.rrset.RRset) -> list[str]:
    rrtype = dns.rdatatype.to_text(rrset.rdtype)
    return [f"{rrset.name} {rrset.ttl} {rrtype} {rdata}" for rdata in rrset]


def fold(records: Iterable[str]) -> list[str]:
    """Lower case: names compare without regard to it (RFC 4343)."""
    return [record.lower() for record in records]
