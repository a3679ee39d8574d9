"""The report's matrix: what each kind of balancing can and cannot do, and which to use when.

The figures are those of the experiments; what is known without them stands in tables of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from comparison.experiment import Result, Table
from comparison.statistics import median

NO = "n/a"
NOT_MEASURED = "not measured in this run"
DETOUR = "all data pass its site"
COLUMNS = ("dnslb", "HAProxy", "Envoy", "nginx")
Measured = Mapping[str, Any]    # of one experiment
Cell = Callable[[Measured, str], str]


def matrix(results: Mapping[str, Result]) -> Sequence[Table]:
    return [*(measured(title, results, rows) for title, rows in MEASURED),
            *(facts(title, rows) for title, rows in FACTS)]


def measured(title: str, results: Mapping[str, Result], rows: Sequence[MeasuredRow]) -> Table:
    """Figures only: what was not measured in this run, or cannot be, says so."""
    lines = []
    for wanted, experiment, cell in rows:
        found = results.get(experiment)
        cells = (cell(found.measurements, column) or NO if found else NOT_MEASURED for column in COLUMNS)
        lines.append([wanted, *cells])
    return Table(f"Measured here: {title} (default / tuned; {NO}: there is none)", ["", *COLUMNS], lines,
                 is_numeric=False)


def facts(title: str, rows: Sequence[FactRow]) -> Table:
    return Table(f"Known, not measured: {title}", ["", *COLUMNS], [[wanted, *cells] for wanted, cells in rows],
                 is_numeric=False)


def lost(fault: str) -> Cell:
    """Failed requests, of those in the watch."""

    def cell(measured: Measured, column: str) -> str:
        conditions = measured["conditions"]

        def failed(name: str) -> str:
            cases = conditions[name]["faults"][fault]["cases"] if name in conditions else []
            return f"{median([case['failed'] for case in cases]):.0f}" if cases else ""

        if column == "dnslb":
            ttls = sorted({condition["ttl"] for name, condition in conditions.items() if " TTL " in name})
            low, high = f"dnslb TTL {ttls[0]}, full, clients like", f"dnslb TTL {ttls[-1]}, full, clients like"
            every = {like: f"{failed(f'{low} {like}')} to {failed(f'{high} {like}')}" for like in ("Java", "curl")}
            requests = conditions[f"{low} Java"]["faults"][fault]["cases"][0]["requests"]
            return (f"clients like Java {every['Java']} of {requests} (TTL {ttls[0]} to {ttls[-1]}), "
                    f"like curl {every['curl']}")
        return " / ".join(filter(None, (failed(column), failed(f"{column} tuned"))))

    return cell


def added_latency(measured: Measured, column: str) -> str:
    """Over new and over kept connections; default / tuned."""
    medians = {label: figures["0.5"]["median"] for label, figures in measured["latency_ms"].items()}

    def added(name: str) -> str:
        kinds = [kind for kind in ("400/new", "400/kept") if f"{name}/{kind}" in medians]
        return ", ".join(f"{medians[f'{name}/{kind}'] - medians[f'direct/{kind}']:+.2f} ms" for kind in kinds)

    return added(column) if column == "dnslb" else " / ".join(filter(None, map(added, settings(column))))


def settings(column: str) -> tuple[str, str]:
    return f"{column} default", f"{column} tuned"


def together(measured: Measured, column: str) -> str:
    """CPU of all processes, the client's included, over new and kept connections; default / tuned."""
    cpu = measured["cpu_ms_per_request"]

    def used(name: str) -> str:
        kinds = [kind for kind in ("400/new", "400/kept") if f"{name}/{kind}" in cpu]
        return ", ".join(f"{median([sum(found) for found in zip(*cpu[f'{name}/{kind}'].values(), strict=True)]):.2f} s"
                         for kind in kinds)

    return used(column) if column == "dnslb" else " / ".join(filter(None, map(used, settings(column))))


def slow_share(measured: Measured, column: str) -> str:
    slow = measured["slow"]

    def share(name: str) -> str:
        return f"{100 * median([shares[0] for shares in slow[name]['shares']]):.0f} %" if name in slow else ""

    if column == "dnslb":
        return f"{share('dnslb')}; least connections {NO}"
    robin, least = share(f"{column} round robin"), share(f"{column} least conn.")
    return f"{robin}; least connections {least}" if robin else ""


def left_after(measured: Measured, column: str) -> str:
    def told(name: str) -> str:
        if name not in measured["cases"]:
            return ""
        fallen = measured["cases"][name]["fallen"]
        return "never" if fallen is None else f"{fallen:.0f} s"

    if column == "dnslb":
        return f"{told('dnslb, feedback')} (TTL {measured['ttl']}); without load feedback {told('dnslb, no feedback')}"
    agent, least = told(f"{column} agent-check"), told(f"{column} least conn.")
    return f"{agent} by agent-check; least connections {least}" if agent else ""


def not_overloaded(measured: Measured, column: str) -> str:
    """Where the backends are least alike."""
    level = max(case["level"] for case in measured["cases"])
    well = {case["name"]: f"{case['well']:.0%}" for case in measured["cases"] if case["level"] == level}
    if column == "dnslb":
        return f"one address {well['constant']}, TTL by hidden load {well['adaptive']}, whole sets {well['whole set']}"
    least = well.get(f"{column} least conn.")
    return f"least connections {least}" if least else ""


def own_death(measured: Measured, column: str) -> str:
    conditions = measured["conditions"]

    def failed(name: str) -> str:
        return f"{100 * median([case['share'] for case in conditions[name]]):.0f} %" if name in conditions else ""

    if column == "dnslb":
        return f"{failed('dnslb, one node')}; second node {failed('dnslb, two nodes')}"
    return f"{failed(column)}; a second one needs VRRP, or DNS" if column in conditions else ""


