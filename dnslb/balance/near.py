"""Clients near the addresses of a pool, who choose among them by themselves.

A client with glibc sorts the addresses of a reply that are in a subnet of its own by the prefix that they share with
its own address (RFC 6724 §5 rule 9; of IPv6, all addresses): whatever their order, it uses the same one always.  An
address alone cannot be sorted.  Pure: no I/O.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TypeAlias

_Address: TypeAlias = IPv4Address | IPv6Address
_Network: TypeAlias = IPv4Network | IPv6Network

_NEIGHBOURS = {4: 24, 6: 64}  # bits that neighbours have in common, by IP version

# RFC 1918 §3, RFC 4193 §3.1
PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))


@dataclass(frozen=True, slots=True)
class Networks:
    """Where networks begin and end, in turn: an address is in one when an odd number of these is not above it.

    So a look-up costs a bisection, however many there are, and of whatever lengths.
    """

    ipv4: tuple[bytes, ...] = ()
    ipv6: tuple[bytes, ...] = ()

    def include(self, address: bytes) -> bool:
        """``address``: 4 or 16 octets; none are in no network."""
        return bisect_right(self.ipv4 if len(address) == 4 else self.ipv6, address) & 1 == 1


@dataclass(frozen=True, slots=True)
class Near:
    """The clients that count as near a pool, and what they get."""

    answers: int | None            # addresses in a reply to them, at most
    around: Networks               # around the pool's addresses
    named: Networks = Networks()   # by the operator; shared by the pools of a file

    def include(self, client: bytes) -> bool:
        """``client``: the 4 or 16 octets of its address."""
        return self.around.include(client) or self.named.include(client)


def merged(networks: Iterable[_Network]) -> Networks:
    """The addresses that are in any of them."""
    spans: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
    for network in networks:
        first = int(network.network_address)
        spans[network.version].append((first, first + network.num_addresses))
    return Networks(_bounds(spans[4], 4), _bounds(spans[6], 16))


def around(addresses: Collection[_Address]) -> Networks:
    """The neighbours of these addresses: the same /24 or /64; and, if one is private, all who have a private one."""
    networks: list[_Network] = list(neighbourhoods(addresses))
    if any(map(is_private, addresses)):
        networks += PRIVATE
    return merged(networks)


def neighbourhoods(addresses: Iterable[_Address]) -> Iterator[_Network]:
    """The networks that the addresses are in, each once, in their order."""
    for version, prefix in _neighbours(addresses):
        bits = _NEIGHBOURS[version]
        yield IPv4Network((prefix << 32 - bits, bits)) if version == 4 else IPv6Network((prefix << 128 - bits, bits))


def are_sorted(addresses: Collection[_Address]) -> bool:
    """Whether there are clients who would choose among them by themselves.

    From loopback all of 127.0.1.0/24 look alike, and nobody but this machine is there.
    """
    apart = [address for address in addresses if not address.is_loopback]
    private = Counter(address.version for address in apart if is_private(address))
    return any(count > 1 for counts in (_neighbours(apart), private) for count in counts.values())


def is_private(address: _Address) -> bool:
    return any(address in network for network in PRIVATE)


def _neighbours(addresses: Iterable[_Address]) -> Counter[tuple[int, int]]:
    """How many there are, by IP version and prefix."""
    return Counter(
        (address.version, int(address) >> address.max_prefixlen - _NEIGHBOURS[address.version])
        for address in addresses
    )


def _bounds(spans: Iterable[tuple[int, int]], octets: int) -> tuple[bytes, ...]:
    """Of spans from the first address to the one after the last.  What lies beyond the last address is left out."""
    bounds: list[int] = []
    for first, end in sorted(spans):
        if bounds and first <= bounds[-1]:
            bounds[-1] = max(bounds[-1], end)
        else:
            bounds += first, end
    return tuple(bound.to_bytes(octets) for bound in bounds if bound < 1 << 8 * octets)
