"""Who gets a zone by transfer.  Values only."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network


@dataclass(frozen=True, slots=True)
class Secondary:
    """A nameserver that is told of each change of a zone, and may fetch it."""

    address: IPv4Address | IPv6Address
    port: int = 53
    key: str | None = None  # the name of the key it signs with; None: it does not

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" if self.address.version == 4 else f"[{self.address}]:{self.port}"


@dataclass(frozen=True, slots=True)
class TransferPolicy:
    """Who may have a zone, and who is told when it changes."""

    secondaries: tuple[Secondary, ...] = ()
    keys: frozenset[str] = frozenset()                       # of others that fetch it without being told
    networks: tuple[IPv4Network | IPv6Network, ...] = ()     # from which it is fetched unsigned

    def __bool__(self) -> bool:
        return bool(self.secondaries or self.keys or self.networks)


NOBODY = TransferPolicy()
