"""Which class of hidden load a client belongs to, by its network: /24 of IPv4, /56 of IPv6.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from socket import AF_INET
from sys import byteorder
from typing import TypeAlias

from dnslb.balance.hidden_load import REST

Words: TypeAlias = int | tuple[int, ...]  # of an address as it lies in memory: one for IPv4, the first two for IPv6

_IPV4 = AF_INET.to_bytes(2, byteorder)  # how a struct sockaddr_in begins
_MOST = 1 << 14  # clients remembered; then it begins anew


class ResolverClasses(dict[Words, int]):
    """By the words of an address; bounded, and mostly read as fast as a dict."""

    def __init__(self) -> None:
        super().__init__()
        self._known: Mapping[bytes, int] = {}

    def tell(self, known: Mapping[bytes, int]) -> None:
        """From now on these are known, by network; all others are of the class REST."""
        self._known = known
        self.clear()

    def of(self, client: bytes) -> int:
        """``client``: a socket address as the system gives it."""
        return self._known.get(network_of(client), REST)

    def mark(self, client: bytes) -> bytes:
        """The same as one octet."""
        return self.of(client).to_bytes(1)

    def marks(self, columns: Sequence[Iterable[int]]) -> bytes:
        """The same of many, an octet each, by the columns of their words."""
        return bytes(map(self.__getitem__, columns[0] if len(columns) == 1 else zip(*columns, strict=True)))

    def __missing__(self, words: Words) -> int:
        if len(self) >= _MOST:
            self.clear()
        octets = b"".join(word.to_bytes(4, byteorder) for word in ((words,) if isinstance(words, int) else words))
        number = self[words] = self._known.get(octets[:-1], REST)
        return number


def network_of(client: bytes) -> bytes:
    """The first 3 octets of an IPv4 address, or 7 of an IPv6 address, from a struct sockaddr_in or sockaddr_in6."""
    return client[4:7] if client[:2] == _IPV4 else client[8:15]
