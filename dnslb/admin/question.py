"""The path of a question for the running server: ``/lookup/NAME/TYPE``, and perhaps the client's address.

Pure.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import unquote

from dnslb.admin.order_body import LONGEST_NAME, Malformed
from dnslb.dns import name, rrtype
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name


def parse(path: str) -> tuple[tuple[Name, int], bytes]:
    """Name and type; the client, or nothing.  Raises Malformed."""
    owner, wanted, *client = map(unquote, path.split("/")[2:])
    kind = rrtype.parse(wanted[:20])
    if kind is None:
        raise Malformed(f"{wanted[:20]!r} is no record type", "write A, AAAA, MX or TYPE65280")
    if len(owner) > LONGEST_NAME or not owner.isascii():
        raise Malformed("the name is too long, or not ASCII", "write its A-labels (xn--), or octets as \\DDD")
    try:
        asked = name.parse(owner, name.ROOT)
    except Mistaken as error:
        fact, _, remedy = str(error).partition("; ")
        raise Malformed(fact, remedy) from None
    try:
        return (asked, kind), ip_address(client[0]).packed if client else b""
    except ValueError:
        raise Malformed(f"{client[0][:100]!r} is no address", "write an IPv4 or IPv6 address") from None
