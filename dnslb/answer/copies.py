"""The drain clocks: when caches have lost the addresses that were handed out.

Pure: times are Unix times, and arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dnslb.answer.snapshot import RRsetKey
from dnslb.balance.pool import Address, Pool
from dnslb.balance.ttl import OVERTIME
from dnslb.dns import rrtype
from dnslb.dns.name import Name


class Copies(dict[RRsetKey, dict[Address, float]]):
    """For each RRset and address: when the TTL of the last answer that held the address runs out, or ran out."""

    def hand_out(self, key: RRsetKey, addresses: Iterable[Address], until: float) -> None:
        """These addresses have been in an answer which caches may hold until ``until``."""
        copies = self.setdefault(key, {})
        for address in addresses:
            copies[address] = max(copies.get(address, 0.0), until)

    def assume(self, key: RRsetKey, addresses: Iterable[Address], until: float) -> None:
        """Those of the addresses of which nothing is known may be in caches until ``until``."""
        copies = self.setdefault(key, {})
        for address in addresses:
            copies.setdefault(address, until)

    def extend(self, owner: Name, address: Address, seconds: float) -> None:
        """A worker has gone on handing the address out for so many seconds."""
        copies = self._of(owner, address)
        if address in copies:
            copies[address] += seconds

    def expires(self, owner: Name, address: Address, now: float) -> float:
        """When the last cached copy of the address expires, if it is handed out until ``now`` and then no more."""
        return max(now, self.last_copy(owner, address, now))

    def last_copy(self, owner: Name, address: Address, now: float) -> float:
        """When the last cached copy of an address expires, or expired, that is not handed out any more."""
        return self._of(owner, address).get(address, now) + OVERTIME

    def forget(self, pools: Iterable[Mapping[Name, Pool]], now: float) -> None:
        """Forget the addresses that are in none of these pools, if no cache can have them any more."""
        for (owner, _), copies in self.items():
            holders = [each[owner] for each in pools if owner in each]
            if len(copies) > max((len(pool.backends) for pool in holders), default=0):
                kept = {backend.address for pool in holders for backend in pool.backends}
                for address in [each for each, lost in copies.items() if each not in kept and lost < now]:
                    del copies[address]

    def _of(self, owner: Name, address: Address) -> dict[Address, float]:
        return self.get((owner, rrtype.ADDRESS_TYPES[address.version]), {})
