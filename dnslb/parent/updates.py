"""Updates (RFC 2136): what keys may change lies over the zone files, and is there to stay before the peer is told.

It is answered when a generation has taken over that has it: at once, and then once in a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from dnslb.config.catalog import Catalog
from dnslb.config.grants import Grant
from dnslb.control.errors import Rejected, Unknown
from dnslb.control.updated import UpdatedRRset
from dnslb.dns import name, overlay, rdata, rrtype, update
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name, closest
from dnslb.dns.overlay import Overlay
from dnslb.dns.update import Changes, Record, Refused
from dnslb.dns.zone import Node, Zone, find
from dnslb.parent import update_journal
from dnslb.parent.update_journal import Journal, NotWritten
from dnslb.transfer.messages import UpdateRequest

_MOST = 10_000       # names that differ from the zone files, in all: each new generation lays them over
_MOST_RECORDS = 1000  # of one name and type
_ADDRESSES = frozenset(rrtype.ADDRESS_TYPES.values())

_log = logging.getLogger("dnslb")


class Updates:
    """``is_ours`` says whether the state directory is; until then nothing can be changed."""

    def __init__(self, directory: Path, is_ours: Callable[[], bool]) -> None:
        self.overlays: Mapping[Name, Overlay] = {}  # that are there to stay, by apex
        self._wanted: Mapping[Name, Overlay] = {}   # with what is being written
        self.changed = asyncio.Event()              # set when these are others than those that are answered
        self.counts: Counter[int] = Counter()       # of updates, by their rcode
        self._path = directory / update_journal.NAME
        self._is_ours = is_ours
        self._journal = Journal(self._path, lambda: update_journal.text(self.overlays), self._give_up)
        self._refused: frozenset[Name] = frozenset()  # owners at which the zone files count

    def recall(self) -> None:
        """Take up what an earlier life of the server has left."""
        found = update_journal.load(self._path)
        if found != self.overlays:
            self.overlays = self._wanted = found
            self.changed.set()

    def serve_later(self) -> None:
        """What was to be answered is not yet."""
        if self.overlays:
            self.changed.set()

    async def stop(self) -> None:
        await self._journal.stop()

    def laid_over(self, catalog: Catalog) -> Catalog:
        """The catalog with what was changed in its zones, as far as they permit that.

        To be asked for when that is to be answered.
        """
        self.changed.clear()
        zones, refused = dict(catalog.zones), set[Name]()
        for apex, one in self.overlays.items():
            if apex in catalog.updates:
                zones[apex], conflicts = overlay.laid_over(zones[apex], one)
                refused.update(conflicts)
        for owner in sorted(refused - self._refused):
            _log.warning("%s: an update and the zone file do not go together there; the file counts", name.text(owner))
        self._refused = frozenset(refused)
        return replace(catalog, zones=zones) if self.overlays else catalog

    async def give(self, asked: UpdateRequest, catalog: Catalog) -> tuple[int, str]:
        """The response code, and for the log why nothing was changed.  ``catalog``: as it is in the files."""
        try:
            await self._carry_out(asked, catalog)
        except Refused as refused:
            rcode, reason = refused.rcode, refused.reason
        except NotWritten:
            rcode, reason = rrtype.SERVFAIL, ""
        else:
            rcode, reason = rrtype.NOERROR, ""
        self.counts[rcode] += 1
        # What has to be so, and is not, is a matter of the peer's.
        return rcode, reason if rcode in {rrtype.REFUSED, rrtype.NOTAUTH, rrtype.FORMERR, rrtype.NOTZONE} else ""

    def told(self) -> Iterator[UpdatedRRset]:
        """All that differs from the files."""
        for apex, one in self.overlays.items():
            for owner, kinds in one.owners.items():
                for kind, each in kinds.items():
                    added, removed = (tuple(rdata.text(kind, octets) for octets in some) for some in each[1:])
                    yield UpdatedRRset(
                        name.text(apex), name.text(owner), rrtype.text(kind), each.ttl, added, removed
                    )

    def number(self, apex: Name) -> int:
        """RRsets of a zone that differ from its file."""
        return sum(map(len, self.overlays[apex].owners.values())) if apex in self.overlays else 0

    async def drop(self, text: str, word: str | None, by: str) -> int:
        """Serve what the zone files say at the name again; of one type, or all.  The number of RRsets.

        The name of a zone with no type stands for all of it.  Raises Unknown, Rejected.
        """
        kind = None if word is None else rrtype.parse(word)
        try:
            owner = name.fold(name.parse(text.rstrip(".") + ".", name.ROOT))
        except Mistaken as error:
            raise Unknown(error.mistake.fact, error.mistake.remedy) from None
        if word is not None and kind is None:
            raise Unknown(f"{word} is no type of records", "write one as TXT")
        apex = closest(owner, self._wanted)
        before = Overlay() if apex is None else self._wanted[apex]
        gone = {
            (each, one): overlay.Difference(None, ())
            for each, kinds in before.owners.items() if each == owner or (owner == apex and kind is None)
            for one in kinds if kind in {None, one}
        }  # fmt: skip
        if apex is None or not gone:
            raise Unknown(f"no update has changed {text}", "see dnslb updates")
        try:
            await self._keep(apex, before.amended(gone), gone, by)
        except NotWritten as error:
            raise Rejected(f"{self._path} cannot be written: {error}", "see the log of the server") from None
        return len(gone)

    async def _carry_out(self, asked: UpdateRequest, catalog: Catalog) -> None:
        """Raises Refused, NotWritten."""
        apex, zone = asked.apex, catalog.zones.get(asked.apex)
        if zone is None:
            raise Refused(rrtype.NOTAUTH, f"{name.text(apex)} is no zone of ours")
        grant = None if asked.key is None else catalog.updates.get(apex, {}).get(asked.key)
        if grant is None:
            whose = "who does not sign" if asked.key is None else f"the key {asked.key}"
            raise Refused(rrtype.REFUSED, f"{whose} may not change {name.text(apex)}")
        before = self._wanted.get(apex, Overlay())
        update.check_updates(apex, asked.updates)
        for one in asked.updates:
            _check_right(catalog, zone, before, asked.key or "", grant, one)

        def read(owner: Name) -> Node:
            return before.node(zone, owner)

        update.check_prerequisites(apex, read, asked.prerequisites)
        changes = update.changes(apex, read, asked.updates)
        if not changes:
            return
        if not self._is_ours():
            raise NotWritten("the state directory is not ours")
        differences = _differences(zone, changes)
        after = before.amended(differences)
        rest = sum(len(one.owners) for each, one in self._wanted.items() if each != apex)
        if rest + len(after.owners) > max(_MOST, rest + len(before.owners)):
            raise Refused(rrtype.REFUSED, f"more than {_MOST} names differ from the zone files")
        if any(rrset is not None and len(rrset.rdatas) > _MOST_RECORDS for rrset in changes.values()):
            raise Refused(rrtype.REFUSED, f"more than {_MOST_RECORDS} records of one name and type")
        await self._keep(apex, after, differences, asked.key or "")

    async def _keep(
        self, apex: Name, after: Overlay, differences: Mapping[overlay.Key, overlay.Difference], by: str
    ) -> None:
        """Raises NotWritten."""
        self._wanted = wanted = {**self._wanted, apex: after}
        await self._journal.append(update_journal.line(apex, after, differences, by))
        self.overlays = wanted
        self.changed.set()

    def _give_up(self) -> None:
        """What was being written is not there to stay."""
        self._wanted = self.overlays


def _differences(zone: Zone, changes: Changes) -> dict[overlay.Key, overlay.Difference]:
    return {
        (owner, kind): overlay.difference(find(zone.nodes.get(owner, ()), kind), rrset)
        for (owner, kind), rrset in changes.items()
    }


def _check_right(  # noqa: PLR0913, PLR0917 - where, who, and what
    catalog: Catalog, zone: Zone, before: Overlay, key: str, grant: Grant, one: Record
) -> None:
    """Raises Refused."""
    if closest(one.owner, catalog.zones) != zone.apex:
        raise Refused(rrtype.NOTZONE, f"{name.text(one.owner)} is in another zone of ours")
    kinds = [one.rrtype]
    if one.rrtype == rrtype.ANY:
        # All that is there; and at the apex SOA and NS stay anyway.
        kept = {rrtype.SOA, rrtype.NS} if one.owner == zone.apex else set()
        kinds = [rrset.rrtype for rrset in before.node(zone, one.owner) if rrset.rrtype not in kept]
    for kind in kinds:
        is_removal = one.rrclass != rrtype.IN and one.owner == zone.apex and kind == rrtype.SOA
        if not is_removal and not grant.allows(zone.apex, one.owner, kind):
            raise Refused(rrtype.REFUSED, f"the key {key} may not change {name.text(one.owner)} {rrtype.text(kind)}")
        if kind in _ADDRESSES and one.owner in catalog.pools:
            fact = f"{name.text(one.owner)} is a pool: its addresses are those of the zone file, and who joins it"
            raise Refused(rrtype.REFUSED, fact)
