"""What an order would do, told before it is given: values only.  Times are Unix times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dnslb.control.status import OrderStatus


@dataclass(frozen=True, slots=True)
class RRsetEffect:
    """What an order would do to one RRset, by what is known now."""

    owner: str
    type: str
    addresses: tuple[str, ...]  # that the order is about
    of: int                     # addresses of the RRset
    before: int                 # of them, those that are handed out now
    after: int                  # and would be
    fails_open: bool            # those would be down
    expires: float | None       # when the last cached copy of what is taken out would; None: nothing is


@dataclass(frozen=True, slots=True)
class Effect:
    """What an order would do."""

    rrsets: Iterable[RRsetEffect | None]
    standing: Iterable[OrderStatus]  # the orders that stand now for the same addresses
    refused: str = ""                # why a pool forbids it, unless it is forced