def deploy(measured: Measured, column: str) -> str:
    """Drained, a condition each; dnslb's with the longest TTL."""
    drained = [name for name in measured["conditions"] if name.startswith(column) and ", drain" in name]
    if not drained:
        return ""
    cases = measured["conditions"][drained[-1]]
    seconds, failed = median([case["duration"] for case in cases]), sum(case["failed"] for case in cases)
    ttl = drained[-1].partition(",")[0].removeprefix("dnslb ")
    return f"{seconds:.0f} s{f' ({ttl})' if column == 'dnslb' else ''}, {failed} failed"


def kept_sessions(measured: Measured, column: str) -> str:
    """With sessions in the clones' memory."""
    ways = {"dnslb": "dnslb sticky"}
    found = [case for case in measured["cases"] if case["way"] == ways.get(column, f"{column} cookie")]
    shares = [100 * case["share"] for case in found if case["store"] == "local"]
    how = "sticky: by the resolver's network" if column == "dnslb" else "cookie"
    return f"{median(shares):.0f} % ({how})" if shares else ""


L7_ALL = ("yes", "yes", "yes")
MeasuredRow: TypeAlias = tuple[str, str, Cell]                  # what is wanted, the experiment, its cell
FactRow: TypeAlias = tuple[str, tuple[str, str, str, str]]
# At most eight rows each: a screen.
MEASURED: tuple[tuple[str, Sequence[MeasuredRow]], ...] = (
    ("when something breaks", (
        ("lost when a backend is killed", "failover", lost("SIGKILL")),
        ("lost when it hangs", "failover", lost("SIGSTOP")),
        ("lost when it answers 500", "failover", lost("status 500")),
        ("lost while it is dead itself", "balancer_death", own_death),
        ("a deploy of all backends, drained", "deploys", deploy),
    )),
    ("what it costs, and how well it balances", (
        ("added to the median latency over new, over kept connections", "hop", added_latency),
        ("CPU of all, clients included, per 1,000 requests: new, kept", "hop", together),
        ("share of a backend that is slow (of four)", "unlike", slow_share),
        ("a backend becomes four times slower: until it has half its share", "feedback", left_after),
        ("windows of 8 s in which no backend is overloaded, of unlike ones", "hidden", not_overloaded),
        ("finds its session in a backend's memory", "sessions", kept_sessions),
    )),
)
FACTS: tuple[tuple[str, Sequence[FactRow]], ...] = (
    ("what it sees and does", (
        ("unit of balancing", ("connection (a resolver, with single answers)", "request", "request", "request")),
        ("active probes", ("yes", "yes", "yes", f"{NO} (in the free version)")),
        ("repeats a failed request elsewhere", (f"{NO} (most clients, when one refuses)", *L7_ALL)),
        ("sees URL, headers, cookies", (NO, *L7_ALL)),
        ("least connections", (NO, *L7_ALL)),
        ("queues when all backends are busy", (NO, "yes", "yes", NO)),
        ("ends TLS", (NO, *L7_ALL)),
    )),
    ("where it stands", (
        ("bandwidth passes through it", ("no", *L7_ALL)),
        ("backends see the client's address", ("yes", "in a header", "in a header", "in a header")),
        ("balances what is not HTTP", ("anything with a name", "TCP", "TCP, some protocols", "TCP, UDP (stream)")),
        ("balances between sites", ("yes", DETOUR, DETOUR, DETOUR)),
        ("a second one takes over by", ("itself: resolvers ask another", *(("VRRP, ECMP, or DNS",) * 3))),
        ("would ECMP or IPVS (L4) do instead", ("in one network of one's own: per connection, no look-up",
                                                *(("where nobody needs to read requests",) * 3))),
    )),
)


def choice(results: Mapping[str, Result]) -> Table:
    """Sentences, with figures where they are."""
    rows = [
        ["use DNS if", f"requests may fail for some seconds when a backend dies{worst_case(results)} or hangs; clients "
                       f"that take the next address when one refuses{movers(results)} lose none to a dead one, but as "
                       "many as others to one that hangs or is ill; backends are alike; the data are many, and a hop "
                       "costs time, CPU and bandwidth; no single machine may stop the service"],
        ["use L7 if", "no request may be lost; backends are slow or unlike and least connections matters"
                      f"{least(results)}; deploys must drain in seconds; requests are routed by URL, header or cookie"],
        ["use both if", "there is more than one site or balancer: dnslb hands out the balancers and probes them, each "
                        "balancer looks after the requests of its site; neither is then a single point of failure"],
    ]
    return Table("Which to use", ["", ""], rows, is_numeric=False)


def movers(results: Mapping[str, Result]) -> str:
    found = results.get("clients")
    if not found:
        return ""
    fates = found.measurements["fates"].values()
    return f" ({sum(fate['refuses']['reached'] is not None for fate in fates)} of {len(fates)} measured)"


def worst_case(results: Mapping[str, Result]) -> str:
    found = results.get("failover")
    if not found:
        return ""
    worst = [condition["worst"] for condition in found.measurements["conditions"].values() if condition["worst"]]
    return f" (here {min(worst):.1f} to {max(worst):.1f} s at worst, by the TTL)"


def least(results: Mapping[str, Result]) -> str:
    found = results.get("unlike")
    slow = found.measurements["slow"] if found else {}
    means = {name: median([mean for mean, _, _ in case["latency_ms"]]) for name, case in slow.items()}
    best = [mean for name, mean in means.items() if name.endswith("least conn.")]
    return f" (here {min(best):.0f} ms on average, {means['dnslb']:.0f} by DNS)" if best else ""
