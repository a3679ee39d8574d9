"""``zones:`` of ``dnslb.yaml``: zones whose files have other names, since their own are too long for a file.

Pure: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dnslb.dns import name
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.text.document import Document
from dnslb.text.yaml_tree import Node

_SUFFIX = ".zone"


@dataclass(frozen=True, slots=True)
class NamedZone:
    """A zone, and the name of its file in the directory."""

    apex: Name  # folded
    file: str
    line: int = field(default=0, compare=False)  # of the file's name in dnslb.yaml
    column: int = field(default=0, compare=False)


def read(parsed: Document, node: Node) -> tuple[NamedZone, ...]:
    """Those without mistakes; the mistakes are reported."""
    found: list[NamedZone] = []
    for word, key, value in parsed.entries(node, "zones"):
        try:
            apex = name.fold(name.parse(word.rstrip(".") + ".", name.ROOT))
        except Mistaken as error:
            parsed.report(key, error.mistake.fact, error.mistake.remedy)
            continue
        file = parsed.text(value)
        if file is None:
            continue
        others = {zone.file: zone for zone in found}
        if not file.endswith(_SUFFIX) or file.startswith(".") or "/" in file:
            fact = f"{file} is no zone file in this directory"
            parsed.report(value, fact, "write its name, as in short.zone")
        elif file in others:
            fact = f"{file} is the file of {name.text(others[file].apex)} already"
            parsed.report(value, fact, "give each zone its own")
        elif any(zone.apex == apex for zone in found):
            parsed.report(key, f"{word} is a zone already", "remove one of the two")
        else:
            found.append(NamedZone(apex, file, value.line, value.column))
    return tuple(found)
