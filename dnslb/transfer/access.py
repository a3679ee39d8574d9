"""Who may transfer a zone.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from dnslb.balance.pool import Address


@dataclass(frozen=True, slots=True)
class Access:
    """Who signs with one of these keys, from anywhere; and who asks from one of these networks, unsigned."""

    keys: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def allows(self, client: Address, key: str | None) -> bool:
        if key is not None:
            return key in self.keys
        return any(client.version == network.version and client in network for network in self.networks)
