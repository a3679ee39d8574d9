"""Who gets a zone by transfer: ``secondaries`` and ``transfer_to``, in its policy or, for all zones, in ``dnslb.yaml``.

And from whom one comes: ``primary``, in its policy.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

from dnslb.config.nameserver import Nameserver, TransferPolicy
from dnslb.dns import name
from dnslb.dns.mistake import Mistaken
from dnslb.text.document import Document
from dnslb.text.yaml_tree import Node, SequenceNode

KEYS = ("secondaries", "transfer_to")
PRIMARY = "primary"
_NAMESERVER = ("address", "port", "key")
_NO_KEY = "none"  # what says that nothing is signed


def key_name(word: str) -> str | None:
    """The name of a key as it is compared; None when it is no name."""
    try:
        return name.text(name.fold(name.parse(word.rstrip(".") + ".", name.ROOT)))
    except Mistaken:
        return None


def read(parsed: Document, values: Mapping[str, Node], keys: Collection[str]) -> TransferPolicy:
    """What these two keys of a file say.  ``keys`` are the names of the TSIG keys that there are."""
    policy = TransferPolicy()
    if "secondaries" in values:
        policy = replace(policy, secondaries=_nameservers(parsed, values["secondaries"], keys))
    if "transfer_to" in values:
        policy = _with_others(parsed, values["transfer_to"], keys, policy)
    return policy


def read_primaries(parsed: Document, node: Node, keys: Collection[str]) -> tuple[Nameserver, ...]:
    """One primary or a list of them, to be tried in this order."""
    if isinstance(node, SequenceNode) and not node.value:
        parsed.report(node, "there is no primary in the list", "write primary: {address: 192.0.2.1, key: NAME}")
    items = node if isinstance(node, SequenceNode) else SequenceNode((node,), node.line, node.column)
    return _nameservers(parsed, items, keys, PRIMARY)


def _nameservers(
    parsed: Document, node: Node, keys: Collection[str], what: str = "secondary"
) -> tuple[Nameserver, ...]:
    if not isinstance(node, SequenceNode):
        parsed.report(node, "secondaries is no list", "write - {address: 192.0.2.53, key: NAME} for each")
        return ()
    found: list[Nameserver] = []
    for item in node.value:
        one = _nameserver(parsed, item, keys, what)
        if one is None:
            continue
        if any((other.address, other.port) == (one.address, one.port) for other in found):
            parsed.report(item, f"{one} is given twice", "remove one of the two")
        found.append(one)
    return tuple(found)


def _nameserver(parsed: Document, node: Node, keys: Collection[str], what: str) -> Nameserver | None:
    values = parsed.mapping(node, _NAMESERVER, f"a {what}")
    if not values:
        return None
    if "address" not in values:
        parsed.report(node, f"the {what} has no address", "add address: 192.0.2.53")
        return None
    word = parsed.text(values["address"])
    if word is None:
        return None
    try:
        address = ip_address(word)
    except ValueError:
        parsed.report(values["address"], f"{word} is no address", "write it as 192.0.2.53 or 2001:db8::53")
        return None
    port = parsed.number(values["port"], 1, 65535) if "port" in values else 53
    if "key" not in values:
        parsed.report(node, f"{word} has no key, so anybody could claim to be it", "add key: NAME, or key: none")
        return None
    key = _key(parsed, values["key"], keys)
    return None if port is None or key is None else Nameserver(address, port, key if key != _NO_KEY else None)


def _key(parsed: Document, node: Node, keys: Collection[str]) -> str | None:
    """The name of a key that there is, or ``none``."""
    word = parsed.text(node)
    if word is None or word == _NO_KEY:
        return word
    if key_name(word) not in keys:
        parsed.report(node, f"there is no key {word}", "add it to keys: in dnslb.yaml; dnslb key NAME makes one")
        return None
    return key_name(word)


def _with_others(parsed: Document, node: Node, keys: Collection[str], policy: TransferPolicy) -> TransferPolicy:
    """Networks, and names of keys."""
    named, networks = set(policy.keys), list(policy.networks)
    for word, item in parsed.texts(node):
        if not word[:1].isdecimal() and ":" not in word:
            if (key := _key(parsed, item, keys)) is not None:
                named.add(key)
            continue
        try:
            networks.append(ip_network(word))
        except ValueError:
            parsed.report(item, f"{word} is no network", "write one as 192.0.2.0/24 or 2001:db8::/32, or a key's name")
    return replace(policy, keys=frozenset(named), networks=tuple(networks))
