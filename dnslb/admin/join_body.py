"""The body of a request to join a pool, or to leave it: JSON in, a ``JoinRequest`` out.  Pure."""

from __future__ import annotations

from ipaddress import ip_address

from dnslb.admin.order_body import LONGEST_NAME, Malformed, read_object
from dnslb.balance.pool import MOST_WEIGHT, Address
from dnslb.control.registration import JoinRequest

_KEYS = ("name", "address", "weight")
_EXAMPLE = '{"name": "www.example.com", "weight": 1}'


def parse(body: bytes, source: Address | None) -> JoinRequest:
    """``source``: where it comes from, which counts when no address is given.  Raises Malformed."""
    root = read_object(body, _KEYS, _EXAMPLE)
    name, weight = root.get("name"), root.get("weight", 1)
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise Malformed("'name' is missing, or no name", f"send {_EXAMPLE}")
    if not isinstance(weight, int) or isinstance(weight, bool) or not 0 <= weight <= MOST_WEIGHT:
        raise Malformed(f"'weight' is no number from 0 to {MOST_WEIGHT}", "leave it out for 1")
    return JoinRequest(name, _address(root.get("address"), source), weight)


def _address(found: object, source: Address | None) -> Address:
    if found is None and source is not None:
        return source
    if found is None:
        raise Malformed("'address' is missing, and the control socket does not tell one", "give it")
    try:
        address = ip_address(found) if isinstance(found, str) and "%" not in found else None
    except ValueError:
        address = None
    if address is None or address.is_unspecified or address.is_multicast:
        raise Malformed("'address' is no address of one host", "write it as 192.0.2.11 or 2001:db8::11")
    return address
