"""What came of reading a foreign configuration: files to be written, and a line for everything that was said there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count

import yaml

_LONGEST = 250  # octets of a file's name, without its ending


class Unreadable(Exception):
    """The configuration cannot be understood as a whole; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What was made of one statement."""

    place: str     # file:line
    what: str      # the statement, in short
    said: str      # what it became, or why it did not
    is_taken: bool


@dataclass(slots=True)
class Imported:
    files: dict[str, bytes] = field(default_factory=dict)  # by name, relative to the directory
    remarks: list[Remark] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)    # the file of each zone that none can be called after

    def add_zone(self, zone: str, octets: bytes) -> str:
        """The name of its file: that of the zone, or one that is like it if no file can have that."""
        if zone and "/" not in zone and len(zone.encode()) <= _LONGEST and f"{zone}.zone" not in self.files:
            file = f"{zone}.zone"
        else:
            stem = zone.replace("/", "-")[: _LONGEST - 10] or "root"
            names = (f"{stem}-{number}.zone" if number > 1 else f"{stem}.zone" for number in count(1))
            file = next(name for name in names if name not in self.files)
            self.named[zone or "."] = file
        self.files[file] = octets
        return file

    def add_settings(self, settings: Mapping[str, object]) -> None:
        """``dnslb.yaml``, if there is anything to say in it."""
        if said := dict(settings) | ({"zones": self.named} if self.named else {}):
            self.files["dnslb.yaml"] = yaml.safe_dump(said, sort_keys=False).encode()

    def take(self, place: str, what: str, said: str) -> None:
        self.remarks.append(Remark(place, what, said, is_taken=True))

    def leave(self, place: str, what: str, said: str) -> None:
        self.remarks.append(Remark(place, what, said, is_taken=False))


def lines(remarks: Iterable[Remark]) -> list[str]:
    """The report: what was taken, then what was not, each in the order of the source."""
    taken: list[str] = []
    left: list[str] = []
    for remark in remarks:
        (taken if remark.is_taken else left).append(f"  {remark.place}  {remark.what}: {remark.said}")
    return [f"taken ({len(taken)}):", *taken, f"not taken ({len(left)}):", *left]
