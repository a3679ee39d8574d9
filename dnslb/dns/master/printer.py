"""A zone as master-file lines: names absolute, one record a line, ready to be sorted, compared and read again."""

from __future__ import annotations

from collections.abc import Iterator

from dnslb.dns import name, rdata, rrtype
from dnslb.dns.name import Name
from dnslb.dns.zone import Zone, find


def records(zone: Zone) -> Iterator[str]:
    """``owner TTL IN type rdata`` for every record: the SOA first, owners in canonical order (RFC 4034 §6.1)."""
    soa = find(zone.nodes[zone.apex], rrtype.SOA)
    for owner in sorted(zone.nodes, key=_canonical):
        owner_text = name.text(owner)
        node = zone.nodes[owner]
        if owner == zone.apex and soa is not None:
            node = (soa, *(rrset for rrset in node if rrset is not soa))
        for rrset in node:
            head = f"{owner_text} {rrset.ttl} IN {rrtype.text(rrset.rrtype)}"
            for octets in rrset.rdatas:
                yield f"{head} {rdata.text(rrset.rrtype, octets)}".rstrip()


def _canonical(owner: Name) -> list[bytes]:
    return name.labels(owner)[::-1]
