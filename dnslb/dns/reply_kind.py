"""What sort of reply was given, read from its header alone, for statistics.

Pure: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass

from dnslb.dns import rrtype
from dnslb.dns.message import AA, TC

HEAD = slice(2, 10)  # of a reply: the flags, and three of the four counts
NO_REPLY = bytes(8)  # stands there when a query got none
UNSENT = b"\xff" * 8  # stands there when the system did not take the reply: no reply has all flags

@dataclass(frozen=True, slots=True)
class ReplyKind:
    """One sort of reply."""

    rcode: str
    kind: str        # answer, nodata, nxdomain, referral, refused or error
    truncated: bool


def classify(head: bytes) -> ReplyKind:
    """The sort of a reply of ours; ``head`` is the part of its header that ``HEAD`` selects."""
    flags, answers, authorities = (int.from_bytes(head[at : at + 2]) for at in (0, 4, 6))
    rcode, truncated, is_empty = flags & 0xF, bool(flags & TC), not answers and not authorities
    if rcode == rrtype.NXDOMAIN:
        found = "nxdomain"
    elif rcode == rrtype.REFUSED:
        found = "refused"
    elif rcode != rrtype.NOERROR:
        # Of the codes that end so, only this one is given (RFC 7873 §8).
        found, rcode = "error", rrtype.BADCOOKIE if rcode == rrtype.BADCOOKIE & 0xF else rcode
    elif is_empty and not truncated:
        # Even NODATA has an SOA: this is the rest of a code whose upper bits are in the OPT record (RFC 6891 §6.1.3).
        found, rcode = "error", rrtype.BADVERS
    elif answers or (is_empty and flags & AA):
        found = "answer"
    else:
        found = "nodata" if flags & AA else "referral"
    return ReplyKind(rrtype.RCODES.get(rcode, f"RCODE{rcode}"), found, truncated)
