"""What one cheap hostile client takes from the others: dnslb beside NSD and BIND, attack by attack.

One server on one core, with one worker or thread; two clients on the other core (``traffic``).  The others ask for
ordinary names of the attacked zone at a steady rate; the hostile client does what the attack says.  Every attack meets
a server that was started for it.  dnslb probes four backends all the time, which note when they are probed.
"""

from __future__ import annotations

import math
import struct
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from random import Random

from benchmark import doors, finding, report, traffic
from benchmark.backends import Witness
from benchmark.finding import Finding
from benchmark.measurement import LARGEST_NOISE
from benchmark.processes import ServerStoppedError, core_seconds, usage
from benchmark.queries import (
    CLASSES,
    FOUR,
    MISSING,
    NODATA,
    OPT,
    RD,
    TWO,
    ZONE,
    ZONE_NAME,
    A,
    invent,
    wire_name,
)
from benchmark.servers import BIND, DNSLB, KNOT, NSD, Server
from benchmark.targets import Ground, RefusedError, Site, start
from benchmark.traffic import Met, Programs, Sent

SECONDS = 4.0               # that the others are counted
BEFORE = 0.5                # seconds that the hostile client has to itself before, and a little after
RATE = 2000                 # queries a second of the others
FEW = 100                   # the same beside a flood
LIMIT = 200                 # replies a second for a network, where rate limits are on: NSD's default
ORDINARY = (FOUR, TWO, NODATA, MISSING)
ALIASES = "tree DNAME frontend\n*.wildalias CNAME missing\n"
MOST_LOSS = 0.01            # of the queries, above the loss beside the best of the others
MOST_LATE = 0.050           # seconds that a probe may come late
SOCKETS = 16                # of the hostile client over UDP
WATCHED = tuple(f"127.0.1.{host}" for host in range(11, 15))
PROBED = 0.2                # seconds from probe to probe of these
LARGE = "127.0.1.10"         # what is probed for every backend of the large pool
SERVERS = (DNSLB, NSD, KNOT, BIND)
OTHERS = tuple(server.name for server in SERVERS[1:])

Packet = Callable[[Random], bytes]


@dataclass(frozen=True, slots=True)
class Attack:
    """What the hostile client sends.  Over UDP ``rate`` is given, over TCP the number of connections."""

    name: str
    about: str
    packet: Packet | None
    distinct: int           # queries; then it begins again
    rate: int = 0           # a second
    connections: int = 0    # each writes as fast as it is read
    addresses: int = 1      # that they come from
    pool: int = 0           # addresses of the set that is asked for
    networks: int = 0       # that it comes from over UDP, where rate limits are on; 0: one, and they are off

    def words(self, port: int, file: Path, seconds: float) -> tuple[object, ...]:
        """For hostile.c."""
        if self.connections:
            return "tcp", port, file, seconds, self.connections, self.addresses
        if self.networks:
            return "spread", port, file, seconds, self.rate, self.networks
        return "udp", port, file, seconds, self.rate, SOCKETS

    @property
    def others(self) -> int:
        """Queries a second of theirs."""
        return FEW if self.networks else RATE


@dataclass(frozen=True, slots=True)
class Outcome:
    server: str
    attack: str
    others: Met
    hostile: Sent | None
    busy: float             # share of its core that the server used
    microseconds: float     # CPU of the server per query of the hostile client that was answered, or sent if none was
    late: float | None      # seconds that the latest probe came late; None: it has no probes
    noise: float            # share of that core that something else used
    refused: str = ""       # why there are no figures


# -- the packets -------------------------------------------------------------------------------------------------------

def query(name: bytes, rrtype: int, size: int = 1232, options: bytes = b"") -> bytes:
    opt = struct.pack(">BHHIH", 0, OPT, size, 0, len(options)) + options
    return struct.pack(">6H", 0, RD, 1, 0, 0, 1) + name + struct.pack(">HH", rrtype, 1) + opt


def sizes(rng: Random) -> bytes:
    """For the large set, with room for more or fewer of its addresses."""
    return query(wire_name(f"large.{ZONE_NAME}"), A, rng.randrange(512, 1233))


def unknown_type(rng: Random) -> bytes:
    """A type that nobody knows of a name that exists."""
    return query(wire_name(rng.choice((FOUR, TWO)).name), rng.randrange(300, 65000))


