"""Who gets a zone by transfer: ``secondaries`` and ``transfer_to``, in its policy or, for all zones, in ``dnslb.yaml``.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

from dnslb.config.secondary import Secondary, TransferPolicy
from dnslb.dns import name
from dnslb.dns.mistake import Mistaken
from dnslb.text.document import Document
from dnslb.text.yaml_tree import Node, SequenceNode

KEYS = ("secondaries", "transfer_to")
_SECONDARY = ("address", "port", "key")
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
        policy = replace(policy, secondaries=_secondaries(parsed, values["secondaries"], keys))
    if "transfer_to" in values:
        policy = _with_others(parsed, values["transfer_to"], keys, policy)
    return policy


def _secondaries(parsed: Document, node: Node, keys: Collection[str]) -> tuple[Secondary, ...]:
    if not isinstance(node, SequenceNode):
        parsed.report(node, "secondaries is no list", "write - {address: 192.0.2.53, key: NAME} for each")
        return ()
    found: list[Secondary] = []
    for item in node.value:
        secondary = _secondary(parsed, item, keys)
        if secondary is None:
            continue
        if any((one.address, one.port) == (secondary.address, secondary.port) for one in found):
            parsed.report(item, f"{secondary} is given twice", "remove one of the two")
        found.append(secondary)
    return tuple(found)


def _secondary(parsed: Document, node: Node, keys: Collection[str]) -> Secondary | None:
    values = parsed.mapping(node, _SECONDARY, "a secondary")
    if not values:
        return None
    if "address" not in values:
        parsed.report(node, "the secondary has no address", "add address: 192.0.2.53")
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
    return None if port is None or key is None else Secondary(address, port, key if key != _NO_KEY else None)


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
