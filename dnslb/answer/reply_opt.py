"""The OPT record of replies over one transport, and the room that it leaves (RFC 6891).  Pure: no I/O."""

from __future__ import annotations

from functools import lru_cache
from socket import AF_INET
from sys import byteorder

from dnslb.answer.cookies import Cookies
from dnslb.dns import cookie, edns, rrtype
from dnslb.dns.edns import COOKIE, KEEPALIVE, NSID, PLAIN_PAYLOAD, Edns
from dnslb.dns.name import MAX_NAME
from dnslb.dns.query import HEADER

_OPT_FIXED = 11  # octets of an OPT record up to its options (RFC 6891 §6.1.2)
_LONGEST = HEADER + MAX_NAME + 4  # octets of a header and a question, at most
_ROOMS = 1000    # of OPT records, remembered
_RECORDS = 100   # of ours: there are fewer
_IPV4 = AF_INET.to_bytes(2, byteorder)  # how a struct sockaddr_in begins


class ReplyOpt:
    """``cookies``: None when there are none; else the option comes last, with zeros for ``with_cookie`` to fill."""

    def __init__(self, limit: int, idle: int | None, server_id: str | None, cookies: Cookies | None) -> None:
        """``limit``: octets of a reply; ``idle``: tenths of a second that a connection may be, None over UDP."""
        self.room = lru_cache(maxsize=_ROOMS)(self._find_room)
        self.cookies = cookies
        self._is_over_udp = idle is None
        self._limit = limit
        self.options = {NSID: server_id.encode()} if server_id else {}
        if idle is not None:
            self.options[KEEPALIVE] = idle.to_bytes(2)
        self.demands_cookie = self._is_over_udp and cookies is not None and cookies.required
        self._needed = {} if cookies is None else {COOKIE: bytes(cookie.LENGTH)}
        self.options |= self._needed

    def pack(self, asked: Edns | None, rcode: int, rest: int) -> bytes:
        """The reply's record, if the query has one; ``rest`` is the octets of the reply besides."""
        if asked is None:
            return b""
        opt = edns.pack(rcode, asked, self.options)
        # A long name for NSID must not crowd out the rest.
        return opt if rest + len(opt) <= self.limit(asked) else edns.pack(rcode, asked, self._needed)

    def limit(self, asked: Edns | None) -> int:
        """Octets of the whole reply."""
        if not self._is_over_udp:
            return self._limit
        # A size below 512 counts as 512 (RFC 6891 §6.2.3).
        return PLAIN_PAYLOAD if asked is None else max(PLAIN_PAYLOAD, min(asked.payload, self._limit))

    def bare(self, tail: bytes) -> bytes:
        """An OPT record without the options that mean nothing to us; as it is if there are others, or it is broken."""
        asked = edns.known_codes(tail, self.options)
        return tail if asked is None or asked else tail[: _OPT_FIXED - 2] + b"\0\0"

    def cookie(self, asked: Edns | None) -> bytes | None:
        """The one that a query shows, if there are any; it may be malformed."""
        return None if asked is None or self.cookies is None or COOKIE not in asked.options else asked.cookie

    def wants_cookie(self, shown: bytes, client: bytes) -> bool:
        """Whether the client at this socket address must show one of ours first."""
        return self.demands_cookie and not self.is_ours(shown, client)

    def is_ours(self, shown: bytes, client: bytes) -> bool:
        """Whether that client has this cookie from us."""
        return self.cookies is not None and self.cookies.is_ours(shown, host(client))

    def with_cookie(self, opt: bytes, shown: bytes, client: bytes) -> bytes:
        """A packed record of an answer, with our cookie for who shows this well-formed one; or without any.

        Once no more are made in this second, who shows none of ours is not even looked up: a flood must cost little.
        """
        if self.cookies is None or (self.cookies.makes <= 0 and len(shown) == cookie.CLIENT):
            return _without_cookie(opt)
        return _filled(self.cookies, opt, shown, client)

    def with_lasting_cookie(self, opt: bytes, shown: bytes, client: bytes) -> bytes | None:
        """The same that every query with these octets gets for a while; None if it may be another for the next.

        What carries a cookie of ours is known to its client alone, which may be told its cookie again.
        """
        if self.cookies is None or self.demands_cookie:
            return None
        made = self.cookies.lasting(shown, host(client))
        return None if made is None else opt[: -cookie.LENGTH] + made

    def reply(self, asked: Edns | None, client: bytes, rcode: int, rest: int) -> bytes:
        """The record of one reply, which may end with a cookie that is to be completed."""
        opt, shown = self.pack(asked, rcode, rest), self.cookie(asked)
        if shown is None or self.cookies is None:
            return opt
        if not cookie.is_well_formed(shown):
            return _without_cookie(opt)
        return _filled(self.cookies, opt, shown, client)

    def completed(self, reply: bytes | None) -> bytes | None:
        """A reply alone, with the hash of the cookie at its end, if that still waits."""
        found = self.cookies.complete() if self.cookies is not None and self.cookies.waiting else []
        # One that was made before a bug struck has no reply.
        return reply[: -cookie.HASH] + found[-1] if found and reply and reply.endswith(bytes(cookie.HASH)) else reply

    def _find_room(self, asked: Edns | None) -> tuple[int, bytes]:
        """The octets of a reply before its OPT record, and that record."""
        opt = self.pack(asked, rrtype.NOERROR, _LONGEST)
        return self.limit(asked) - len(opt), opt


def _filled(cookies: Cookies, opt: bytes, shown: bytes, client: bytes) -> bytes:
    """A packed record with our cookie; without any if none can be made."""
    made = cookies.reply(shown, client[4:8] if client[:2] == _IPV4 else client[8:24])
    return _without_cookie(opt) if made is None else opt[: -cookie.LENGTH] + made


@lru_cache(maxsize=_RECORDS)
def _without_cookie(opt: bytes) -> bytes:
    """A packed record without its last option, which is the cookie."""
    options = opt[_OPT_FIXED : -cookie.LENGTH - 4]
    return opt[: _OPT_FIXED - 2] + len(options).to_bytes(2) + options


def host(client: bytes) -> bytes:
    """The address in a struct sockaddr_in or sockaddr_in6."""
    return client[4:8] if client[:2] == _IPV4 else client[8:24]
