"""The last versions of a zone, as the steps from each to the next: a secondary fetches what it lacks.  Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from dnslb.dns.zone import RRset
from dnslb.transfer.content import Change


@dataclass(frozen=True, slots=True)
class Step:
    """From one serial to the next."""

    old: RRset  # the SOA of each
    new: RRset
    change: Change


def serial_of(soa: RRset) -> int:
    return int.from_bytes(soa.rdatas[0][-20:-16])


class Journal:
    """Steps, each of which begins where the one before ends; the oldest are let go of."""

    def __init__(self, most: int) -> None:
        """``most``: octets of all steps; a larger one is not kept, and none before it."""
        self._most = most
        self._octets = 0
        self._steps: deque[Step] = deque()

    def add(self, step: Step) -> None:
        if self._steps and self._steps[-1].new != step.old:
            self.clear()
        self._steps.append(step)
        self._octets += step.change.octets
        while self._steps and self._octets > self._most:
            self._octets -= self._steps.popleft().change.octets

    def clear(self) -> None:
        self._steps.clear()
        self._octets = 0

    def since(self, serial: int) -> list[Step] | None:
        """The steps from that version to the last one; None when it is not known any more."""
        for number, step in enumerate(self._steps):
            if serial_of(step.old) == serial:
                return list(self._steps)[number:]
        return None

    @property
    def last(self) -> int | None:
        """The serial of the last version, if a step led to it."""
        return serial_of(self._steps[-1].new) if self._steps else None

    @property
    def steps(self) -> list[Step]:
        return list(self._steps)
