"""All pools, found by owner, by what their backends go by, and by address."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from typing import TypeVar

from dnslb.answer.served_pool import ServedPool
from dnslb.answer.snapshot import RRsetKey, Serving
from dnslb.balance.health import ProbeKey
from dnslb.balance.pool import Address, Backend, Pool
from dnslb.balance.verdicts import Verdicts
from dnslb.dns import rrtype
from dnslb.dns.name import Name

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class ServedPools(dict[Name, ServedPool]):
    """By owner.  A pool never changes, nor goes: a reload makes others; and who joins or leaves, one in its place."""

    def __init__(self, pools: Mapping[Name, Pool], verdicts: Verdicts) -> None:
        super().__init__()
        self._verdicts = verdicts
        self._users: dict[ProbeKey, list[tuple[ServedPool, tuple[Backend, ...]]]] = {}
        self._holders: dict[Address, list[ServedPool]] = {}
        self._laden: dict[ProbeKey, list[ServedPool]] = {}
        for owner, pool in pools.items():
            self.add(owner, pool)

    def add(self, owner: Name, pool: Pool) -> ServedPool:
        """One more."""
        served = self[owner] = ServedPool(owner, pool, self._verdicts)
        by_target: dict[Address, tuple[Backend, ...]] = {}
        for backend in pool.backends:
            self._holders.setdefault(backend.address, []).append(served)
            by_target[backend.target] = (*by_target.get(backend.target, ()), backend)
        if pool.probe is not None:
            for target, backends in by_target.items():
                self._users.setdefault((pool.probe, target), []).append((served, backends))
        if pool.load is not None:
            for target in by_target:
                self._laden.setdefault((pool.load.told_by, target), []).append(served)
        return served

    def replace(self, owner: Name, pool: Pool, now: float) -> ServedPool:
        """Another in the place of the one that was served under the name, which goes on from that."""
        old = self[owner]
        for backend in old.pool.backends:
            _remove(self._holders, backend.address, lambda served: served is old)
            if old.pool.probe is not None:
                _remove(self._users, (old.pool.probe, backend.target), lambda user: user[0] is old)
            if old.pool.load is not None:
                _remove(self._laden, (old.pool.load.told_by, backend.target), lambda served: served is old)
        served = self.add(owner, pool)
        served.succeed(old, now)
        return served

    @property
    def probed(self) -> Collection[ProbeKey]:
        """All that must be probed."""
        return self._users.keys()

    def going_by(self, key: ProbeKey) -> Sequence[tuple[ServedPool, tuple[Backend, ...]]]:
        """The pools with backends that go by this key, and those."""
        return self._users.get(key, ())

    @property
    def telling_load(self) -> Set[ProbeKey]:
        """All that tells how busy backends are."""
        return self._laden.keys()

    def laden_by(self, key: ProbeKey) -> Sequence[ServedPool]:
        """The pools with backends whose load this key tells."""
        # Where nobody wants to know, nothing is looked up: that takes its time.
        return self._laden.get(key, ()) if self._laden else ()

    def holding(self, address: Address) -> Sequence[ServedPool]:
        """The pools that have the address."""
        return self._holders.get(address, ())

    def rdatas(self) -> dict[RRsetKey, set[bytes]]:
        """Every address of every pool, handed out or not."""
        found: dict[RRsetKey, set[bytes]] = {}
        for owner, served in self.items():
            for backend in served.pool.backends:
                key = owner, rrtype.ADDRESS_TYPES[backend.address.version]
                found.setdefault(key, set()).add(backend.address.packed)
        return found

    def servings(self) -> dict[RRsetKey, Serving]:
        """What all pools serve, as last worked out."""
        return {
            (owner, rrtype.ADDRESS_TYPES[version]): rrset.serving
            for owner, served in self.items()
            for version, rrset in served.rrsets.items()
        }

    @property
    def counted(self) -> set[RRsetKey]:
        """The RRsets of which is counted who asks for them."""
        return {
            (owner, rrtype.ADDRESS_TYPES[version])
            for owner, served in self.items()
            for version in (served.pool.zone_ttls if served.pool.counts_load else ())
        }

    @property
    def going_by_load(self) -> list[ServedPool]:
        """The pools whose answers differ by the hidden load of who asks."""
        return [served for served in self.values() if served.pool.goes_by_load]

    def last_changes(self, now: float) -> dict[str, float]:
        """When answers changed, by RRset, as far as that matters still: their TTLs have not climbed yet."""
        return {label: at for served in self.values() for label, at in served.last_changes(now).items()}


def _remove(lists: dict[_Key, list[_Value]], key: _Key, is_it: Callable[[_Value], bool]) -> None:
    """Leave no list empty."""
    left = [each for each in lists.get(key, ()) if not is_it(each)]
    if left:
        lists[key] = left
    else:
        lists.pop(key, None)