def with_options(count: int) -> Packet:
    """So many options without a value, of codes that nobody knows."""
    def packet(rng: Random) -> bytes:
        codes = rng.randbytes(2 * count)
        options = b"".join(bytes([codes[at] | 0x80, codes[at + 1], 0, 0]) for at in range(0, 2 * count, 2))
        return query(wire_name(FOUR.name), A, options=options)
    return packet


def random_name(rng: Random) -> bytes:
    return query(invent(wire_name(MISSING.name), rng), A)


def many_labels(rng: Random) -> bytes:
    """As long as a name can be, of labels as short as they can be."""
    labels = b"".join(b"\1" + b"%x" % rng.randrange(16) for _ in range(120))
    return query(labels + wire_name(ZONE_NAME), A)


def below(owner: str) -> Packet:
    """Random names of one label below this one."""
    name = wire_name(f"x.{owner}.{ZONE_NAME}")
    return lambda rng: query(invent(name, rng), A)


def fresh_options(rng: Random) -> bytes:
    """32 options that nobody has seen, of codes that nobody knows."""
    return with_options(32)(rng)


def ordinary(rng: Random) -> bytes:
    return query(wire_name(rng.choice(ORDINARY).name), A)


ATTACKS = (
    Attack("none", "nobody else asks", None, 0),
    Attack("sizes-70", "a set of 70 addresses (dnslb: a pool), EDNS sizes 512 to 1232", sizes, 20_000, 5000, pool=70),
    Attack("sizes-1000", "a set of 1,000, the same", sizes, 20_000, 5000, pool=1000),
    Attack("sizes-10000", "a set of 10,000, the same", sizes, 20_000, 5000, pool=10_000),
    Attack("types", "unknown types of existing names", unknown_type, 300_000, 60_000),
    Attack("options", "350 options in the OPT record", with_options(350), 10_000, 8000),
    Attack("random", "random names that do not exist", random_name, 300_000, 60_000),
    Attack("labels", "random names of 122 labels", many_labels, 100_000, 20_000),
    Attack("dname", "random names below a DNAME", below("tree"), 50_000, 10_000),
    Attack("wildcard", "random names below a wildcard CNAME to a name that is missing", below("wildalias"), 50_000,
           10_000),
    Attack("32-options", "32 unknown options, never the same", fresh_options, 100_000, 20_000),
    Attack("flood", "random names that do not exist, from 64 networks, as fast as a core sends; rate limits are on",
           random_name, 300_000, 1_000_000, networks=64),
    Attack("tcp-20", "20 connections of one address, queries of 64 kB with 16,000 options", with_options(16_000), 8,
           connections=20),
    Attack("tcp-990", "990 connections of 10 addresses, ordinary queries, pipelined", ordinary, 1000,
           connections=990, addresses=10),
)


# -- the servers -------------------------------------------------------------------------------------------------------

def made_able(server: Server, attack: Attack) -> Server:
    """As many TCP connections as dnslb allows, and sets of any size."""
    changes = (("tcp-count: 200", "tcp-count: 1000"),
               ("tcp-clients 200;", "tcp-clients 1000;\n  max-records-per-type 0;"))
    if attack.networks:
        changes += (("rrl-ratelimit: 0", f"rrl-ratelimit: {LIMIT}"),
                    ("recursion no;", f"recursion no;\n  rate-limit {{ responses-per-second {LIMIT}; }};"),
                    ("server:\n  listen",
                     f"mod-rrl:\n  - id: limit\n    rate-limit: {LIMIT}\n    slip: 2\nserver:\n  listen"),
                    ("    journal-content: none\n", "    journal-content: none\n    module: mod-rrl/limit\n"))
    files = []
    for name, text in server.files:
        changed = text
        for before, after in changes:
            changed = changed.replace(before, after)
        files.append((name, changed))
    return replace(server, files=tuple(files))


