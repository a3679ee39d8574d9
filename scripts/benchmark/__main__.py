#!/usr/bin/env python3
"""Measure what a query costs: dnslb beside NSD, Knot, BIND, gdnsd, PowerDNS, and a C program that only echoes packets.

    scripts/bench                         everything that is installed, about twenty minutes; 0 if all went well
    scripts/bench --quick                 once round, about two minutes
    scripts/bench --only mix case --servers dnslb nsd bind
    scripts/bench --only mix --records 1000000
    scripts/bench --only static pool weighted sticky
    scripts/bench --probes                what probing costs dnslb's parent, in less than a minute
    scripts/bench --reloads               what clients notice of reloads of 100,000 records, in half a minute
    scripts/bench --abuse                 what one cheap hostile client takes from the others, in six minutes
    scripts/bench --outage                what clients notice when 10,000 pools change at once, in two minutes
    scripts/bench --latency               how long replies take at 1,000 to 50,000 queries a second, in two minutes
    scripts/bench --hang                  what they notice of processes that hang, die or are replaced, in three minutes
    scripts/bench --also 'old=/tmp/old/bin/python -m dnslb serve $zones --listen 127.0.0.1:$port --workers 1'

How.  Every server runs on one core with one worker or thread, the generator (dnsperf) on another; same zone, same
packets, on 127.0.0.1.  All servers run all the time; one is asked, the others sleep.  In each repeat the classes come
in order, and in each class the servers in an order shuffled with a fixed seed, so that a noisy minute hits everybody.
Before each run the answers are checked; after it, a run with more than 0.1 % losses or another share of rcodes than the
class has is refused; a run during which something else used one of the two cores is done again, once.  The figure is
the median.

What the figure is.  CPU time of all threads of all processes of the server, divided by the replies that came back.  The
kernel's work for a query is in it as far as it is done on the server's core: receiving, sending, and handing the reply
to the generator's socket, which includes waking it up.

What it is not.  A fixed number of queries (--outstanding) is on the way at any time.  A server slower than the
generator is saturated, finds many packets waiting, and if it batches (recvmmsg) gains by that, as under real load; a
server that is faster waits now and then and pays for being woken.  dnsperf is slower than the fastest servers and than
the floor: their cost is overstated a little, so the others' ratios to the floor are flattered.  The table says how busy
each kept its core.  --generator load sends UDP from load.c, which keeps every server saturated: the floor is then a
quarter lower, and the ratios are the stricter ones.  --rate offers everybody the same number of queries per second
instead.  One machine is generator and server: the ratios of one run mean more than the microseconds.

Pools.  In a second part all servers that can run again, with pools of backends on 127.0.1.x, served by a thread of this
process, which they probe all the time; the CPU time of probing counts, as all else.  Before, one backend is dead: it
must be left out of every answer, and come back when it lives.  What a pool costs is compared to a name that is none
(``static``) of the same server.

The queries are prebuilt packets (dnsperf -B), since dnsperf cannot vary an option; fresh ones in each repeat where the
class is made of fresh queries.  Server cookies are given by those that give them unasked (dnslb, BIND, gdnsd);
``kept-cookie`` shows each server its own.  TCP has no floor, and always dnsperf.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from types import FrameType

from benchmark import abuse, balance, doors, finding, hang, latency, outage, probes, reloads, report
from benchmark.backends import Backends
from benchmark.finding import Finding
from benchmark.measurement import Load, Refusal, Run, measure_quietly
from benchmark.queries import (
    BACKENDS,
    CLASSES,
    DNAME_ZONE,
    POLICY,
    POOL_CLASSES,
    POOL_ZONE,
    STATIC_ZONE,
    ZONE,
    ZONE_NAME,
    QueryClass,
    given_cookie,
    packet,
    padding,
    stream,
)
from benchmark.servers import SERVERS, Server, fill, find, other
from benchmark.targets import HERE, Ground, RefusedError, Site, Target, ask, compile_c, start, version

ALL_CLASSES = CLASSES + POOL_CLASSES
SEED = 2                    # of the servers' order and of the packets
FRESH_PER_SECOND = 300_000  # distinct queries prebuilt per second of a run: more than are sent
SAME = 10_000               # queries in the file of a class whose queries repeat anyhow
OVERHEAD = 0.5              # seconds per run, for checks, query files, and starting the generator
NEEDED = (("dnsperf", "dnsperf"), ("taskset", "util-linux"), ("cc", "gcc libc6-dev"))


def positive(text: str) -> float:
    if not float(text) > 0:
        raise ValueError
    return float(text)


def picture(text: str) -> Path:
    if not text.endswith((".svg", ".png")):
        raise argparse.ArgumentTypeError("a chart is a .svg or .png file")
    return Path(text)


def server(text: str) -> Server:
    name, equals, command = text.partition("=")
    if not (name.isalnum() and equals and command.split()) or name in [known.name for known in SERVERS]:
        raise argparse.ArgumentTypeError("give NAME=COMMAND with a new name")
    return other(name, command)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="CPU µs per query of dnslb and its peers.  How and why: see its docstring.")
    classes, servers = [query_class.name for query_class in ALL_CLASSES], [server.name for server in SERVERS]
    add = parser.add_argument
    add("--only", nargs="+", metavar="CLASS", choices=classes, default=classes, help=f"of: {' '.join(classes)}")
    add("--servers", nargs="+", metavar="NAME", choices=servers, default=servers,
        help=f"of: {' '.join(servers)}; echo always runs")
    add("--also", action="append", default=[], type=server, metavar="NAME=COMMAND",
        help="one more server; $zones, $zone, $port, $python and $directory are filled in")
    add("--repeats", type=int, choices=range(1, 100), metavar="N", help="default: 3")
    add("--seconds", type=positive, metavar="S", help="of each run, after a warm-up of a quarter; default: 4")
    add("--quick", action="store_true", help="one repeat of one second")
    add("--generator", choices=("dnsperf", "load"), default="dnsperf", help="load: load.c, for UDP; default: dnsperf")
    add("--outstanding", type=int, choices=range(1, 10_000), default=100, metavar="N", help="on the way; default: 100")
    add("--rate", type=int, metavar="N", help="queries per second at most (dnsperf); default: no limit")
    add("--records", type=int, default=0, metavar="N", help="pad the zone with so many more records")
    add("--json", type=Path, metavar="FILE", help="default: bench.json in a new temporary directory")
    add("--chart", type=picture, metavar="FILE", help=".svg or .png; default: bench.svg beside the JSON")
    add("--probes", action="store_true", help="instead: what probing costs dnslb, in less than a minute")
    add("--reloads", action="store_true", help="instead: what clients notice of reloads, in half a minute")
    add("--abuse", nargs="*", metavar="CASE", choices=[*(attack.name for attack in abuse.ATTACKS), *doors.CASES],
        help=f"instead: hostile clients, of: {' '.join((*(attack.name for attack in abuse.ATTACKS), *doors.CASES))}")
    add("--outage", nargs="*", metavar="CASE", choices=list(outage.CASES),
        help=f"instead: mass outages, of: {' '.join(outage.CASES)}")
    add("--latency", action="store_true", help="instead: how long replies take, at rates from 1,000/s, in two minutes")
    add("--hang", nargs="*", metavar="CASE", choices=list(hang.CASES),
        help=f"instead: processes that hang or die, of: {' '.join(hang.CASES)}")
    add("--python", default=sys.executable, metavar="PATH", help="that runs dnslb; default: the one that runs this")
    options = parser.parse_args()
    if options.rate and options.generator == "load":
        parser.error("--rate needs --generator dnsperf")
    options.seconds = options.seconds or (1.0 if options.quick else 4.0)
    options.repeats = options.repeats or (1 if options.quick else 3)
    return options


def choose(names: Sequence[str], python: str) -> list[Server]:
    """The servers that were asked for and are there; a line for each that is not."""
    chosen = []
    for server in SERVERS:
        if server.name not in names and not server.is_floor:
            continue
        if server.program and not find(server.program):
            print(f"without {server.name}: apt install {server.package}")
        elif version(server, python) is None:
            remedy = "" if server.program else f" with {python}; pip install -e . or --python PATH"
            print(f"without {server.name}: it does not run{remedy}")
        else:
            chosen.append(server)
    return chosen


def lay_out(directory: Path, python: str, core: int, records: int, probe_port: int | None) -> Site:
    """The zone file, and the same without what not all can read; where pools are measured, with their policy."""
    zone = directory / "zones" / f"{ZONE_NAME}.zone"
    zone.parent.mkdir(parents=True)
    plain = directory / "plain.zone"
    texts = {plain: ZONE + STATIC_ZONE, zone: ZONE + STATIC_ZONE + POOL_ZONE} if probe_port else {
        plain: ZONE, zone: ZONE + DNAME_ZONE}
    for path, text in texts.items():
        with path.open("w") as file:
            file.write(text)
            file.writelines(padding(records))
    if probe_port:
        zone.with_suffix(".yaml").write_text(fill(POLICY, probe_port=probe_port))
    return Site(directory, zone, plain, probe_port, python, core)


def start_all(servers: Sequence[Server], site: Site, stack: ExitStack) -> Iterator[Target]:
    """Those that start and answer rightly; a line for each that does not."""
    for server in servers:
        began, own = time.monotonic(), stack.enter_context(ExitStack())
        try:
            target = start(server, site, CLASSES[0], own)
        except (RefusedError, OSError) as error:
            own.close()
            print(f"without {server.name}: {error}", flush=True)
        else:
            label = f"{server.name} {version(server, site.python)}".strip()
            print(f"{label}: right answers after {time.monotonic() - began:.1f} s", flush=True)
            yield target


def write_queries(query_class: QueryClass, seconds: float, path: Path, seed: str) -> Path:
    count = max(SAME, int(FRESH_PER_SECOND * seconds)) if query_class.is_fresh else SAME
    with path.open("wb") as file:
        file.writelines(stream(query_class, count, Random(seed)))
    return path


def write_both(query_class: QueryClass, load: Load, directory: Path, repeat: int) -> tuple[Path, Path]:
    """For warming up, and for the run."""
    return (write_queries(query_class, load.warm_up, directory / "warm-up", f"{SEED} warm-up {repeat}"),
            write_queries(query_class, load.seconds, directory / "queries", f"{SEED} {repeat}"))


def with_given_cookie(query_class: QueryClass, target: Target) -> QueryClass:
    """The same, showing the cookie that this server gives."""
    query = packet(query_class.shares[0][1], query_class, Random(SEED))
    try:
        return replace(query_class, cookie=given_cookie(ask(query, target.port, query_class.transport)))
    except OSError:
        return query_class  # the run tells what is wrong


def able(targets: Sequence[Target], query_class: QueryClass) -> list[Target]:
    return [target for target in targets if target.server.is_able(query_class.name)]


def measure_all(targets: Sequence[Target], classes: Sequence[QueryClass], load: Load, repeats: int,
                directory: Path) -> Iterator[Run | Refusal]:
    """Every class on every server, ``repeats`` times, a line for each."""
    rng, done = Random(SEED), 0
    total = repeats * sum(len(able(targets, query_class)) for query_class in classes)
    for repeat in range(1, repeats + 1):
        for query_class in classes:
            files = write_both(query_class, load, directory, repeat)
            order = able(targets, query_class)
            rng.shuffle(order)
            for target in order:
                if query_class.cookie:
                    files = write_both(with_given_cookie(query_class, target), load, directory, repeat)
                outcome = measure_quietly(target, query_class, load, repeat, files)
                done += 1
                print(f"[{done:{len(str(total))}}/{total}] {repeat} {query_class.name:8} {target.server.name:8}  "
                      f"{describe(outcome)}", flush=True)
                yield outcome


def describe(outcome: Run | Refusal) -> str:
    if isinstance(outcome, Refusal):
        return f"refused: {outcome.reason}"
    noise = f", others {outcome.others:.0%}" if outcome.others > 0.03 else ""
    return f"{outcome.microseconds:6.2f} µs  {outcome.qps:8,.0f} q/s  core {outcome.busy:4.0%}{noise}"


def machine() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return f"{found[1] if found else platform.machine()}, Linux {platform.release()}"


def check_pools(targets: Sequence[Target], classes: Sequence[QueryClass], backends: Backends) -> list[Target]:
    """Revive the backend that was dead at the start; a line for each pool that is wrong, which is not measured then."""
    faults = balance.find_faults(targets, classes, balance.without_dead)
    backends.revive(balance.DEAD)
    faults = balance.find_faults(targets, classes, balance.with_all) | faults
    for (server, query_class), fault in faults.items():
        print(f"without {server} {query_class}: {fault}")
    if not faults:
        print("pools: the dead backend was left out and came back; weights and orders are kept", flush=True)
    return [unable(target, {name: fault for (server, name), fault in faults.items() if server == target.server.name})
            for target in targets]


def unable(target: Target, faults: dict[str, str]) -> Target:
    return replace(target, server=replace(target.server, lacks=(*target.server.lacks, *faults.items())))


def measure_group(servers: Sequence[Server], classes: Sequence[QueryClass], load: Load,
                  options: argparse.Namespace, core: int) -> tuple[list[Run | Refusal], bool]:
    """Start the servers, with pools if the classes are about them, and measure.  Whether all could be is told too."""
    with tempfile.TemporaryDirectory(prefix="dnslb-bench-") as name, ExitStack() as stack:
        directory = Path(name)
        backends = None
        if classes[0] in POOL_CLASSES:
            backends = stack.enter_context(Backends(BACKENDS))
            backends.revive(*(address for address in BACKENDS if address != balance.DEAD))
        site = lay_out(directory, options.python, core, options.records, backends.port if backends else None)
        targets = started = list(start_all(servers, site, stack))
        if backends:
            targets = check_pools(started, classes, backends)
        count = options.repeats * sum(len(able(targets, query_class)) for query_class in classes)
        print(f"{count} runs of {load.warm_up:g} + {load.seconds:g} s: "
              f"about {count * (load.warm_up + load.seconds + OVERHEAD) / 60:.0f} minutes, "
              "more where something else keeps the cores busy", flush=True)
        outcomes = list(measure_all(targets, classes, load, options.repeats, directory))
        return outcomes, len(started) == len(servers) and targets == started


def run(options: argparse.Namespace, cores: Sequence[int]) -> int:
    began = time.monotonic()
    servers = choose(options.servers, options.python) + options.also
    outcomes: list[Run | Refusal] = []
    all_well = True
    with tempfile.TemporaryDirectory(prefix="dnslb-bench-") as name:
        own = Path(name) / "load.out" if options.generator == "load" else None
        if own:
            compile_c(HERE / "load.c", own)
        load = Load(cores[1], options.seconds, options.seconds / 4, options.outstanding, options.rate, own)
        # Apart, so that servers probe nothing while they are asked for plain names.
        for group in (CLASSES, POOL_CLASSES):
            if classes := [query_class for query_class in group if query_class.name in options.only]:
                measured, went_well = measure_group(servers, classes, load, options, cores[0])
                outcomes += measured
                all_well &= went_well

    runs = [outcome for outcome in outcomes if isinstance(outcome, Run)]
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
    figures = report.summarise(runs)
    chosen = [query_class for query_class in ALL_CLASSES if query_class.name in options.only]
    rows, columns = [server.name for server in servers], [query_class.name for query_class in chosen]
    print("", report.tables(figures, rows, columns), "", sep="\n")
    if any(query_class in POOL_CLASSES for query_class in chosen):
        print(f"probes: tcp, {len(BACKENDS)} backends, each every second (gdnsd: every two); the cost is included")
    for server in servers:
        for query_class, reason in server.lacks:
            if query_class in columns:
                print(f"without {server.name} {query_class}: {reason}")
        for name in server.unprobed:
            if name in columns and server.is_able(name):
                print(f"{server.name} {name}: without regard to health")
    for refusal in refusals:
        print(f"refused: {refusal.server} {refusal.query_class}, repeat {refusal.repeat}: {refusal.reason}")
    report.write(options.json or Path(tempfile.mkdtemp(prefix="dnslb-bench-")) / "bench.json", {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
        "generator": options.generator, "outstanding": load.outstanding, "rate": load.rate,
        "seconds": load.seconds, "warm_up": load.warm_up, "repeats": options.repeats, "seed": SEED,
        "padding": options.records,
        "classes": {query_class.name: query_class.about for query_class in chosen},
        "versions": {server.name: version(server, options.python) for server in servers},
    }, outcomes, figures, options.chart)
    print(f"{(time.monotonic() - began) / 60:.1f} minutes")
    return 1 if refusals or not runs or not all_well else 0


def probe_cost(options: argparse.Namespace, core: int) -> int:
    costs = []
    for load in probes.LOADS:
        costs.append(probes.measure(load, options.python, core))
        print(probes.describe(costs[-1]), flush=True)
    print("", probes.table(costs), "", sep="\n")
    probes.write(options.json or Path(tempfile.mkdtemp(prefix="dnslb-bench-")) / "probes.json", machine(), costs)
    return 1 if any(cost.down for cost in costs) else 0


def reload_cost(options: argparse.Namespace, cores: Sequence[int]) -> int:
    found = reloads.measure(options.python, (cores[0], cores[1]))
    print(reloads.describe(found), flush=True)
    reloads.write(options.json or Path(tempfile.mkdtemp(prefix="dnslb-bench-")) / "reloads.json", machine(), found)
    return 1 if found.lost else 0


def resist(options: argparse.Namespace, ground: Ground) -> int:
    """--abuse: 0 when every bar is kept."""
    attacks = [attack for attack in abuse.ATTACKS if attack.name in options.abuse or not options.abuse]
    names = [name for name in doors.CASES if name in options.abuse or not options.abuse]
    servers = choose([server.name for server in abuse.SERVERS], options.python)
    servers = [server for server in servers if not server.is_floor]
    outcomes = list(abuse.measure_all(attacks, servers, ground))
    doors_found = list(abuse.measure_doors(names, ground))
    if outcomes:
        print("", abuse.tables(outcomes), sep="\n")
    return judge("abuse", options, [*abuse.judged(outcomes), *doors_found],
                 f"{abuse.markdown(outcomes)}\n\n{finding.as_rows(doors_found)}",
                 outcomes=[asdict(outcome) for outcome in outcomes])


def judge(name: str, options: argparse.Namespace, findings: Sequence[Finding], markdown: str, **more: object) -> int:
    """Print all figures beside their bars, write the JSON; 1 when a bar is missed.

    ``markdown`` is the same for scripts/README.md.
    """
    print("", finding.table(name, findings), "", markdown, "", sep="\n")
    versions = {server.name: version(server, options.python) for server in SERVERS
                if server.name in {found.server for found in findings} | set(abuse.OTHERS)}
    finding.write(options.json or Path(tempfile.mkdtemp(prefix="dnslb-bench-")) / f"{name}.json", machine(), versions,
                  findings, **more)
    missed = sum(not found.is_kept for found in findings)
    print(f"{missed} of {sum(found.most is not None for found in findings)} bars missed" if missed else "all bars kept")
    return 1 if missed else 0


def interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    options = arguments()
    cores = sorted(os.sched_getaffinity(0))
    missing = [f"{program} (apt install {package})" for program, package in NEEDED if not find(program)]
    if missing or len(cores) < 2:
        print("scripts/bench needs " + (", ".join(missing) or "two cores: one for the server, one for the generator"))
        return 2
    signal.signal(signal.SIGTERM, interrupt)
    os.sched_setaffinity(0, {cores[1]})
    try:
        if options.probes:
            return probe_cost(options, cores[0])
        if options.abuse is not None:
            return resist(options, Ground(options.python, cores[0]))
        if options.outage is not None:
            findings = list(outage.measure(options.outage or outage.CASES, Ground(options.python, cores[0])))
            return judge("outage", options, findings, finding.as_rows(findings))
        if options.latency:
            servers = choose([server.name for server in latency.SERVERS], options.python)
            findings = list(latency.measure(servers, Ground(options.python, cores[0])))
            return judge("latency", options, findings, finding.as_rows(findings))
        if options.hang is not None:
            findings = list(hang.measure(options.hang or hang.CASES, Ground(options.python, cores[0])))
            return judge("hang", options, findings, finding.as_rows(findings))
        return reload_cost(options, cores) if options.reloads else run(options, cores)
    except RefusedError as error:
        print(error)
        return 2
    except KeyboardInterrupt:
        print("interrupted: all servers are stopped, nothing is reported")
        return 130


if __name__ == "__main__":
    sys.exit(main())
