"""EDNS(0): the OPT record of a query, and the one of its reply (RFC 6891)."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from dnslb.dns import rrtype

PAYLOAD = 1232           # octets: what we send and ask for over UDP, so that nothing is fragmented (RFC 9715 §3)
PLAIN_PAYLOAD = 512      # octets over UDP without EDNS (RFC 1035 §4.2.1)
NSID, COOKIE, KEEPALIVE, EXTENDED_ERROR = 3, 10, 11, 15  # option codes (RFC 5001, RFC 7873, RFC 7828, RFC 8914)
_OPTIONS = 32            # in a query, at most: there are some twenty sorts
_FIXED = 11              # octets of an OPT record up to its options; the last two are their length

_OPT = b"\0" + rrtype.OPT.to_bytes(2)
_NO_CODES: frozenset[int] = frozenset()
_DO = 0x8000


@dataclass(frozen=True, slots=True)
class Edns:
    """What an OPT record says.  Only the codes of options matter, but for the cookie: the others that we know carry no
    data in a query.
    """

    payload: int
    version: int
    dnssec_ok: bool
    options: frozenset[int]
    cookie: bytes = field(default=b"", compare=False)  # what the first option of that code carries (RFC 7873 §5.2)


def parse(fixed: bytes, options: bytes) -> Edns | None:
    """The OPT record with the octets of its class and TTL (6) and its rdata.

    None when the options are malformed, or too many.
    """
    codes: set[int] = set()
    cookie = b""
    at = count = 0
    while at < len(options):
        count += 1
        if at + 4 > len(options) or count > _OPTIONS:
            return None
        code, length = int.from_bytes(options[at : at + 2]), int.from_bytes(options[at + 2 : at + 4])
        if code == COOKIE and code not in codes:
            cookie = options[at + 4 : at + 4 + length]
        codes.add(code)
        at += 4 + length
    if at != len(options):
        return None
    return Edns(
        payload=int.from_bytes(fixed[:2]),
        version=fixed[3],
        dnssec_ok=bool(int.from_bytes(fixed[4:6]) & _DO),
        options=frozenset(codes),
        cookie=cookie,
    )


def plain(octets: bytes, among: Container[int]) -> Edns | None:
    """The same from a whole OPT record of version 0; of its options those among these codes.

    None when it is any other record, or not alone, or malformed.
    """
    codes = known_codes(octets, among)
    if codes is None:
        return None
    cookie = _cookie(octets) if COOKIE in codes else b""
    return Edns(octets[3] << 8 | octets[4], 0, octets[7] >= 0x80, codes, cookie)


def known_codes(octets: bytes, among: Container[int]) -> frozenset[int] | None:
    """Those of such a record alone.  Options that are new each time must cost little."""
    last = len(octets)
    if last < _FIXED or octets[:3] != _OPT or octets[6] or last - _FIXED != octets[9] << 8 | octets[10]:
        return None
    codes = _NO_CODES
    count = 0
    at = _FIXED
    while at < last:
        count += 1
        if at + 4 > last or count > _OPTIONS:
            return None
        code = octets[at] << 8 | octets[at + 1]
        if code in among:
            codes |= {code}
        at += 4 + (octets[at + 2] << 8 | octets[at + 3])
    return codes if at == last else None


def _cookie(octets: bytes) -> bytes:
    """What the first such option of a well-formed record carries."""
    at = _FIXED
    while octets[at] << 8 | octets[at + 1] != COOKIE:
        at += 4 + (octets[at + 2] << 8 | octets[at + 3])
    return octets[at + 4 : at + 4 + (octets[at + 2] << 8 | octets[at + 3])]


def pack(rcode: int, edns: Edns, options: dict[int, bytes]) -> bytes:
    """The OPT record of a reply: version 0, DO as it came, the upper bits of the response code (RFC 6891 §6.1.3)."""
    rdata = b"".join(
        code.to_bytes(2) + len(value).to_bytes(2) + value for code, value in options.items() if code in edns.options
    )
    flags = _DO if edns.dnssec_ok else 0
    return b"".join((
        _OPT, PAYLOAD.to_bytes(2),
        (rcode >> 4).to_bytes(1), b"\0", flags.to_bytes(2),
        len(rdata).to_bytes(2), rdata,
    ))  # fmt: skip


def extended_error(code: int, text: str) -> bytes:
    """The option that tells more than a response code can (RFC 8914 §2)."""
    value = code.to_bytes(2) + text.encode()
    return EXTENDED_ERROR.to_bytes(2) + len(value).to_bytes(2) + value


def extend(opt: bytes, option: bytes) -> bytes:
    """A packed OPT record with one option more; the last one stays the last, if it is to be filled in."""
    options = option + opt[_FIXED:]
    return opt[: _FIXED - 2] + len(options).to_bytes(2) + options
