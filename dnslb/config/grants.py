"""``update:`` of a policy file: which key may change what in the zone, by updates (RFC 2136).

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

from dnslb.config import transfers
from dnslb.dns import name, rrtype
from dnslb.dns.name import Name
from dnslb.text.document import Document
from dnslb.text.yaml_tree import Node, SequenceNode

_MOST_WILD = 4       # * in a pattern: each may look at all of a name
_LONGEST = 1004      # characters of a name with its escapes
_ALL = "all"         # types


@dataclass(frozen=True, slots=True)
class Grant:
    """What one key may change."""

    names: tuple[str, ...]         # patterns of the shell, in lower case
    types: frozenset[int] | None   # None: all but the SOA

    def allows(self, apex: Name, owner: Name, kind: int) -> bool:
        """Whether records of the type may be changed there.  A pattern is for names relative to the zone, or whole."""
        if kind == rrtype.SOA or (self.types is not None and kind not in self.types):
            return False
        whole = name.text(owner)
        relative = "@" if owner == apex else whole.removesuffix(f".{name.text(apex)}")
        return any(fnmatchcase(whole, pattern) or fnmatchcase(relative, pattern) for pattern in self.names)


Grants: TypeAlias = Mapping[str, Grant]  # by the key's name, as in ``TsigKey``


def read(parsed: Document, node: Node, keys: Collection[str]) -> Grants:
    """What is written without mistakes; the mistakes are reported.  ``keys``: the names of the TSIG keys there are."""
    found: dict[str, Grant] = {}
    for word, key, value in parsed.entries(node, "update"):
        called = transfers.key_name(word)
        values = parsed.mapping(value, ("names", "types"), f"what {word} may")
        if called is None or called not in keys:
            parsed.report(key, f"there is no key {word}", "add it to keys: in dnslb.yaml; dnslb key NAME makes one")
        elif {"names", "types"} - values.keys():
            remedy = 'write {names: ["_acme-challenge.*"], types: [TXT]}'
            parsed.report(value, f"what {word} may change is not said", remedy)
        else:
            found[called] = Grant(_names(parsed, values["names"]), _types(parsed, values["types"]))
    return found


def _names(parsed: Document, node: Node) -> tuple[str, ...]:
    found = []
    for word, item in parsed.texts(node):
        if len(word) > _LONGEST or word.count("*") > _MOST_WILD or "[" in word:
            parsed.report(item, f"{word} is no pattern of a name", f"write a name with at most {_MOST_WILD} of *")
        found.append(word.lower())
    if isinstance(node, SequenceNode) and not node.value:
        parsed.report(node, "the list is empty", "write what it may change")
    return tuple(found)


def _types(parsed: Document, node: Node) -> frozenset[int] | None:
    words = parsed.texts(node)
    if [word for word, _ in words] == [_ALL]:
        return None
    found = set()
    for word, item in words:
        kind = rrtype.parse(word)
        if kind is None or rrtype.is_meta(kind):
            parsed.report(item, f"{word} is no type of records", f"write some as TXT, or {_ALL}")
        elif kind == rrtype.SOA:
            parsed.report(item, "the SOA is changed in the zone file only", "leave it out")
        else:
            found.add(kind)
    return frozenset(found)
