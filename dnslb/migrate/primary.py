"""Zones, fetched from the server that has them: AXFR (RFC 5936), signed with TSIG (RFC 8945) if there is a key.

dnspython asks, checks signatures and the order of what comes; the text is our own, so that nothing is lost in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dns.exception
import dns.name
import dns.query
import dns.rcode
import dns.rrset
import dns.tsig
import dns.xfr

from dnslb.config.keys import TsigKey
from dnslb.config.settings import Endpoint
from dnslb.dns import rdata, rrtype
from dnslb.migrate.imported import Imported, Unreadable
from dnslb.system.file import MOST_ZONE

_SILENCE = 30.0    # seconds until the next message
_LONGEST = 600.0   # seconds for a zone


def read(primary: Endpoint, zones: Sequence[str], key: TsigKey | None) -> Imported:
    """A file for each of the zones that the primary gives."""
    outcome = Imported()
    for zone in zones:
        try:
            text = "".join(_lines(primary, zone, key))
        except (dns.exception.DNSException, Unreadable, OSError, EOFError) as error:
            outcome.leave(str(primary), f"zone {zone}", _reason(error, zone))
        else:
            file = outcome.add_zone(zone, text.encode())
            outcome.take(str(primary), f"zone {zone}", f"{file}, {text.count(chr(10))} records")
    outcome.add_settings({})
    return outcome


def _lines(primary: Endpoint, zone: str, key: TsigKey | None) -> Iterator[str]:
    """The records as they come, but for the SOA at the end.  Raises Unreadable and what dnspython and sockets do."""
    octets = 0
    has_soa = False
    for rrset in _rrsets(primary, dns.name.from_text(zone), key):
        if rrset.rdtype == rrtype.SOA and has_soa:
            continue
        has_soa = has_soa or rrset.rdtype == rrtype.SOA
        head = f"{rrset.name} {rrset.ttl} IN {rrtype.text(rrset.rdtype)}"
        for record in rrset:
            line = f"{head} {rdata.text(rrset.rdtype, record.to_wire())}".rstrip() + "\n"
            octets += len(line)
            if octets > MOST_ZONE:
                raise Unreadable(f"has more than {MOST_ZONE} octets, more than a zone may; it was not read to its end")
            yield line


def _rrsets(primary: Endpoint, zone: dns.name.Name, key: TsigKey | None) -> Iterator[dns.rrset.RRset]:
    keyring = keyname = None
    algorithm = "hmac-sha256"
    if key is not None:
        keyname, algorithm = dns.name.from_text(key.name), key.algorithm
        keyring = {keyname: dns.tsig.Key(keyname, key.secret, algorithm)}
    messages = dns.query.xfr(
        str(primary.address), zone, port=primary.port, relativize=False, timeout=_SILENCE, lifetime=_LONGEST,
        keyring=keyring, keyname=keyname, keyalgorithm=algorithm,
    )  # fmt: skip
    for message in messages:
        yield from message.answer


def _reason(error: Exception, zone: str) -> str:
    """What is wrong, and what to do."""
    match error:
        case Unreadable():
            return str(error)
        case dns.xfr.TransferError():
            said = dns.rcode.to_text(error.rcode)
            return f"it answers {said}; let it give the zone to this machine or to the key (allow-transfer, --key)"
        case dns.tsig.PeerError() | dns.tsig.BadSignature() | dns.tsig.BadTime():
            return f"the signature does not hold ({error}); give the key that it has, and compare the clocks"
        case dns.exception.Timeout():
            return "it says nothing; ask it by dig AXFR from here"
        case EOFError():
            return "it ended the connection before the zone was whole; its log says why"
        case OSError():
            return f"it cannot be reached: {error.strerror or error}"
        case _:
            return f"what it sent is no transfer of {zone}: {error or type(error).__name__}"
