"""What a question would be answered with at the moment: values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """As in a zone file."""

    owner: str
    ttl: int
    type: str
    data: str


@dataclass(frozen=True, slots=True)
class Lookup:
    rcode: str
    authoritative: bool
    answer: tuple[Record, ...]
    authority: tuple[Record, ...]
    additional: tuple[Record, ...]
    withheld: bool = False  # queries get no reply yet, since nobody knows who is up
