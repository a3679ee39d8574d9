"""What comes of who wants to join a pool, or to leave it."""

from __future__ import annotations

import asyncio
import time

from dnslb.control.errors import Delayed, Unknown
from dnslb.control.registration import Gone, Joined, JoinRequest
from dnslb.dns import name
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.parent.generations import Generations

_LONGEST = 20.0  # seconds for the workers to acknowledge that somebody has left


def join(generations: Generations, wanted: JoinRequest) -> Joined:
    """Raises Rejected, Unknown."""
    pool = generations.current.balancer.pools[_owner(generations, wanted.owner)]
    one = generations.registrations.join(pool, wanted)
    lease = 0.0 if pool.register is None else pool.register.lease
    since, until = (None, None) if one is None else (one.since, one.until)
    return Joined(pool.owner, str(wanted.address), wanted.weight, since, until, lease)


async def leave(generations: Generations, wanted: JoinRequest) -> Gone:
    """Return when no worker hands it out.  Raises Rejected, Unknown, Delayed."""
    owner = _owner(generations, wanted.owner)
    generations.registrations.leave(generations.current.balancer.pools[owner], wanted)
    try:
        async with asyncio.timeout(_LONGEST):
            await generations.registrations.settled()
            await generations.settled()
    except TimeoutError:
        raise Delayed from None
    now = time.time()
    expires = generations.current.balancer.copies.last_copy(owner, wanted.address, now)
    return Gone(name.text(owner), str(wanted.address), expires, now)


def _owner(generations: Generations, text: str) -> Name:
    """Of a pool that is called so.  Raises Unknown."""
    try:
        owner = name.fold(name.parse(text.rstrip(".") + ".", name.ROOT))
    except Mistaken:
        owner = b""
    if owner not in generations.current.balancer.pools:
        raise Unknown(f"no pool is called {text}", "see dnslb status")
    return owner
