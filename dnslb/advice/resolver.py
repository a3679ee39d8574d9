"""What kinds of caching resolvers do with a TTL, as ``scripts/compare --only resolvers`` measured them.

Pure.  Debian 12's packages, with their defaults: unbound 1.17, BIND 9.18, PowerDNS Recursor 4.8, Knot Resolver 5.6,
dnsmasq 2.90.
"""

from __future__ import annotations

from dataclasses import dataclass

from dnslb.balance.ttl import OVERTIME


@dataclass(frozen=True, slots=True)
class Resolver:
    """How long one kind holds a record.  Times in seconds."""

    title: str
    minimum: float = 0.0        # a lower TTL is raised to it, so that fewer queries come
    longest: float = 0.0        # the same, where the worst case is asked for: other than ``minimum`` for ANY only
    overtime: float = 0.0       # a record may be held so much longer than its TTL
    keeps_order: bool = False   # all who ask while a record is held get its addresses in the same order

    def held(self, ttl: float) -> float:
        """The longest time that it holds a record of that TTL; 0 when it holds none."""
        seconds = max(ttl, self.longest)
        return seconds + self.overtime if seconds else 0.0


ANY = Resolver("any resolver", longest=5.0, overtime=OVERTIME)
KINDS = {
    "any": ANY,
    "unbound": Resolver("unbound", overtime=OVERTIME),   # its clock has whole seconds
    "bind": Resolver("BIND"),
    "powerdns": Resolver("PowerDNS Recursor", 1.0, 1.0, keeps_order=True),
    "knot": Resolver("Knot Resolver", 5.0, 5.0, OVERTIME),
    "dnsmasq": Resolver("dnsmasq"),
}
