"""The backends that have joined pools by themselves, and the clock for the leases that end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from dnslb.balance.operator_order import Scope
from dnslb.balance.pool import Address, JoinPolicy, Pool
from dnslb.balance.registration import Registration, joined, permitted, why_not
from dnslb.control.change import Change
from dnslb.control.errors import Rejected
from dnslb.control.registration import JoinRequest
from dnslb.dns.name import Name
from dnslb.parent.bounded_log import BoundedLog, Kind
from dnslb.system import wall_clock

_GATHER = 0.05  # seconds from one change to its taking effect: a fleet joins together
_LOOK = 1.0     # seconds from one look at the leases to the next, at least

_JOINED = Kind(logging.INFO, "joined", "%d more backends have joined")
_LEFT = Kind(logging.INFO, "left", "%d more backends have left")

_log = logging.getLogger("dnslb")


class Registrations:
    """``apply`` is called with the owners of pools that some have joined or left, a moment after: False, and it is
    called again.  ``tell`` is called with each change.  ``clock`` gives Unix time.
    """

    def __init__(
        self, apply: Callable[[set[str]], bool], tell: Callable[[Change], None], clock: Callable[[], float] = time.time
    ) -> None:
        self.standing: dict[str, dict[Address, Registration]] = {}  # by owner, as in ``Pool.owner``
        self._apply = apply
        self._tell = tell
        self._clock = clock
        self._log = BoundedLog()
        self._changed: set[str] = set()
        self._gathering: asyncio.TimerHandle | None = None
        self._settled = asyncio.Event()  # set when all has taken effect
        self._lease: asyncio.TimerHandle | None = None  # to the next look

    def of(self, owner: str) -> Mapping[Address, Registration]:
        """Those in one pool."""
        return self.standing.get(owner, {})

    def laid_over(self, pools: Mapping[Name, Pool]) -> dict[Name, Pool]:
        """The pools of the policies, and in each who has joined it and may stay."""
        return {owner: joined(pool, permitted(pool, self.of(pool.owner))) for owner, pool in pools.items()}

    def join(self, pool: Pool, wanted: JoinRequest) -> Registration | None:
        """Let it join, or renew its lease; None when the zone file lists it.  Raises Rejected."""
        policy = _policy(pool, wanted)
        if _lists(pool, wanted.address):
            return None
        registered = self.standing.setdefault(pool.owner, {})
        now, before = self._clock(), registered.get(wanted.address)
        if before is None and len(registered) >= policy.limit:
            fact = f"{len(registered)} backends have joined {pool.owner}, which is its limit"
            raise Rejected(fact, "raise register: {limit: ...}, or wait until a lease ends")
        since = now if before is None else before.since
        after = registered[wanted.address] = Registration(wanted.weight, since, now + policy.lease, wanted.by)
        if before is None:
            weight = f"weight {wanted.weight}" if wanted.weight != 1 else ""
            self._change(_JOINED, Scope(pool.owner, wanted.address), weight, wanted.by)
        if before is None or before.weight != after.weight:
            self._alter(pool.owner)
        self._look_in(policy.lease)
        return after

    def leave(self, pool: Pool, wanted: JoinRequest) -> None:
        """Take it out.  Nothing happens when it is not there.  Raises Rejected."""
        _policy(pool, wanted)
        if _lists(pool, wanted.address):
            raise Rejected(f"the zone file lists {wanted.address} under {pool.owner}", "drain it, or remove it there")
        if wanted.address in self.of(pool.owner):
            self._drop(Scope(pool.owner, wanted.address), "", wanted.by)

    async def settled(self) -> None:
        """Wait until all that has changed up to now has taken effect."""
        if self._gathering is not None:
            await self._settled.wait()

    def recall(self, known: Mapping[Scope, Registration], pools: Iterable[Pool]) -> None:
        """An earlier life of the server has left these.  Who could not renew while it was gone has one more lease."""
        now, before = self._clock(), self.standing
        leases = {pool.owner: pool.register.lease for pool in pools if pool.register is not None}
        self.standing = {}
        for scope, one in known.items():
            if scope.owner in leases:
                until = max(one.until, now + leases[scope.owner])
                self.standing.setdefault(scope.owner, {})[scope.address] = replace(one, until=until)
        if before or self.standing:
            self._alter(*before, *self.standing)
            self._look_in(_LOOK)

    def keep_permitted(self, pools: Iterable[Pool]) -> None:
        """These pools are served from now on: who may not stay in one leaves."""
        by_owner = {pool.owner: pool for pool in pools if pool.register is not None}
        for owner, registered in list(self.standing.items()):
            pool = by_owner.get(owner)
            kept = permitted(pool, registered)
            for address in [each for each in registered if each not in kept]:
                why = "" if pool is None else why_not(pool, address).partition("; ")[0]
                self._drop(Scope(owner, address), why or f"the policy of {owner} does not permit it any more")
            written = set() if pool is None else {one.address for one in pool.backends}
            for address in written.intersection(kept):
                self._drop(Scope(owner, address), "the zone file lists it now")

    def kept(self) -> dict[Scope, Registration]:
        """All of them, for the state file."""
        return {Scope(owner, address): one for owner, some in self.standing.items() for address, one in some.items()}

    def stop(self) -> None:
        for timer in (self._gathering, self._lease):
            if timer is not None:
                timer.cancel()

    def _look(self) -> None:
        """See whose lease has ended."""
        self._lease, now = None, self._clock()
        for scope, one in self.kept().items():
            if one.until <= now:
                self._drop(scope, "its lease has ended")
        untils = [one.until for some in self.standing.values() for one in some.values()]
        if untils:
            self._look_in(max(_LOOK, min(untils) - now))

    def _look_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._lease is None or loop.time() + seconds < self._lease.when():
            if self._lease is not None:
                self._lease.cancel()
            self._lease = wall_clock.look_in(seconds, self._look)

    def _drop(self, scope: Scope, reason: str, by: str = "") -> None:
        owner = scope.owner or ""
        del self.standing[owner][scope.address]
        if not self.standing[owner]:
            del self.standing[owner]
        self._change(_LEFT, scope, reason, by)
        self._alter(owner)

    def _alter(self, *owners: str) -> None:
        """These pools have other backends, or weights, from soon on."""
        self._changed |= set(owners)
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(_GATHER, self._take_effect)

    def _take_effect(self) -> None:
        self._gathering = None
        self._log.finish()
        if not self._apply(self._changed):
            self._alter(*self._changed)
            return
        self._changed = set()
        settled, self._settled = self._settled, asyncio.Event()
        settled.set()

    def _change(self, kind: Kind, scope: Scope, reason: str, by: str) -> None:
        change = Change(self._clock(), scope.owner, str(scope.address), kind.what, reason, by)
        if self._log.admits(kind):
            fields = {"what": kind.what, "owner": change.owner, "address": change.address, "by": by or None}
            why, whose = f" ({reason})" if reason else "", f" by {by}" if by else ""
            _log.info("%s: %s has %s%s%s", change.owner, change.address, kind.what, why, whose, extra=fields)
        self._tell(change)


def _policy(pool: Pool, wanted: JoinRequest) -> JoinPolicy:
    """By which it may join, or leave.  Raises Rejected."""
    policy, reason = pool.register, why_not(pool, wanted.address)
    if policy is None or reason:
        raise Rejected(*reason.split("; ", 1))
    if not policy.others and wanted.source not in {None, wanted.address}:
        remedy = "ask from that address, or write others: true in register:"
        raise Rejected(f"{wanted.source} asks for {wanted.address}, which is not its own", remedy)
    return policy


def _lists(pool: Pool, address: Address) -> bool:
    """Whether the zone file does."""
    return any(one.address == address and one.joined is None for one in pool.backends)
