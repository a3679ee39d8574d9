"""The last hour in samples: of the queries, and of each RRset of a pool.

Pure: no clock, no I/O.  All of it is bounded: so many samples, so many RRsets, so many addresses of each.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address
from itertools import groupby

from dnslb.answer.served_pool import ServedPool
from dnslb.control.timeline import Led, RRsetTimeline
from dnslb.dns import rrtype

SAMPLES = 360       # an hour of one each ten seconds
STRETCH = 6         # samples, in which leading answers are counted: a minute
MOST_ADDRESSES = 8  # of an RRset, whose leading answers are counted


class Ring:
    """The last so many numbers, in four octets each."""

    __slots__ = ("_most", "_numbers")

    def __init__(self, most: int) -> None:
        self._most = most
        self._numbers = array("I")

    def add(self, number: int) -> None:
        if len(self._numbers) == self._most:
            del self._numbers[0]
        self._numbers.append(min(number, 0xFFFFFFFF))

    def numbers(self) -> tuple[int, ...]:
        """Oldest first."""
        return tuple(self._numbers)

    def runs(self) -> tuple[tuple[int, int], ...]:
        """Each value and how often it came in a row, oldest first."""
        return tuple((value, len(list(same))) for value, same in groupby(self._numbers))


class Counted:
    """A count that only grows, told as what it grew by."""

    __slots__ = ("_before", "ring")

    def __init__(self, most: int, before: int) -> None:
        self.ring = Ring(most)
        self._before = before

    def sample(self, count: int) -> None:
        self.ring.add(max(0, count - self._before))
        self._before = count


class RRsetSeries:
    """The samples of one RRset of a pool."""

    __slots__ = ("_good", "_led", "_of", "_samples", "_ttl", "_up")

    def __init__(self) -> None:
        self._ttl, self._up = Ring(SAMPLES), Ring(SAMPLES)
        self._led: dict[bytes, Counted] = {}
        self._of = self._samples = self._good = 0

    def sample(self, pool: ServedPool, version: int, led: Mapping[bytes, int]) -> None:
        """``led`` are the answers that each address has led since the start."""
        served, backends = pool.rrsets[version], pool.backends(version)
        verdicts = [pool.judgement.verdict(backend) for backend in backends]
        self._ttl.add(served.ttl.seconds)
        self._up.add(sum(verdict is None or verdict.up for verdict in verdicts))
        self._of = len(backends)
        is_good = not served.selection.fails_open and bool(served.selection.shares) and not pool.is_withheld(version)
        self._good += is_good
        if self._samples % STRETCH == 0:
            self._sample_led([backend.address.packed for backend in backends[:MOST_ADDRESSES]], led)
        self._samples += 1

    def _sample_led(self, addresses: Collection[bytes], led: Mapping[bytes, int]) -> None:
        self._led = {each: counted for each, counted in self._led.items() if each in addresses}
        for each in addresses:
            if each in self._led:
                self._led[each].sample(led.get(each, 0))
            else:
                self._led[each] = Counted(SAMPLES // STRETCH, led.get(each, 0))

    def told(self, owner: str, version: int) -> RRsetTimeline:
        return RRsetTimeline(
            owner=owner,
            type=rrtype.address_text(version),
            ttl=self._ttl.runs(),
            up=self._up.runs(),
            of=self._of,
            available=self._good / self._samples if self._samples else 1.0,
            led=tuple(self._leads()),
        )

    def _leads(self) -> Iterable[Led]:
        for packed, counted in self._led.items():
            yield Led(str(ip_address(packed)), counted.ring.numbers())
