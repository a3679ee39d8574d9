"""A zone that comes in, record by record: AXFR (RFC 5936 §2.2) or IXFR (RFC 1995 §4), as lines of a master file.

A primary may be broken or hostile: what is no transfer of the zone that was asked for is Broken.  Whether the zone is
fit to be served is found out by who reads the lines.  Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from dnslb.dns import name, rdata, rrtype
from dnslb.dns import soa as soas
from dnslb.dns.name import Name
from dnslb.system.file import MOST_ZONE
from dnslb.transfer.serial import is_newer

_MOST_CHANGES = MOST_ZONE >> 2  # octets of lines that differ: they are held in memory; above it a zone comes whole


class Broken(Exception):
    """What came is no transfer of this zone; the text says why."""


class Current(Exception):
    """We have what the primary has, or something newer."""


class Record(NamedTuple):
    owner: Name   # folded
    rrtype: int
    ttl: int      # seconds
    rdata: bytes  # uncompressed

    @property
    def key(self) -> str:
        """All but the TTL, which is no part of what a record is (RFC 2181 §5.2)."""
        return f"{name.text(self.owner)} IN {rrtype.text(self.rrtype)} {rdata.text(self.rrtype, self.rdata)}"


class _Stage(Enum):
    BEGUN = "nothing has come, or the first SOA"
    ALL = "the whole zone"
    REMOVED = "what the next version has not any more"
    ADDED = "what it has instead"
    WHOLE = "the end has come"


@dataclass(slots=True)
class Receipt:
    """What has come up to now of one transfer."""

    apex: Name
    held: int | None          # the serial that we have, if the difference was asked for
    new: Record | None = None  # the SOA of what comes
    octets: int = 0            # of lines
    is_difference: bool = False  # then it is ``applied`` to what is held, instead of being written as it comes
    _stage: _Stage = _Stage.BEGUN
    _serial: int = 0           # of the version that the last difference leads to
    _removed: set[str] = field(default_factory=set)
    _added: dict[str, int] = field(default_factory=dict)  # TTLs

    @property
    def serial(self) -> int:
        return 0 if self.new is None else soas.read(self.new.rdata).serial

    @property
    def soa(self) -> bytes:
        """The data of the new SOA."""
        return b"" if self.new is None else self.new.rdata

    def end_message(self) -> None:
        """Raises Current when a lone SOA says that nothing is to come (RFC 1995 §4)."""
        is_lone = self._stage is _Stage.BEGUN and self.new is not None
        if is_lone and self.held is not None and not is_newer(self.serial, self.held):
            raise Current

    @property
    def is_whole(self) -> bool:
        return self._stage is _Stage.WHOLE

    def take(self, record: Record) -> list[str]:
        """The lines to be written because of this record.  Raises Broken."""
        if not name.is_at_or_below(record.owner, self.apex):
            raise Broken(f"it sends {name.text(record.owner)}, which is outside the zone")
        if rrtype.is_meta(record.rrtype):
            raise Broken(f"it sends a record of type {rrtype.text(record.rrtype)}, which no zone has")
        is_soa = record.rrtype == rrtype.SOA
        if is_soa and (record.owner != self.apex or len(record.rdata) < 22):
            raise Broken(f"it sends an SOA of {name.text(record.owner)} that is none")
        if self.new is None:
            if not is_soa:
                raise Broken(f"it begins with {rrtype.text(record.rrtype)}, not with the SOA")
            self.new = record
            return []
        match self._stage:
            case _Stage.BEGUN:
                return self._begin(record, self.new)
            case _Stage.ALL:
                return self._add_to_all(record)
            case _Stage.REMOVED | _Stage.ADDED:
                self._change(record)
                return []
            case _Stage.WHOLE:
                raise Broken("it goes on after its end")

    def applied(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines of the new version, of those of the one that is held.  Raises Broken."""
        if self.new is None:
            raise Broken("nothing has come")
        yield line(self.new)
        missing = set(self._removed)
        for each in lines:
            owner, _, rest = each.rstrip("\n").split(" ", 2)
            if rest.startswith("IN SOA "):
                continue
            key = f"{owner} {rest}"
            missing.discard(key)
            if key not in self._removed and key not in self._added:
                yield each
        if missing:
            raise Broken(f"it removes what we do not have: {min(missing)}")
        for key, ttl in self._added.items():
            owner, rest = key.split(" ", 1)
            yield f"{owner} {ttl} {rest}\n"

    def _begin(self, record: Record, new: Record) -> list[str]:
        """The second record says which sort of transfer it is (RFC 1995 §4)."""
        if record.rrtype == rrtype.SOA and record.rdata != new.rdata:
            if self.held is None or soas.read(record.rdata).serial != self.held:
                raise Broken(f"it sends a difference to serial {soas.read(record.rdata).serial}, which we do not have")
            self._stage, self.is_difference = _Stage.REMOVED, True
            return []
        self._stage = _Stage.ALL
        return [self._counted(new), *self._add_to_all(record)]

    def _add_to_all(self, record: Record) -> list[str]:
        if record.rrtype != rrtype.SOA:
            return [self._counted(record)]
        if self.new is None or record.rdata != self.new.rdata:
            raise Broken("it ends with another SOA than it began with")
        self._stage = _Stage.WHOLE
        return []

    def _change(self, record: Record) -> None:
        if record.rrtype == rrtype.SOA:
            self._turn(soas.read(record.rdata).serial)
            return
        key = record.key
        self.octets += len(key) + 20
        if self.octets > _MOST_CHANGES:
            raise Broken(f"its difference has more than {_MOST_CHANGES >> 20} MB")
        if self._stage is _Stage.ADDED:
            self._added[key] = record.ttl
        elif key in self._added:
            del self._added[key]
        else:
            self._removed.add(key)

    def _turn(self, serial: int) -> None:
        """An SOA stands between what is removed and what is added, between two differences, and at the end."""
        if self._stage is _Stage.REMOVED:
            self._stage, self._serial = _Stage.ADDED, serial
        elif serial != self._serial:
            raise Broken(f"a difference to serial {self._serial} is followed by one from {serial}")
        else:
            self._stage = _Stage.WHOLE if serial == self.serial else _Stage.REMOVED

    def _counted(self, record: Record) -> str:
        text = line(record)
        self.octets += len(text)
        if self.octets > MOST_ZONE:
            raise Broken(f"it has more than {MOST_ZONE >> 20} MB")
        return text


def line(record: Record) -> str:
    """As a master file writes it."""
    owner, rest = record.key.split(" ", 1)
    return f"{owner} {record.ttl} {rest}\n"
