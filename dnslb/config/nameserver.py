"""Other nameservers, which get a zone from us or give us one.  Values only."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network


@dataclass(frozen=True, slots=True)
class Nameserver:
    """A secondary, which is told of each change of a zone and may fetch it; or a primary, of which we ask that."""

    address: IPv4Address | IPv6Address
    port: int = 53
    key: str | None = None  # the name of the key that signs what we say to one another; None: nothing is signed

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" if self.address.version == 4 else f"[{self.address}]:{self.port}"


@dataclass(frozen=True, slots=True)
class TransferPolicy:
    """Who may have a zone, and who is told when it changes."""

    secondaries: tuple[Nameserver, ...] = ()
    keys: frozenset[str] = frozenset()                       # of others that fetch it without being told
    networks: tuple[IPv4Network | IPv6Network, ...] = ()     # from which it is fetched unsigned

    def __bool__(self) -> bool:
        return bool(self.secondaries or self.keys or self.networks)


NOBODY = TransferPolicy()
