"""What is asked most, and who asks most, as it is told to operators."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TopQuestion:
    name: str
    type: str
    queries: int  # about: not more
    error: int    # and not less than this below it


@dataclass(frozen=True, slots=True)
class TopClient:
    client: str   # an IPv4 address, or an IPv6 /64
    queries: int
    error: int


@dataclass(frozen=True, slots=True)
class TopQueries:
    """Of the last seconds.  Counting has begun when this was first asked, and ends when nobody has for a while."""

    seconds: float
    queries: int
    workers: int  # that have told
    names: tuple[TopQuestion, ...]    # the most asked first
    clients: tuple[TopClient, ...]
