"""What the server says of names without a policy: that they are rotated, and not probed.

What takes long is worked out by iterators; they yield None where others may have a turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from dnslb.balance.pool import Pool
from dnslb.config.rotated import Rotated
from dnslb.control.status import BackendStatus, PoolStatus, RRsetStatus, Unlisted
from dnslb.dns import name, rrtype
from dnslb.dns.name import Name

MOST_LISTED = 1000  # names, when nobody asks for some of them
WHY = "rotated, not probed: no policy names it"


def pool_status(pool: Pool) -> PoolStatus:
    """Of a name that no order concerns."""
    return PoolStatus(pool.owner, (_rrset_status(pool, version) for version in sorted(pool.zone_ttls)), rotated=True)


class Listing:
    """The names that are listed among the pools, and how many there are besides.  ``pools`` are listed already."""

    def __init__(self, rotated: Rotated, pools: Mapping[Name, object]) -> None:
        self._rotated = rotated
        self._pools = pools
        self._besides: Counter[Name | None] = Counter()  # by zone

    def owners(self) -> Iterator[Name | None]:
        listed = 0
        for owner in self._rotated.several():
            if owner is None or owner in self._pools:
                yield None
            elif listed < MOST_LISTED:
                listed += 1
                yield owner
            else:
                self._besides[self._rotated.apex(owner)] += 1
                yield None

    def unlisted(self) -> Iterator[Unlisted | None]:
        """Right once ``owners`` have been told."""
        yield None
        yield from (Unlisted(name.text(apex), names) for apex, names in self._besides.items() if apex is not None)


def _rrset_status(pool: Pool, version: int) -> RRsetStatus:
    addresses = [str(backend.address) for backend in pool.backends if backend.address.version == version]
    return RRsetStatus(
        type=rrtype.address_text(version),
        ttl=pool.zone_ttls[version],
        why=f"zone file's TTL; {WHY}",
        fails_open=False,
        withheld=False,
        backends=_backends(addresses),
    )


def _backends(addresses: Sequence[str]) -> list[BackendStatus]:
    return [
        BackendStatus(
            address=address, up=None, since=None, reason="", unsure="", streak=0, mode="ready", order=None, weight=1,
            backup=False, handed_out=True, share=1 / len(addresses), led=0, achieved=None,
        )
        for address in addresses
    ]  # fmt: skip
