"""One value of a policy file, with its place: defaults and a pool's own are laid over one another key by key.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, NamedTuple, TypeAlias

from dnslb.balance.pool import Address
from dnslb.text.document import Document
from dnslb.text.yaml_tree import Node


class Setting(NamedTuple):
    """What is written behind a key."""

    value: Any  # of the type that its reader makes; None: it was reported, and nothing may be concluded from it
    node: Node


PolicySettings: TypeAlias = Mapping[str, Setting]
Reader: TypeAlias = Callable[[Document, Node], Any]


def read(document: Document, node: Node, readers: Mapping[str, Reader], what: str) -> dict[str, Setting]:
    """The settings of a mapping that may have only these keys."""
    values = document.mapping(node, readers, what)
    return {key: Setting(readers[key](document, value), value) for key, value in values.items()}


def are_sound(settings: Iterable[Setting]) -> bool:
    return all(setting.value is not None for setting in settings)


def parse_address(word: str) -> Address | None:
    """None when the word is no address; a zone index, as in ``fe80::1%eth0``, has no place in the DNS."""
    try:
        return IPv6Address(inet_pton(AF_INET6, word)) if ":" in word else IPv4Address(inet_pton(AF_INET, word))
    except (OSError, ValueError):
        return None


def read_target(document: Document, node: Node) -> Address | None:
    """An address to probe, or to probe from."""
    word = document.text(node)
    if word is None:
        return None
    address = parse_address(word)
    if address is None:
        document.report(node, f"{word} is no address", "write an IPv4 or IPv6 address")
        return None
    if address.is_unspecified or address.is_multicast:
        document.report(node, f"{word} is no address of one host", "write a unicast address")
        return None
    return address


def read_network(document: Document, word: str, node: Node) -> IPv4Network | IPv6Network | None:
    try:
        network = ip_network(word if "%" not in word else "", strict=False)
    except ValueError:
        document.report(node, f"{word} is no network", "write one as 192.0.2.0/24 or 2001:db8::/32")
        return None
    if ip_address(word.partition("/")[0]) == network.network_address:
        return network
    document.report(node, f"{word} has bits behind its prefix", f"write {network}, or a longer prefix")
    return None