def lay_out(directory: Path, attack: Attack, ground: Ground, probe_port: int) -> Site:
    zone = directory / "zones" / f"{ZONE_NAME}.zone"
    zone.parent.mkdir()
    large = [str(IPv4Address(0x0A000000 + number)) for number in range(1, attack.pool + 1)]
    zone.write_text(ZONE + ALIASES + "".join(f"watched A {address}\n" for address in WATCHED)
                    + "".join(f"large A {address}\n" for address in large))
    policy = f"pools:\n  watched: {{probe: {{tcp: {probe_port}, interval: {1000 * PROBED:.0f}ms, timeout: 200ms}}}}\n"
    if large:
        backends = ", ".join(f"{address}: {{probe_address: {LARGE}}}" for address in large)
        policy += f"  large: {{probe: {{tcp: {probe_port}, interval: 5s}}, backends: {{{backends}}}}}\n"
    zone.with_suffix(".yaml").write_text(policy)
    if attack.networks:
        zone.with_name("dnslb.yaml").write_text(f"rate_limit: {{per_second: {LIMIT}, exempt: []}}\n")
    return Site(directory, zone, zone, None, ground.python, ground.core)


# -- measuring ---------------------------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class Means:
    """What the two clients are, and what they send."""

    programs: Programs
    questions: Path
    packets: Path


def measure(attack: Attack, server: Server, means: Means, ground: Ground) -> Outcome:
    """The others beside the attack, on a server of their own."""
    with tempfile.TemporaryDirectory(prefix="dnslb-abuse-") as name, ExitStack() as stack:
        witness = stack.enter_context(Witness((*WATCHED, LARGE)))
        witness.revive(*WATCHED, LARGE)
        target = start(made_able(server, attack), lay_out(Path(name), attack, ground, witness.port), CLASSES[0], stack)
        time.sleep(2 * PROBED)
        enemy = None
        if attack.packet:
            seconds = SECONDS + 2 * BEFORE
            words = attack.words(target.port, means.packets, seconds)
            log = Path(name) / "hostile.log"
            enemy = stack.enter_context(traffic.hostile(means.programs.hostile, words, log, seconds))
            time.sleep(BEFORE)
        before, core, began = usage(target.pid), core_seconds(ground.core), time.monotonic()
        load = traffic.Others(target.port, means.questions, SECONDS, attack.others)
        with traffic.steady(means.programs.steady, load) as others:
            time.sleep(SECONDS)
            after, core, ended = usage(target.pid), core_seconds(ground.core) - core, time.monotonic()
            asked = traffic.seen(others)
        cpu, wall = after.cpu_since(before), ended - began
        sent = traffic.sent(enemy) if enemy else None
        late = witness.lateness(WATCHED, PROBED, began, ended) if server is DNSLB else None
        return Outcome(server.name, attack.name, traffic.summary(asked), sent, cpu / wall,
                       per_query(cpu / wall, sent, attack.others), late, max(0.0, core - cpu) / wall)


def per_query(busy: float, sent: Sent | None, others: int) -> float:
    """µs of the server's CPU for each query of the hostile client, the others' thrown in."""
    if sent is None:
        return 1e6 * busy / others
    return 1e6 * busy / ((sent.replies or sent.queries) / sent.seconds + others)


def measure_all(chosen: Sequence[Attack], servers: Sequence[Server], ground: Ground) -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory(prefix="dnslb-abuse-") as name:
        directory = Path(name)
        programs = traffic.compile_clients(directory)
        questions = traffic.write_questions(ORDINARY, directory / "questions")
        for attack in chosen:
            packet, rng = attack.packet, Random(attack.name)
            packets = traffic.write_packets((packet(rng) for _ in range(attack.distinct)) if packet else (),
                                            directory / "packets")
            for server in servers:
                try:
                    outcome = measure(attack, server, Means(programs, questions, packets), ground)
                except (RefusedError, ServerStoppedError, OSError) as error:
                    outcome = nothing(server.name, attack.name, str(error))
                print(describe(outcome), flush=True)
                yield outcome


def nothing(server: str, attack: str, why: str) -> Outcome:
    return Outcome(server, attack, traffic.summary(()), None, 0.0, 0.0, None, 0.0, why)


