"""Who is answered: ``allow`` and ``deny``, in ``dnslb.yaml`` for all, in its policy for a zone.  Pure: no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeAlias

from dnslb.balance.near import Networks, merged
from dnslb.text.document import Document
from dnslb.text.yaml_tree import Node

KEYS = ("allow", "deny")
Network: TypeAlias = IPv4Network | IPv6Network

_NONE = Networks()


@dataclass(frozen=True, slots=True)
class Clients:
    """Those who are answered."""

    allow: Networks | None = None  # None: all
    deny: Networks = _NONE         # but for these

    def admit(self, address: bytes) -> bool:
        """``address``: the 4 or 16 octets."""
        return not self.deny.include(address) and (self.allow is None or self.allow.include(address))


EVERYBODY = Clients()


def read(parsed: Document, values: Mapping[str, Node]) -> Clients:
    """What these keys of a file say."""
    allow = merged(networks(parsed, values["allow"])) if "allow" in values else None
    return Clients(allow, merged(networks(parsed, values["deny"])) if "deny" in values else _NONE)


def networks(parsed: Document, node: Node) -> tuple[Network, ...]:
    """One, or a list of them; those without mistakes."""
    found: list[Network] = []
    for word, item in parsed.texts(node):
        try:
            found.append(ip_network(word))
        except ValueError:
            parsed.report(item, f"{word} is no network", "write one as 192.0.2.0/24 or 2001:db8::/32")
    return tuple(found)
