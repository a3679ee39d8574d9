"""``rate_limit:`` of ``dnslb.yaml``: how much one network gets of one answer.  Pure: no I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network

from dnslb.config.clients import Network, networks
from dnslb.text.document import Document
from dnslb.text.yaml_tree import Node, ScalarNode

MOST = 1_000_000  # replies a second
_MOST_SLIP = 100


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Replies about one name over UDP, for a network of clients without cookies."""

    per_second: int = 500  # 0: without a limit
    slip: int = 2    # of so many beyond, one is told to come by TCP, or with a cookie; 0: none
    exempt: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


LIMIT = RateLimit()
_KEYS = ("per_second", "slip", "exempt")


def read(parsed: Document, node: Node) -> RateLimit | None:
    """The limit, as far as it has no mistakes; ``no`` is none at all."""
    if isinstance(node, ScalarNode):
        return RateLimit(per_second=0) if parsed.choice(node, ("no",)) else None
    nodes = parsed.mapping(node, _KEYS, "rate_limit")
    found = RateLimit()
    if "per_second" in nodes:
        found = replace(found, per_second=parsed.number(nodes["per_second"], 1, MOST) or found.per_second)
    if "slip" in nodes:
        slip = parsed.number(nodes["slip"], 0, _MOST_SLIP)
        found = replace(found, slip=found.slip if slip is None else slip)
    if "exempt" in nodes:
        found = replace(found, exempt=networks(parsed, nodes["exempt"]))
    return found
