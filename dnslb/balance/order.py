"""The order of the records in a reply, turn by turn.

Pure: turn and randomness are arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from functools import partial
from itertools import cycle, repeat
from random import Random
from typing import TypeAlias

Arrangement: TypeAlias = tuple[int, ...]  # positions of records, the leader first

_LAPS = 16  # for RANDOM: orders of the followers to draw from


class Order(Enum):
    """The words of BIND's ``rrset-order``."""

    CYCLIC = "cyclic"
    RANDOM = "random"
    NONE = "none"


def arrange(order: Order, n: int, turn: int) -> Arrangement:
    """The arrangement of ``n`` records on that turn; a turn is 0 to ``period(order, n)`` - 1.

    Cyclic: turn *t* starts at record *t*, the rest follow in ring order (RFC 1794 §2).  Random: record *t* mod *n*
    leads, and each lap of *n* turns has followers in an order of its own.
    """
    positions = tuple(range(n))
    match order:
        case Order.NONE:
            return positions
        case Order.CYCLIC:
            return positions[turn:] + positions[:turn]
        case Order.RANDOM:
            lap, leader = divmod(turn, n)
            followers = [position for position in positions if position != leader]
            Random(lap * n + leader).shuffle(followers)
            return (leader, *followers)


def period(order: Order, n: int) -> int:
    """How many turns there are before they repeat."""
    match order:
        case Order.NONE:
            return 1
        case Order.CYCLIC:
            return n
        case Order.RANDOM:
            return n * _LAPS


def turns(order: Order, n: int, rng: Random) -> Iterator[int]:
    """The turns that an RRset of ``n`` records takes, without end."""
    match order:
        case Order.NONE:
            return repeat(0)
        case Order.CYCLIC:
            return cycle(range(n))
        case Order.RANDOM:
            return iter(partial(rng.randrange, period(order, n)), -1)
