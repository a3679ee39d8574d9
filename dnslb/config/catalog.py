"""What the directory that users edit holds, as one value: settings, zones and pools."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from dnslb.balance.pool import Pool
from dnslb.config.clients import Clients
from dnslb.config.files import Fingerprint
from dnslb.config.grants import Grants
from dnslb.config.keys import TsigKey
from dnslb.config.nameserver import TransferPolicy
from dnslb.config.replica import Replica
from dnslb.config.settings import Settings
from dnslb.dns import name
from dnslb.dns.name import Name
from dnslb.dns.zone import Zone


@dataclass(frozen=True, slots=True)
class ZoneSize:
    """How much there is of a zone."""

    records: int
    pools: int | None  # None: there is no policy file


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a directory holds."""

    settings: Settings
    zones: Mapping[Name, Zone]  # by apex; those without errors, of which there are records
    pools: Mapping[Name, Pool]  # by owner, folded; those without errors
    transfers: Mapping[Name, TransferPolicy] = field(default_factory=dict)  # of the zones that are transferred, by apex
    keys: Mapping[str, TsigKey] = field(default_factory=dict)  # by name
    clients: Mapping[Name, Clients] = field(default_factory=dict)  # whom zones answer that do not answer all, by apex
    cookie_secrets: tuple[bytes, ...] = field(default=(), repr=False)  # none: as the server likes
    updates: Mapping[Name, Grants] = field(default_factory=dict)  # of the zones that updates may change, by apex
    sources: frozenset[str] = frozenset()  # the zone files, and the files that they include
    sizes: Mapping[Name, ZoneSize] = field(default_factory=dict)  # of the zones
    fingerprint: Fingerprint = frozenset()  # of all files, from before they were read
    unfinished: frozenset[str] = frozenset()  # of the files, those that end in the middle of a line
    replicas: Mapping[Name, Replica] = field(default_factory=dict)  # zones that come from a primary, by apex

    @property
    def absent(self) -> frozenset[Name]:
        """The zones of which nothing has come yet, or nothing for too long."""
        return frozenset(self.replicas.keys() - self.zones.keys())

    def with_received(self, received: Catalog) -> Catalog:
        """These zones, with their pools, are as they have just come."""
        rest = self.without(received.zones)
        return replace(
            rest,
            zones={**self.zones, **received.zones},  # in their order
            pools={**rest.pools, **received.pools},
            transfers={**self.transfers, **received.transfers},
            clients={**self.clients, **received.clients},
            replicas={**self.replicas, **received.replicas},
        )

    def without(self, apexes: Container[Name]) -> Catalog:
        """These zones are not answered from."""
        apex_of = partial(name.closest, among={**self.zones, **self.replicas})
        return replace(
            self,
            zones={apex: zone for apex, zone in self.zones.items() if apex not in apexes},
            pools={owner: pool for owner, pool in self.pools.items() if apex_of(owner) not in apexes},
            transfers={apex: one for apex, one in self.transfers.items() if apex not in apexes},
        )

    def at(self, now: float) -> Catalog:
        """What may be answered from at this Unix time: without the zones that have expired (RFC 1034 §4.3.5)."""
        held = [(apex, one) for apex, one in self.replicas.items() if apex in self.zones]
        expired = {apex for apex, one in held if one.expires(self.zones[apex]) <= now}
        return self.without(expired) if expired else self

    @property
    def needs_state(self) -> bool:
        """Whether there is something that must survive a restart."""
        return bool(self.pools or self.replicas or self.updates)


NOTHING = Catalog(Settings(), {}, {})
