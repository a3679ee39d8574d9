"""A query as a line of the query log: as text, or as JSON.  Pure: no I/O."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from ipaddress import ip_address

from dnslb.dns import name, rrtype
from dnslb.dns.query import HEADER, Query, parse
from dnslb.dns.reply_kind import HEAD, classify
from dnslb.worker.transaction import Transaction

_NONE = "-"
_CLASSES = {rrtype.IN: "IN", rrtype.CH: "CH"}
_NO_QUESTION = Query(rrtype.QUERY)


def text(seen: Transaction) -> bytes:
    """When, who, how; name, class and type; response code, kind and octets of the reply."""
    asked, protocol, reply = _question(seen), seen.ends.protocol, seen.reply
    sort = classify(reply[HEAD]) if reply is not None else None
    words = (
        _time(seen), _client(seen), str(seen.ends.client_port), protocol, *(asked or (_NONE, _NONE, _NONE)),
        _NONE if sort is None else sort.rcode, _NONE if sort is None else sort.kind, str(len(reply or b"")),
    )  # fmt: skip
    return " ".join(words).encode() + b"\n"


def as_json(seen: Transaction) -> bytes:
    """The same by names; what there was not is null."""
    asked, reply = _question(seen) or (None, None, None), seen.reply
    sort = classify(reply[HEAD]) if reply is not None else None
    return json.dumps({
        "at": _time(seen),
        "client": _client(seen),
        "port": seen.ends.client_port,
        "protocol": seen.ends.protocol,
        "name": asked[0],
        "class": asked[1],
        "type": asked[2],
        "rcode": None if sort is None else sort.rcode,
        "kind": None if sort is None else sort.kind,
        "truncated": sort is not None and sort.truncated,
        "octets": len(reply or b""),
    }).encode() + b"\n"  # fmt: skip


def _question(seen: Transaction) -> tuple[str, str, str] | None:
    """Name, class and type; None when no question could be read."""
    asked = parse(seen.query) or _NO_QUESTION
    if asked.end == HEADER or not name.is_whole(asked.name):
        return None
    rrclass = _CLASSES.get(asked.rrclass, f"CLASS{asked.rrclass}")
    return name.text(asked.name), rrclass, rrtype.text(asked.wanted)


def _client(seen: Transaction) -> str:
    return str(ip_address(seen.ends.client))


def _time(seen: Transaction) -> str:
    """RFC 3339, in UTC."""
    at = datetime.fromtimestamp(seen.at // 1_000_000_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{seen.at // 1000 % 1_000_000:06d}Z"
