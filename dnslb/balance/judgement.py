"""How a pool judges its backends before each has a verdict of its own, and whom it waits for.

Pure: no clock, no I/O, no logging.

Nobody waits for probes but who asks for a pool of which nothing is known:

- A pool that is new is withheld until all its backends that no order takes out have an outcome, for each type of its
  own; and when probes have had their time (``lose_patience``) those without one count as up.  Queries for it get no
  reply meanwhile: a resolver asks again, while it would keep an error.
- What an earlier life of the server has left counts at once.  Who was down is down.  Who was up, when the server left,
  is up for as long as caches may hold its last answers, but no more than 5 minutes; after that it is unknown.
- A new backend of a pool that is served already is not handed out beside others that are up until it has passed; nor
  is one that was up, and then not probed for a while, in maint.  When it cannot be probed, and that is our fault, it
  counts as up after the same time.  The operator may have it handed out at once (``trust``).
- Under a new probe all backends of a pool go by their last verdicts for a moment: else whoever passes first would get
  all clients until the next one does, for as long as caches keep that answer.  After it those that were up, and have
  not passed, are handed out only when no other has; those that were down stay down.
- Who was down in an earlier life of the server, and passes now, is probed quickly on to ``rise`` while no other of the
  pool is up.  Where the answer would be empty (``when_all_down: none``) until then, it is withheld.

What is handed out without having been probed since the start, or while it cannot be probed, has the lowest TTL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dnslb.balance.health import NOT_YET, Health, ProbeKey
from dnslb.balance.operator_order import Mode, Order, Scope, mode_for
from dnslb.balance.pool import Address, AllDown, Backend, Pool
from dnslb.balance.verdicts import Finding, Verdicts

_UNJUDGED = "is not judged yet"
_UNCONFIRMED = "has not been probed since the start"
_UP = Health()


class Judgement:
    """How one pool judges its backends.  The verdicts are shared by all pools; what stands here is its own."""

    def __init__(self, pool: Pool, verdicts: Verdicts) -> None:
        self.awaited: set[ProbeKey] = set()          # of which nothing is known, and which do not count as up yet
        self.stand_ins: dict[ProbeKey, Health] = {}  # by what went before, until there is an outcome
        self.withheld: set[int] = set()              # IP versions that are not served yet
        self.served: set[int] = set()                # IP versions that have been served, by this generation or before
        self._pool = pool
        self._verdicts = verdicts
        self._targets = len({backend.target for backend in pool.backends})
        # What is probed instead of a backend.
        self._proxies = {
            backend.address: backend.probe_address for backend in pool.backends if backend.probe_address is not None
        }

    # Before the pool is served.

    def begin(self, now: float) -> None:
        """Find out which backends the pool has to wait for, and withhold its RRsets until it has been served once."""
        verdicts, asked = self._verdicts, keys(self._pool)
        unknown = {key for key in asked if key in self.awaited or not verdicts.are_believed(self._pool, key, now)}
        verdicts.returning |= {key for key in asked if key in verdicts.recalled and not verdicts.healths[key].up}
        self.stand_ins = {key: health for key, health in self.stand_ins.items() if key in unknown}
        self.awaited = unknown - self.stand_ins.keys()
        self.withheld = self._pool.zone_ttls.keys() - self.served

    def follow(self, old: Judgement) -> None:
        """The pool was served before a reload: who waited waits on, and verdicts of that time stand in for others."""
        self.awaited = old.awaited & set(keys(self._pool))
        self.stand_in(old._by_backend())

    def stand_in(self, verdicts: Mapping[Address, Health]) -> None:
        """Go by these verdicts on backends until the pool's own probe has found others."""
        if self._pool.probe is not None:
            self.stand_ins = {
                (self._pool.probe, backend.target): verdicts[backend.address]
                for backend in self._pool.backends
                if backend.address in verdicts
            }

    # What changes.

    def record(self, finding: Finding) -> bool:
        """A probe of a backend has ended.  Whether the verdict is another than the pool went by."""
        key, believed = finding.key, self.stand_ins.pop(finding.key, finding.before)
        was_up = None if finding.was_doubted and key in self.awaited else believed is None or believed.up
        self.awaited.discard(key)
        return was_up is not finding.after.up

    def record_fault(self, key: ProbeKey) -> None:
        """A backend cannot be probed: once probes have had their time, nobody waits for that."""
        if not self._verdicts.is_patient:
            self.awaited.discard(key)

    def doubt(self, key: ProbeKey) -> None:
        """Nobody has probed the target for a while: it has to pass before it is handed out beside others."""
        self.stand_ins.pop(key, None)
        self.awaited.add(key)

    def trust(self, address: Address) -> bool:
        """Hand it out though it has not passed yet, unless it is known to be down.  Whether that changes anything."""
        if not self.awaits(address):
            return False
        self.awaited.discard(self._key(address))
        return True

    def judge_anew(self) -> bool:
        """New probes have had their moment: last verdicts do not stand in any more.  Whether that changes anything."""
        late = {key for key, health in self.stand_ins.items() if health.up and key not in self._verdicts.faults}
        self.stand_ins = {key: health for key, health in self.stand_ins.items() if key not in late}
        self.awaited |= late
        return bool(late)

    def lose_patience(self) -> list[Backend]:
        """Probes have had their time: nothing is withheld from now on.  Gives who counts as up though not judged."""
        late = self.awaited if self.withheld else self.awaited & self._verdicts.faults.keys()
        self.awaited = self.awaited - late
        targets = {target for _, target in late}
        return [backend for backend in self._pool.backends if backend.target in targets] if late else []

    # What follows.

    def awaits(self, address: Address) -> bool:
        """Whether the address has to pass a probe before it is handed out beside others."""
        return self._key(address) in self.awaited

    def verdict(self, backend: Backend) -> Health | None:
        """What the pool goes by; None when it knows nothing of the backend, or does not probe it."""
        return self.known().get(backend.target)

    def known(self) -> dict[Address, Health]:
        """What the pool goes by, by probed address."""
        asked, healths = keys(self._pool), self._verdicts.healths
        known = {key[1]: health for key in asked if (health := healths.get(key)) is not None}
        if self.awaited or self.stand_ins:  # seldom; and to look a key up takes its time
            known |= {key[1]: health for key, health in self.stand_ins.items()}
            known = {key[1]: known[key[1]] for key in asked if key[1] in known and key not in self.awaited}
        return known

    def unsure(self, backend: Backend) -> str:
        """Why nobody knows whether the backend is up, or still is; nothing when it is known."""
        if self._pool.probe is None:
            return ""
        key, verdicts = (self._pool.probe, backend.target), self._verdicts
        if key in verdicts.faults:
            return f"cannot be probed: {verdicts.faults[key]}"
        if key in verdicts.recalled and key not in self.awaited:
            return _UNCONFIRMED
        is_open = key in self.awaited or key in self.stand_ins or key in verdicts.doubted
        return "" if key in verdicts.healths and not is_open else _UNJUDGED

    def all_unsure(self, known: Mapping[Address, Health]) -> dict[Address, str]:
        """Why nobody knows of each backend whether it is up, by probed address; empty when all are known."""
        # Seldom anybody is, and to look a key up takes its time.
        if len(known) == self._targets and self._verdicts.are_sure and not self.stand_ins:
            return {}
        return {backend.target: self.unsure(backend) for backend in self._pool.backends}

    def without_awaited(
        self, version: int, known: dict[Address, Health], orders: Mapping[Scope, Order], now: float
    ) -> dict[Address, Health]:
        """What one RRset goes by: who is not judged yet counts as down, if another can be handed out."""
        if not self.awaited:
            return known
        awaited = {target for _, target in self.awaited}
        others = (backend for backend in self._ready(version, orders, now) if backend.target not in awaited)
        if not any(known.get(backend.target, _UP).up for backend in others):
            return known
        return known | dict.fromkeys(awaited, NOT_YET)

    def withhold(
        self, known: Mapping[Address, Health], orders: Mapping[Scope, Order], now: float
    ) -> list[ProbeKey]:
        """See what must not be served yet: what waits for verdicts, and what would be empty though some may return.

        Gives those that may return in a moment: they are to be probed soon again.
        """
        held: set[int] = set()
        soon: list[ProbeKey] = []
        for version in self._pool.zone_ttls if self._verdicts.returning else ():
            returning = self._returning(version, known, orders, now)
            soon += [key for key in returning if key not in self._verdicts.recalled]
            if returning and self._verdicts.is_patient and self._pool.when_all_down is AllDown.NONE:
                held.add(version)
        released = {version for version in self.withheld - held if not self._waits(version, orders, now)}
        self.withheld = (self.withheld - released) | held
        return soon

    def _returning(
        self, version: int, known: Mapping[Address, Health], orders: Mapping[Scope, Order], now: float
    ) -> list[ProbeKey]:
        """Those that may return in a moment, while nobody is up that could be handed out."""
        ready = list(self._ready(version, orders, now))
        if self._pool.probe is None or any(known.get(backend.target, _UP).up for backend in ready):
            return []
        asked = ((self._pool.probe, backend.target) for backend in ready)
        return [key for key in asked if key in self._verdicts.returning]

    def _waits(self, version: int, orders: Mapping[Scope, Order], now: float) -> bool:
        """Whether a backend that could be handed out is not judged yet."""
        awaited = {target for _, target in self.awaited}
        return any(backend.target in awaited for backend in self._ready(version, orders, now)) if awaited else False

    def _ready(self, version: int, orders: Mapping[Scope, Order], now: float) -> Iterable[Backend]:
        """The backends that no order takes out."""
        return (
            backend
            for backend in self._pool.backends
            if backend.address.version == version
            and mode_for(orders, self._pool.owner, backend.address, now) is Mode.READY
        )

    def _by_backend(self) -> dict[Address, Health]:
        """The verdicts that the pool goes by; of those that are not judged, but count as up, as well."""
        known, probe = self.known(), self._pool.probe
        return {
            backend.address: known.get(backend.target, _UP)
            for backend in self._pool.backends
            if probe is None or (probe, backend.target) not in self.awaited
        }

    def _key(self, address: Address) -> ProbeKey | None:
        """What the backend of that address goes by."""
        probe = self._pool.probe
        return None if probe is None else (probe, self._proxies.get(address, address))


def keys(pool: Pool) -> list[ProbeKey]:
    """What is probed for the pool, in the order of its backends."""
    return [(pool.probe, backend.target) for backend in pool.backends] if pool.probe is not None else []
