"""How much one network of clients gets of one answer over UDP: so nobody is flooded by us in somebody else's name.

One query in so many is looked at.  A network that seems to ask for one name too often is watched: from then on all its
queries are counted, and those beyond the limit get no reply, or one by which they come again.  Who shows a cookie of
ours, or comes over TCP, asks in its own name, and is never held up.  While nobody is watched, nothing is done for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from socket import AF_INET
from sys import byteorder

from dnslb.answer.account import Accounts
from dnslb.answer.account import network as network_of
from dnslb.answer.recent import Recent
from dnslb.answer.reply_opt import host
from dnslb.answer.responder import Responder
from dnslb.balance import near
from dnslb.config import rate_limit as config
from dnslb.dns.name import Name
from dnslb.dns.zone import Zone

_LOOK = 64          # queries of which one is looked at, at most
_FEW = 3            # looks at the same in a second that are needed to tell it from chance
_BURST = 2          # seconds' worth of replies that may come at once
_WATCHED = 10       # seconds for which a network is watched after it was last held up
_NETWORKS = 5_000   # that are watched
_ACCOUNTS = 10_000  # of these, by name; and as many before them
_FLOOD = 250        # queries held up between two ticks, in a crowd: then the system drops most from where they come
_BEYOND = 16        # part of a second's replies that a network is held up by between two ticks, if it floods
_SHED = 3           # seconds for which the system does, after the last of them was held up
_TOLD = 5           # networks that are told of
_IPV4 = AF_INET.to_bytes(2, byteorder)  # how a struct sockaddr_in begins


@dataclass(frozen=True, slots=True)
class Held:
    """What a limit has held up."""

    queries: int = 0    # in all
    put_off: int = 0    # of them, those that are to come again
    networks: Mapping[bytes, int] = field(default_factory=dict)  # those of which most came


NONE_HELD = Held()


@dataclass(slots=True)
class Watched:
    """A network that seems to ask for one name too often."""

    last: int = 0  # when it was last held up
    held: int = 0  # how many of its queries
    told: int = 0  # of these, those that were counted
    before: int = 0     # of these, those before the last tick
    until: int = -1     # when what it sends may come through again


class RateLimit:
    """``watched`` are the networks of which every query must come to ``respond``."""

    def __init__(
        self, responder: Responder, zones: Mapping[Name, Zone], wanted: config.RateLimit, share: int, rng: Random
    ) -> None:
        """``share``: how many workers there are, each of which grants a part.  Nothing is limited before ``tick``."""
        self.watched: dict[bytes, Watched] = {}
        self.answer: Callable[[bytes, bytes], bytes | None] = responder.find  # of whom is not held up
        self._responder = responder
        self._names = Accounts(zones)
        self._rng = rng
        self._rate = -(-wanted.per_second // share)
        self._slip = wanted.slip
        self._exempt = near.merged(wanted.exempt)
        self._every = max(1, min(_LOOK, self._rate // _FEW))  # queries of which one is looked at
        self._seen: Counter[tuple[bytes, bytes]] = Counter()  # of these in this second, by network and account
        self._accounts: Recent[tuple[bytes, bytes], tuple[int, int]] = Recent(_ACCOUNTS)  # replies left, and since when
        self._now = 0
        self._held: Counter[bytes] = Counter()  # queries held up of networks that are not watched any more
        self._again = 0                         # of all that were, those that are to come again

    def tick(self, now: int, *, is_crowded: bool = False) -> None:
        """To be called a few times a second, which are of any clock.

        ``is_crowded``: more has come since the last time than was answered in a turn.
        """
        if now != self._now:
            self._now = now
            self._seen.clear()
            for network in [network for network, watched in self.watched.items() if watched.last < now - _WATCHED]:
                self._let_go(network)
        is_flood = is_crowded and sum(watched.held - watched.before for watched in self.watched.values()) > _FLOOD
        for watched in self.watched.values():
            held, watched.before = watched.held - watched.before, watched.held
            if (is_flood and held > self._rate // _BEYOND) or (held and watched.until > now):
                watched.until = now + _SHED

    @property
    def flooding(self) -> list[bytes]:
        """The networks of which most is to be dropped by the system."""
        return [network for network, watched in self.watched.items() if watched.until > self._now]

    def gap(self) -> int:
        """How many queries to go on to the next one that is looked at."""
        return self._rng.randrange(1, 2 * self._every) if self._every > 1 else 1

    def look(self, query: bytes, client: bytes) -> None:
        """Somebody who is not watched yet has asked this.  ``client`` is a socket address."""
        if self._exempt.include(host(client)):
            return
        key = network_of(client), self._names.find(query)
        self._seen[key] += 1
        if self._seen[key] >= max(_FEW, self._rate // self._every):
            if len(self.watched) >= _NETWORKS:
                self._let_go(next(iter(self.watched)))
            self.watched.setdefault(key[0], Watched()).last = self._now
        elif len(self._seen) > _ACCOUNTS:
            self._seen.clear()

    def respond(self, query: bytes, client: bytes) -> bytes | None:
        """The reply, as from the responder; or another, or none, for who is held up."""
        network = client[4:7] if client[:2] == _IPV4 else client[8:15]
        watched = self.watched.get(network)
        if watched is not None:
            key = network, self._names.find(query)
            left, since = self._accounts.get(key) or self._accounts.take(key) or (_BURST * self._rate, self._now)
            if since != self._now:
                left = min(_BURST * self._rate, left + (self._now - since) * self._rate)
            self._accounts.put(key, (left and left - 1, self._now))
            if not left and not self._responder.is_known(query, client):
                watched.last = self._now
                watched.held += 1
                return None if not self._slip or watched.held % self._slip else self._put_off(query, client)
        return self.answer(query, client)

    def take(self) -> Held:
        """What was held up since this was last asked."""
        for network, watched in self.watched.items():
            self._count(network, watched)
        found = Held(self._held.total(), self._again, dict(self._held.most_common(_TOLD)))
        self._held.clear()
        self._again = 0
        return found

    def _let_go(self, network: bytes) -> None:
        self._count(network, self.watched.pop(network))

    def _count(self, network: bytes, watched: Watched) -> None:
        if watched.held != watched.told:
            self._held[network] += watched.held - watched.told
            watched.told = watched.held

    def _put_off(self, query: bytes, client: bytes) -> bytes | None:
        self._again += 1
        return self._responder.put_off(query, client)
