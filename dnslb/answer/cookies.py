"""The cookies of one worker: made for clients, and known again.

What was made or found right lately is looked up.  Hashing is bounded: beyond so many hashes a second there are replies
without a cookie, which RFC 7873 §5.2 allows.  Pure: time is told, and no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hmac import compare_digest

from dnslb.answer.recent import Recent
from dnslb.dns import cookie

_KNOWN = 20_000     # cookies remembered, of 300 octets with all that is around them; and as many before them
_PERIOD = 300       # seconds for which they are remembered unused
_MADE = 10_000      # new ones a second: 1 to 2 µs each when many clients ask at once
_STAMPED = cookie.LENGTH - cookie.HASH  # octets of a cookie up to its hash
_NO_HASH = bytes(cookie.HASH)
_VERIFIED = 1_000   # of those that are shown to us for the first time, a second: some 15 µs for each secret


class Cookies:
    """``waiting`` are those that end with zeros for a hash: whoever sends them has ``complete`` make it.

    ``makes``: how many new ones are left for this second.
    """

    def __init__(self, secrets: Sequence[bytes], now: int, *, required: bool = False) -> None:
        """The first secret makes cookies, all are taken.  ``now``: Unix time in seconds.

        ``required``: a client that has cookies gets answers over UDP only once it shows one of ours.
        """
        self.required = required
        self.waiting: list[bytes] = []
        self.renewals: list[Callable[[], None]] = []  # called when clients are due for another cookie
        self._secrets = secrets
        self._known: Recent[bytes, bytes] = Recent(_KNOWN)  # by the client's part, or all of it, and its address
        self._now, self._period = -1, now // _PERIOD
        self.tick(now)

    def tick(self, now: int) -> None:
        """To be called every second, or more often."""
        if now == self._now:
            return
        self._now, self._stamp = now, cookie.stamp(now)
        self.makes, self._verifies = _MADE, _VERIFIED
        if now // _PERIOD != self._period:
            self._period = now // _PERIOD
            self._known.turn_over()
            for renew in self.renewals:
                renew()

    def reply(self, shown: bytes, address: bytes) -> bytes | None:
        """The cookie for who shows this well-formed one; None: no more are made in this second.

        ``address`` are the 4 or 16 octets of the client's.
        """
        key = shown[: cookie.CLIENT] + address
        known = self._known.get(key)
        if known is not None:
            return known
        if self.makes <= 0:
            return self._recall(key) or (shown if self.is_ours(shown, address) else None)
        self.makes -= 1
        made = shown[: cookie.CLIENT] + self._stamp
        self.waiting.append(made + address)
        return made + _NO_HASH

    def is_ours(self, shown: bytes, address: bytes) -> bool:
        """Whether this client has the cookie from us, or from who has the same secret; also False when more are shown
        than can be looked at in this second.
        """
        if len(shown) != cookie.LENGTH or not cookie.is_timely(shown, self._now):
            return False
        if self._known.get(shown[: cookie.CLIENT] + address) == shown:
            return True
        key = shown + address
        if self._known.get(key) or self._recall(key):
            return True
        if self._verifies <= 0:
            return False
        self._verifies -= 1
        message, found = shown[: -cookie.HASH] + address, shown[-cookie.HASH :]
        if not any(compare_digest(cookie.hashes(secret, [message])[0], found) for secret in self._secrets):
            return False
        self._known.put(key, shown)
        return True

    def lasting(self, shown: bytes, address: bytes) -> bytes | None:
        """What who shows one of ours gets until ``renewals``; None for anybody else."""
        known = self._known.get(shown[: cookie.CLIENT] + address)
        return known if known is not None and self.is_ours(shown, address) else None

    def complete(self) -> list[bytes]:
        """The hashes of those that wait, in their order; none wait any more."""
        waiting, self.waiting[:] = self.waiting[:], []
        found: dict[bytes, bytes] = {}
        for size in set(map(len, waiting)):
            some = [message for message in waiting if len(message) == size]
            found.update(zip(some, cookie.hashes(self._secrets[0], some), strict=True))
        self._known.update({
            message[: cookie.CLIENT] + message[_STAMPED:]: message[:_STAMPED] + octets
            for message, octets in found.items()
        })  # fmt: skip
        return [found[message] for message in waiting]

    def _recall(self, key: bytes) -> bytes | None:
        """What was not asked for since long, if it need not be made anew."""
        known = self._known.take(key)
        if known is None or not cookie.is_young(known, self._now):
            return None
        self._known.put(key, known)
        return known
