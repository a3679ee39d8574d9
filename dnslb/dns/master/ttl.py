"""The TTLs of records: written, set by ``$TTL``, or known from what stands before (RFC 2308 §4)."""

from __future__ import annotations

from collections.abc import Callable

from dnslb.dns import interval, rrtype
from dnslb.dns.master.head import MAX_TTL, Head, check_ttl
from dnslb.dns.mistake import Mistake, Mistaken, Part, warning


class Ttls:
    """Finds the TTL of each record; remembers what earlier entries of the zone say about it."""

    def __init__(self, report: Callable[[int, Mistake], None]) -> None:
        self._report = report
        self._default: int | None = None  # of $TTL, or for want of it the SOA's minimum
        self._last: int | None = None     # that was written with a record

    def of(self, head: Head, rdata: bytes, place: int) -> int:
        """The record's TTL in seconds.  Raises Mistaken when it is not known: then the type is what is wrong."""
        seconds = head.ttl
        if seconds is None:
            return self._omitted(head.rrtype, rdata, place) if self._default is None else self._default
        if seconds > MAX_TTL:
            seconds = self._overflow(seconds, place, Part.TTL)
        self._last = seconds
        return seconds

    def _omitted(self, type_: int, rdata: bytes, place: int) -> int:
        """Without $TTL the last that was written; else, for the SOA and what follows, its minimum as in BIND."""
        if self._last is not None:
            return self._last
        if type_ != rrtype.SOA:
            self._default = 0  # said once
            raise Mistaken("no TTL here, and none before", "begin the file with $TTL, such as $TTL 1h")
        self._default = min(int.from_bytes(rdata[-4:]), MAX_TTL)
        remedy = f"begin the file with $TTL {self._default}"
        self._report(place, warning(Part.TYPE, "no $TTL; the SOA's minimum is the default TTL", remedy))
        return self._default

    def set_default(self, word: str, place: int) -> None:
        """Obey ``$TTL word``.  Raises Mistaken."""
        seconds = interval.parse(word)
        if seconds is None:
            self._default = self._default or 0
            raise Mistaken(f"{word} is no TTL", "write seconds, or units as in 1h30m", 1)
        if check_ttl(seconds, word, 1) > MAX_TTL:
            seconds = self._overflow(seconds, place, Part.WORD, 1)
        self._default = seconds

    def _overflow(self, seconds: int, place: int, part: Part, word: int = 0) -> int:
        fact = f"the TTL {seconds} is above {MAX_TTL}, and means 0"
        self._report(place, warning(part, fact, "write a lower one (RFC 2181 §8)", word))
        return 0
