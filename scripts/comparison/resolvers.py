"""Experiment 12: what caching resolvers make of our answers: their order, their time, and what they do without us."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comparison import enclosure
from comparison.experiment import Experiment, Lab, Result, Table
from comparison.resolving import AWAY_TTL, BACK, GONE, HOLDING, RATE, WATCHED
from comparison.statistics import median

TOLERANCE = 0.25    # seconds by which a gap may be shorter than the TTL and still be no prefetch


def run(lab: Lab) -> Result:
    found = enclosure.perform(lab, "resolving")
    lab.lags += found["lags"]
    return report(lab, found)


def held(gaps: Sequence[float]) -> str:
    """Seconds from query to query: the median, and the range when it is wide."""
    if not gaps:
        return "–"
    low, high, middle = min(gaps), max(gaps), median(gaps)
    return f"{middle:.1f}" if high - low < 0.3 else f"{middle:.1f} ({low:.1f}–{high:.1f})"


def report(lab: Lab, found: dict[str, Any]) -> Result:
    seen, versions = found["resolvers"], found["versions"]
    ttls = list(next(iter(seen.values()))["gaps"])
    names = {name: f"{name} {versions[name]}" for name in seen}
    tables = [
        Table("The order of four addresses that come from the cache; what queries carry; the addresses of large pools "
              "in a reply of 1232 octets", ["", "order", "0x20", "cookies", "client subnet", "of 60", "of 100"], [
                  [names[name], one["order"], yes(one["mixed_case"]), yes(one["cookies"]), yes(one["subnet"]),
                   *(fitting(room) for room in one["large"].values())] for name, one in seen.items()],
              is_numeric=False),
        Table(f"Seconds from query to query for a name that is looked up {RATE:.0f} times a second",
              ["", *(f"TTL {ttl}" for ttl in ttls)],
              [[names[name], *(held(one["gaps"][ttl]) for ttl in ttls)] for name, one in seen.items()]),
        Table("Of so many look-ups, so many queries reach us", ["", *(f"TTL {ttl}" for ttl in ttls)],
              [[names[name], *(f"{one['reached'][ttl]} of {one['looked_up'][ttl]}" for ttl in ttls)]
               for name, one in seen.items()]),
        Table("Seconds until a drained address was handed out for the last time: the worst of "
              f"{len(next(iter(seen.values()))['last'][ttls[0]])} names",
              ["", *(f"TTL {ttl}" for ttl in ttls)],
              [[names[name], *(f"{max(one['last'][ttl]):.1f}" for ttl in ttls)] for name, one in seen.items()])]
    if found["lost"]:
        tables.append(Table(
            f"Our server is silent for {BACK - GONE:.0f} s: what a client gets whose name had a TTL of {AWAY_TTL}, "
            "each second", ["", "replies", "median wait, s", "longest, s", "all is well again after, s"], [
                [name, ", ".join(f"{count} × {kind}" for kind, count in one["kinds"].items()), f"{one['wait']:.1f}",
                 f"{one['longest']:.1f}",
                 f"{one['well_after']:.0f}"] for name, one in found["lost"].items()], is_numeric=False))
    late = {name: {ttl: round(max(one["last"][ttl]) - int(ttl), 2) for ttl in ttls if int(ttl)}
            for name, one in seen.items()}
    beyond = [f"{name} at TTL {ttl}" for name, one in late.items() for ttl, excess in one.items() if excess > 1.0]
    notes = [*lab.notes, *found["missing"], *filter(None, [found["left_out"]]),
             f"dnslb's drain clock said {found['clock']:.1f} s for the longest TTL; later than the TTL and a second: "
             f"{', '.join(beyond) or 'none'}",
             "all as their Debian packages come; what an internet would tell them (whom to ask) is configured, DNSSEC "
             "is off; without `predict` is Knot Resolver's own default"]
    return Result(found | {"beyond_the_clock": beyond}, tables, [], reading(seen, late, ttls), notes)


def yes(fact: bool) -> str:
    return "yes" if fact else "no"


def fitting(room: dict[str, int]) -> str:
    return f"{room['addresses']}{' (TC)' if room['cut'] else ''}"


def reading(seen: dict[str, Any], late: dict[str, dict[str, float]], ttls: Sequence[str]) -> str:
    orders: dict[str, list[str]] = {}
    for name, one in seen.items():
        orders.setdefault(one["order"], []).append(name)
    said = "; ".join(f"{order}: {', '.join(names)}" for order, names in orders.items())
    worst = max(late, key=lambda name: max(late[name].values()))
    return (f"The order of an answer from the cache is, {said}.  A drained address was seen at most "
            f"{max(late[worst].values()):.1f} s longer than its TTL says ({worst}).")


EXPERIMENT = Experiment(
    number=12,
    name="resolvers",
    question="What do caching resolvers make of the order and the TTL?",
    setup=f"""
look-ups ({RATE:.0f}/s of each name) ──> unbound, BIND, Knot Resolver, PowerDNS Recursor, dnsmasq ...──> relay ──> dnslb
                                   a drain after {HOLDING:.0f} s; elsewhere, the relay is silent from
                                   second {GONE:.0f} to {BACK:.0f}, and all is watched until second {WATCHED:.0f}
""",
    run=run,
    limits="One version of each, a zone of our own, no DNSSEC, no loss; public resolvers are farms of such "
           "caches with other settings.",
    needs=enclosure.NEEDS,
)
