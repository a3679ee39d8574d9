"""Who may transfer a zone.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from dnslb.balance.pool import Address
from dnslb.config.nameserver import Nameserver, TransferPolicy


@dataclass(frozen=True, slots=True)
class Access:
    """Who signs with one of these keys, from anywhere; and who asks from one of these networks, unsigned."""

    keys: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, policy: TransferPolicy) -> Access:
        """The secondaries, and who else may have the zone."""
        keys = policy.keys | {one.key for one in policy.secondaries if one.key is not None}
        unsigned = tuple(ip_network(one.address) for one in policy.secondaries if one.key is None)
        return cls(frozenset(keys), (*policy.networks, *unsigned))

    @classmethod
    def of_primaries(cls, primaries: Iterable[Nameserver]) -> Access:
        """Who may say that a zone has changed: it is looked up then, so that an address will do (RFC 1996 §3.10)."""
        some = list(primaries)
        return cls(frozenset(one.key for one in some if one.key), tuple(ip_network(one.address) for one in some))

    def allows(self, client: Address, key: str | None) -> bool:
        if key is not None:
            return key in self.keys
        return any(client.version == network.version and client in network for network in self.networks)
