"""Which zone a file is named after, and ``zones:`` of ``dnslb.yaml``: zones whose names are too long for a file.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dnslb.dns import name
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.text.document import Document
from dnslb.text.problem import Level, Problem
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


def apex_of(path: Path, named: Mapping[str, Name], problems: list[Problem]) -> Name | None:
    """The zone that the file is named after, or that the settings say."""
    if path.stem in named:
        return named[path.stem]
    try:
        return name.fold(name.parse(path.stem.rstrip(".") + ".", name.ROOT))
    except Mistaken as error:
        remedy = "name the file after its zone: example.com.zone"
        problems.append(Problem(Level.ERROR, str(path), 0, 0, error.mistake.fact, remedy))
        return None
