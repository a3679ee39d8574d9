"""The names that have addresses and no policy: their records are rotated, and nobody probes them.

There may be a million of them, so nothing is made of them before somebody asks.  What takes long is worked out by
iterators; they yield None where others may have a turn.  Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from dnslb.balance.pool import Address, Backend, Pool
from dnslb.balance.rotation import RRsetOrder
from dnslb.config.owner import address
from dnslb.dns import name, rrtype
from dnslb.dns.lookup import Delegation, Redirection, look_up
from dnslb.dns.name import Name
from dnslb.dns.zone import Node, RRset, Zone

_OFTEN = 200  # names looked at between two pauses
_ADDRESSES = frozenset(rrtype.ADDRESS_TYPES.values())


class Rotated:
    """Those of some zones.  ``order`` is that of their records."""

    def __init__(
        self,
        zones: Mapping[Name, Zone] = MappingProxyType({}),
        pools: Mapping[Name, Pool] = MappingProxyType({}),
        order: RRsetOrder = RRsetOrder.CYCLIC,
    ) -> None:
        self._zones = zones
        self._pools = pools
        self._order = order
        self._several: list[Name] | None = None  # once they have been looked for

    def pool(self, owner: Name) -> Pool | None:
        """What a policy would make of the name that says nothing of it; None if there are no addresses to rotate."""
        zone = self._zone(owner)
        if zone is None or owner in self._pools or not self._is_answered(zone, owner):
            return None
        rrsets = sorted(_address_rrsets(zone.nodes.get(owner, ())))
        if not rrsets:
            return None
        return Pool(
            name.text(owner),
            tuple(Backend(address(rdata)) for rrset in rrsets for rdata in rrset.rdatas),
            {_version(rrset): rrset.ttl for rrset in rrsets},
            order=self._order,
            negative_ttl=zone.negative_ttl,
        )

    def several(self) -> Iterator[Name | None]:
        """Those with several addresses of one kind."""
        if self._several is not None:
            yield from self._several
            return
        found = []
        for zone, owner, node in self._nodes():
            if owner is None:
                yield None
            elif any(len(rrset.rdatas) > 1 for rrset in _address_rrsets(node)) and self._is_answered(zone, owner):
                found.append(owner)
                yield owner
        self._several = found

    def holding(self, wanted: Iterable[Address]) -> Iterator[tuple[Name, bool] | None]:
        """Those with one of these addresses, and whether they have others of its kind."""
        rdatas = {each.packed for each in wanted}
        for zone, owner, node in self._nodes():
            if owner is None:
                yield None
                continue
            held = [
                rrset
                for rrset in node
                if rrset.rrtype in _ADDRESSES and not rdatas.isdisjoint(rrset.rdatas)
            ]
            if held and self._is_answered(zone, owner):
                yield owner, any(len(rrset.rdatas) > 1 for rrset in held)

    def apex(self, owner: Name) -> Name | None:
        """The zone that answers for the name."""
        return name.closest(owner, self._zones)

    def _nodes(self) -> Iterator[tuple[Zone, Name | None, Node]]:
        """Every name without a policy; None now and then, for a pause."""
        pools = self._pools
        for zone in self._zones.values():
            for number, (owner, node) in enumerate(zone.nodes.items()):
                if number % _OFTEN == 0:
                    yield zone, None, ()
                if node and owner not in pools:
                    yield zone, owner, node

    def _zone(self, owner: Name) -> Zone | None:
        apex = self.apex(owner)
        return None if apex is None else self._zones[apex]

    def _is_answered(self, zone: Zone, owner: Name) -> bool:
        """Whether it is not hidden by a delegation, a DNAME or another zone."""
        return self.apex(owner) == zone.apex and not isinstance(
            look_up(zone, owner, rrtype.A), Delegation | Redirection
        )


def _address_rrsets(node: Node) -> list[RRset]:
    return [rrset for rrset in node if rrset.rrtype in _ADDRESSES]


def _version(rrset: RRset) -> int:
    return 4 if rrset.rrtype == rrtype.A else 6
