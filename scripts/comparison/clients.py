"""Experiment 11: what programs do with a name that has several addresses, when the first of them does not work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comparison import enclosure
from comparison.experiment import Experiment, Lab, Result, Table
from comparison.statistics import median
from comparison.street import FAULTS
from comparison.trial import BROWSER_RUNS, HOLDING, LIMIT, REQUESTS, RUNS, TTLS


def run(lab: Lab) -> Result:
    return report(lab, enclosure.perform(lab, "trial"))


# What it says.


def fate_cell(fate: dict[str, float | None]) -> str:
    """``next, 0.2 s``, ``fails, 5.5 s``, or ``waits > 150 s``."""
    if fate["reached"] is not None:
        return f"next, {fate['reached']:.1f} s"
    if fate["ended"] is not None:
        return f"fails, {fate['ended']:.1f} s"
    return f"waits > {fate['limit']:.0f} s"


def begun_cell(counts: Sequence[int]) -> str:
    return "/".join(map(str, counts))


def held_cell(gaps: Sequence[float]) -> str:
    """The seconds that an address was held; a client that looks up for each request has gaps of half a second."""
    if not gaps:
        return f"> {HOLDING:.0f}"
    middle = median(gaps)
    return "not" if middle < 0.9 else f"{middle:.0f}"


def report(lab: Lab, found: dict[str, Any]) -> Result:
    fates = found["fates"]
    faults = [fault for fault in FAULTS if all(fault in fate for fate in fates.values())]
    rows = [[f"{name} {found['versions'][name]}", ", ".join(found["families"][name]),
             *(fate_cell(fate[fault]) for fault in faults)] for name, fate in fates.items()]
    tables = [Table("The first of two addresses does not work", ["", "asks for", *(f"it {fault}" for fault in faults)],
                    rows, is_numeric=False)]
    if not lab.quick:
        tables.append(Table(
            f"Four addresses that work: which were used by {RUNS} runs from scratch (a browser: {BROWSER_RUNS}), by "
            f"{REQUESTS} requests of one run, and the seconds that an address is held",
            ["", "far", "near", f"{REQUESTS} requests", *(f"held at TTL {ttl}" for ttl in TTLS)], [
                [name, begun_cell(found["begun"][name]["far"]), begun_cell(found["begun"][name]["near"]),
                 begun_cell(found["spread"][name]),
                 *(held_cell(found["held"][name][str(ttl)]) if found["held"][name] else "–" for ttl in TTLS)]
                for name in fates], is_numeric=False))
    notes = [*lab.notes, *found["missing"],
             "seconds count from a program's first query to the arrival of its request at the second address; all "
             "programs as they come, with their own time-outs, one try each",
             f"near: servers in the client's own /24 (client .10, servers .11 to .14); far: elsewhere; "
             f"watched for {LIMIT:.0f} s at most"]
    return Result(found, tables, [], reading(fates), notes)


def reading(fates: dict[str, dict[str, Any]]) -> str:
    def moved(fault: str, within: float) -> str:
        seen = [fate[fault] for fate in fates.values()]
        return f"{sum(one['reached'] is not None and one['reached'] <= within for one in seen)} of {len(seen)}"

    text = f"Of {len(fates)} clients whose first address refuses, {moved('refuses', 2.0)} are at the second within 2 s"
    others = [fault for fault in FAULTS if fault != "refuses" and all(fault in fate for fate in fates.values())]
    if not others:
        return f"{text}."
    return f"{text}; when it " + ", ".join(f"{fault} {moved(fault, 2.0)}" for fault in others) + \
        ".  Several addresses help against a backend that is dead, little against one that hangs or is ill."


EXPERIMENT = Experiment(
    number=11,
    name="clients",
    question="The first of several addresses does not work: do clients try the next?",
    setup="""
client (curl, wget, Python, Node, Go, Java, Chromium) ── resolv.conf ──> relay that notes ──> dnslb
   │            order: none, so always [bad, good]
   ├──> bad: refuses, loses SYNs, stays silent, resets, answers 500
   └──> good
""",
    run=run,
    limits="One version of each program, IPv4, one try without a cache of its own; people press reload. For "
           "IPv6, glibc sorts servers everywhere, not only near ones.",
    needs=enclosure.NEEDS,
)
