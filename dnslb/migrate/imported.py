"""What came of reading a foreign configuration: files to be written, and a line for everything that was said there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


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
