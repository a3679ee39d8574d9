"""The report's first page: a line for each question that a newcomer asks, made from what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from comparison.experiment import Result, Table
from comparison.statistics import median

Measured = Mapping[str, Any]    # of one experiment
NOT_MEASURED = "not measured in this run"


def table(results: Mapping[str, Result]) -> Table:
    rows = [[question, answer(results[name].measurements) if name in results else NOT_MEASURED, name]
            for question, name, answer in QUESTIONS]
    return Table("", ["question", "answer", "experiment"], rows, is_numeric=False)


def load(measured: Measured) -> str:
    points = {point["ttl"]: point for point in measured["points"]}
    last = points[max(points)]
    return (f"at TTL 1 {points[1]['queries'] / points[1]['look_ups']:.0%} of the look-ups, at TTL {last['ttl']} "
            f"{last['queries'] / last['look_ups']:.1%}")


def fault(name: str) -> Callable[[Measured], str]:
    """Failed of so many requests: clients of DNS like Java and like curl, and the best of the L7 balancers."""

    def answer(measured: Measured) -> str:
        conditions = measured["conditions"]

        def failed(condition: str) -> float:
            return median([case["failed"] for case in conditions[condition]["faults"][name]["cases"]])

        ttl = min(condition["ttl"] for title, condition in conditions.items() if " TTL " in title)
        ways = {like: f"dnslb TTL {ttl}, full, clients like {like}" for like in ("Java", "curl")}
        requests = conditions[ways["Java"]]["faults"][name]["cases"][0]["requests"]
        tuned = [failed(title) for title in conditions if title.endswith(" tuned")]
        beside = f"; tuned L7 balancers {max(tuned):.0f} at most" if tuned else ""
        return (f"dnslb (TTL {ttl}): {failed(ways['curl']):.0f} of {requests} by clients like curl, "
                f"{failed(ways['Java']):.0f} like Java{beside}")

    return answer


def moving_on(measured: Measured) -> str:
    fates = list(measured["fates"].values())

    def moved(fault: str) -> str:
        return str(sum(fate[fault]["reached"] is not None and fate[fault]["reached"] < 2.0 for fate in fates))

    faults = {"refuses": "when one refuses", "loses SYNs": "when it loses SYNs", "stays silent": "when it hangs",
              "answers 500": "when it answers 500"}
    said = ", ".join(f"{moved(fault)} {what}" for fault, what in faults.items() if all(fault in fate for fate in fates))
    return f"of {len(fates)} clients within 2 s: {said}"


def hop(measured: Measured) -> str:
    """Of new connections, at the middle rate; all processes together."""
    cpu = {label.split("/")[0]: median([sum(each) for each in zip(*roles.values(), strict=True)])
           for label, roles in measured["cpu_ms_per_request"].items() if label.endswith("/400/new")}
    tuned = {name: value for name, value in cpu.items() if name.endswith("tuned")}
    beside = f", through a tuned L7 balancer {min(tuned.values()):.2f} to {max(tuned.values()):.2f}" if tuned else ""
    return (f"with everybody's CPU counted, ms a request over new connections: by dnslb {cpu['dnslb']:.2f}{beside}; "
            f"without either {cpu['direct']:.2f}")


def busy(measured: Measured) -> str:
    p99 = {name: case["milliseconds"][1] for name, case in measured["cases"].items()}
    whole, one = ([value for name, value in p99.items() if name.endswith(f"{many}, cyclic")] for many in ("all", "one"))
    beside = [value for name, value in p99.items() if not name.startswith("dnslb")]
    against = f", through an L7 balancer {min(beside):.0f} to {max(beside):.0f}" if beside else ""
    return (f"p99 at {measured['load']:.0%} load, ms: all addresses in an answer {min(whole):.0f} to {max(whole):.0f}, "
            f"one {min(one):.0f} to {max(one):.0f}{against}")


def feedback(measured: Measured) -> str:
    def told(name: str) -> str:
        case = measured["cases"][name]
        fallen = "never" if case["fallen"] is None else f"{case['fallen']:.0f} s"
        return f"{fallen}, p99 at last {case['milliseconds'][1]:.0f} ms"

    beside = "".join(f"; {name} {told(name)}" for name in measured["cases"] if name.startswith("HAProxy"))
    blind, fed = told("dnslb, no feedback"), told("dnslb, feedback")
    return f"to half its share: dnslb {blind}, with load feedback {fed}{beside}"


def deploys(measured: Measured) -> str:
    drained = {name: cases for name, cases in measured["conditions"].items() if ", drain" in name}
    parts = [f"{name.partition(',')[0]} {median([case['duration'] for case in cases]):.0f} s and "
             f"{sum(case['failed'] for case in cases)} failures" for name, cases in drained.items()]
    return "drained: " + ", ".join(parts)


def death(measured: Measured) -> str:
    conditions, away = measured["conditions"], measured["returns"] - measured["dies"]

    def lost(name: str) -> str:
        return f"{100 * median([case['share'] for case in conditions[name]]):.0f} %"

    beside = "".join(f"; {name} {lost(name)}" for name in conditions if not name.startswith("dnslb"))
    nodes = f"dnslb, one node {lost('dnslb, one node')}, two {lost('dnslb, two nodes')}"
    return f"away for {away} s, failed: {nodes}{beside}"


def trouble(measured: Measured) -> str:
    found = {(line["loss"], line["ttl"]): f"{line['answered'] / line['look_ups']:.0%}" for line in measured["lines"]
             if not line["is_stale"]}
    losses, ttls = sorted({loss for loss, _ in found}), sorted({ttl for _, ttl in found})
    half, gone = ([found[loss, ttl] for ttl in (ttls[0], ttls[-1])] for loss in (losses[0], losses[-1]))
    return (f"look-ups that go well at TTL {ttls[0]} and {ttls[-1]}: with {losses[0]} % of the packets lost "
            f"{' and '.join(half)}, with {losses[-1]} % {' and '.join(gone)}")


def both(measured: Measured) -> str:
    def failed(label: str) -> str:
        cases = measured["events"]["a HAProxy is killed"][label]
        return f"{median([case['failed'] for case in cases]):.0f} of {cases[0]['requests']}"

    return (f"one HAProxy of two is killed: {failed('dnslb and two, clients like curl')} fail for clients like curl, "
            f"{failed('dnslb and two, clients like Java')} like Java; of one alone {failed('one HAProxy')}")


def hidden(measured: Measured) -> str:
    found: dict[str, list[float]] = {}
    for case in measured["cases"]:
        found.setdefault(case["name"], []).append(case["well"])
    told = ", ".join(f"{name} {min(well):.0%} to {max(well):.0%}" for name, well in found.items())
    return f"windows in which no clone is overloaded, over the levels: {told}"


QUESTIONS: tuple[tuple[str, str, Callable[[Measured], str]], ...] = (
    ("A backend is dead: who notices?", "failover", fault("SIGKILL")),
    ("A backend hangs: who notices?", "failover", fault("SIGSTOP")),
    ("Do clients take the next address?", "clients", moving_on),
    ("What does the hop cost?", "hop", hop),
    ("Backends are busy: do queues grow?", "busy", busy),
    ("A backend becomes slow, and says so: when is it left?", "feedback", feedback),
    ("One address in an answer: does it help to know what resolvers hide?", "hidden", hidden),
    ("How long does a deploy take?", "deploys", deploys),
    ("The balancer dies: what is lost?", "balancer_death", death),
    ("DNS before two L7 balancers: what then?", "both", both),
    ("How many queries reach the nameserver?", "ttl_load", load),
    ("The nameserver loses packets: what then?", "trouble", trouble),
)