def describe(outcome: Outcome) -> str:
    head = f"{outcome.attack:11} {outcome.server:6}"
    if outcome.refused:
        return f"{head} without: {outcome.refused}"
    others = outcome.others
    disturbed = f", OURSELVES {1e3 * others.lag:.0f} ms late" if others.lag > traffic.MOST_LAG else ""
    if outcome.noise > LARGEST_NOISE:
        disturbed += f", SOMETHING ELSE {outcome.noise:.0%} of its core"
    hostile = ""
    if outcome.hostile:
        sent = outcome.hostile
        hostile = f"; hostile {sent.queries / sent.seconds:,.0f}/s, {sent.replies / sent.seconds:,.0f} replies/s"
    late = "" if outcome.late is None else f"; probes {1e3 * outcome.late:.0f} ms late"
    return (f"{head} {others.loss:7.2%} lost, {latency(outcome)} ms; core {outcome.busy:.0%}{hostile}{late}{disturbed}")


# -- the tables --------------------------------------------------------------------------------------------------------

def loss(outcome: Outcome) -> str:
    return f"{outcome.others.loss:.2%}"


def latency(outcome: Outcome) -> str:
    met = outcome.others
    return " / ".join(milliseconds(seconds) for seconds in (met.median, met.late, met.slowest))


def milliseconds(seconds: float) -> str:
    """A dash when there was no reply at all."""
    return "–" if math.isinf(seconds) else f"{1e3 * seconds:.{2 if seconds < 0.001 else 1}f}"


def load(outcome: Outcome) -> str:
    sent = outcome.hostile
    replies = f" {sent.replies / sent.seconds / 1000:.1f}k" if sent else ""
    return f"{outcome.busy:.0%}{replies} {outcome.microseconds:.1f} µs"


SHOWN: tuple[tuple[str, Callable[[Outcome], str]], ...] = (
    ("The server: its core, replies per second to the hostile client, CPU per query answered", load),
    ("The others' replies: median / 99th percentile / slowest, ms", latency),
    (f"The others' queries without a right reply within 1 s, of {RATE:,} a second ({FEW} beside a flood), "
     f"for {SECONDS:g} s", loss),
)


def tables(outcomes: Sequence[Outcome]) -> str:
    found = {(outcome.attack, outcome.server): outcome for outcome in outcomes}
    rows = list(dict.fromkeys(outcome.attack for outcome in outcomes))
    columns = list(dict.fromkeys(outcome.server for outcome in outcomes))

    def cell(show: Callable[[Outcome], str]) -> Callable[[str, str], str]:
        def one(attack: str, server: str) -> str:
            outcome = found.get((attack, server))
            return "–" if outcome is None or outcome.refused else show(outcome)
        return one

    return "\n\n".join(report.grid(title, rows, columns, cell(show)) for title, show in SHOWN)


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The table of scripts/README.md."""
    servers = list(dict.fromkeys(outcome.server for outcome in outcomes))
    found = {(outcome.attack, outcome.server): outcome for outcome in outcomes if not outcome.refused}
    head = ["attack", *(f"lost: {server}" for server in servers), *(f"ms: {server}" for server in servers),
            "probes late, ms"]
    rows = []
    for attack in dict.fromkeys(outcome.attack for outcome in outcomes):
        ours = found.get((attack, DNSLB.name))
        measured = [found.get((attack, server)) for server in servers]
        rows.append([f"`{attack}`", *(loss(each) if each else "–" for each in measured),
                     *(milliseconds(each.others.late) if each else "–" for each in measured),
                     f"{1e3 * ours.late:.0f}" if ours and ours.late is not None else "–"])
    return finding.markdown(head, rows)


def judged(outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    """dnslb's loss against the best of the others, and its probes against their time."""
    for outcome in outcomes:
        if outcome.server != DNSLB.name:
            continue
        if outcome.refused:
            yield Finding(f"{outcome.attack}: lost", DNSLB.name, 100.0, "%", 0.0, outcome.refused)
            continue
        peers = [each.others.loss for each in outcomes
                 if each.attack == outcome.attack and each.server in OTHERS and not each.refused]
        bar = 100 * (min(peers) + MOST_LOSS) if peers else None
        yield Finding(f"{outcome.attack}: lost", DNSLB.name, 100 * outcome.others.loss, "%", bar)
        if outcome.late is not None:
            yield Finding(f"{outcome.attack}: probes late by", DNSLB.name, 1e3 * outcome.late, "ms", 1e3 * MOST_LATE)


def measure_doors(cases: Iterable[str], ground: Ground) -> Iterator[Finding]:
    """What is no flood of queries: the first round of probes, and the door for operators."""
    for case in cases:
        yield from doors.CASES[case](ground)
