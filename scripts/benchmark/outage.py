"""What clients notice when very many verdicts change at once: dnslb alone, NSD and BIND have no verdicts.

One worker, under a steady load for a name that has nothing to do with the pools.  Every reply of the pools was asked
for once before, so that there are ready ones to forget.
"""

from __future__ import annotations

import math
import selectors
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from random import Random

from benchmark import traffic
from benchmark.backends import Backends
from benchmark.finding import Finding
from benchmark.probes import addresses
from benchmark.queries import CLASSES, FOUR, ZONE, ZONE_NAME, A, QueryClass, Question, packet
from benchmark.servers import DNSLB
from benchmark.targets import Ground, RefusedError, Site, start

RATE = 5000             # queries a second for the unrelated name
PORTS = 4               # that they come from
SAMPLED = 50            # pools that are asked all the time, to see when they change
OFTEN = 0.02            # seconds from one look at these to the next
BEFORE, AFTER = 2.0, 8.0  # seconds of load before and after the outage
SETTLING = 2.0          # seconds until the first round's news are settled
LONGEST = 30.0          # seconds until the last verdict must be in force
WINDOW = 200            # queries on the way when all pools are asked
MOST_SLOWEST = 50.0     # ms, of a reply to the unrelated name
MOST_LAST = 2.0         # seconds until the last verdict is in force, from the outage
MOST_LONE = 0.100       # seconds from the verdict's log line until a lone one is
AAAA = 28
ALONE = ("127.0.1.251", "127.0.1.252")
LONES = 3


@dataclass(frozen=True, slots=True)
class Outage:
    """So many pools of two; the targets that are probed for them, and which of these die."""

    name: str
    about: str
    pools: int
    shared: bool        # two targets for all of them, of which one dies; else two for each, all of which die

    @property
    def left(self) -> int:
        """Addresses in an answer afterwards."""
        return 1 if self.shared else 0


OUTAGES = (
    Outage("shared", "10,000 pools, one of the two servers of all of them dies", 10_000, True),
    Outage("distinct", "1,200 pools, all of their 2,400 servers die", 1200, False),
)
CASES = {outage.name: outage for outage in OUTAGES}


def targets(outage: Outage) -> list[str]:
    """Addresses that are probed, two for each pool in turn."""
    return addresses(2 if outage.shared else 2 * outage.pools)


def lay_out(directory: Path, outage: Outage, ground: Ground, port: int) -> Site:
    probed = targets(outage)
    zone = directory / "zones" / f"{ZONE_NAME}.zone"
    zone.parent.mkdir()
    probe = f"{{tcp: {port}, interval: 1s, timeout: 500ms, fall: 1, rise: 1}}"
    records = [f"alone A {address}\n" for address in ALONE]
    policy = [f"defaults: {{probe: {probe}, when_all_down: none}}\npools:\n  alone: {{}}\n"]
    for number in range(outage.pools):
        backends = probed[2 * number : 2 * number + 2]
        refined = ""
        if outage.shared:
            backends = [str(IPv4Address(0x0A000000 + 2 * number + each)) for each in (1, 2)]
            refined = ", ".join(f"{address}: {{probe_address: {target}}}"
                                for address, target in zip(backends, probed, strict=True))
        records += [f"p{number} A {address}\n" for address in backends]
        policy.append(f"  p{number}: {{backends: {{{refined}}}}}\n")
    zone.write_text(ZONE + "".join(records))
    zone.with_suffix(".yaml").write_text("".join(policy))
    return Site(directory, zone, zone, None, ground.python, ground.core)


def measure(names: Iterable[str], ground: Ground) -> Iterator[Finding]:
    for name in names:
        for finding in one(CASES[name], ground):
            print(f"{finding.what}: {finding.value:.3f} {finding.unit} {finding.note}", flush=True)
            yield finding


def one(outage: Outage, ground: Ground) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory(prefix="dnslb-outage-") as name, ExitStack() as stack:
        directory, probed = Path(name), targets(outage)
        backends = stack.enter_context(Backends((*probed, *ALONE)))
        backends.revive(*probed, *ALONE)
        site = lay_out(directory, outage, ground, backends.port)
        target = start(DNSLB, site, QueryClass("plain", "no pool", ((100, FOUR),)), stack)
        program = traffic.compile_clients(directory).steady
        questions = traffic.write_questions([FOUR], directory / "questions")
        load = traffic.Others(target.port, questions, BEFORE + AFTER, RATE, PORTS)
        log = directory / DNSLB.name / "log"
        crowd = Crowd(target.port, stack)
        pools = [f"p{number}" for number in range(outage.pools)]
        time.sleep(SETTLING)
        # Two replies of each are ready then: a positive and a negative one.
        wrong = crowd.asked(pools, 2) + crowd.asked(pools, 0, AAAA)
        if wrong:
            raise RefusedError(f"{outage.name}: {len(wrong)} wrong answers before the outage")

        lone = []
        for _ in range(LONES):
            lone.append(lone_verdict(backends, crowd, log))
            backends.revive(ALONE[0])
            crowd.wait(["alone"], 2, LONGEST)
        yield Finding(f"{outage.name}: a lone verdict in force, from its log line", DNSLB.name, max(lone), "s",
                      MOST_LONE, f"the slowest of {LONES}")

        sample = [pools[0], *Random(0).sample(pools[1:-1], SAMPLED - 2), pools[-1]]
        with traffic.steady(program, load) as others:
            time.sleep(BEFORE)
            began, killed = time.monotonic(), time.time()
            backends.kill(*(probed[:1] if outage.shared else probed))
            last = crowd.wait(sample, outage.left, LONGEST)
            # The sample may have missed the last ones.
            while last < math.inf and crowd.asked(pools, outage.left) and time.monotonic() < began + LONGEST:
                last = time.monotonic() - began
            left = began + AFTER - time.monotonic()
            time.sleep(max(0.0, left))
            asked = traffic.seen(others)
        before = traffic.summary([query for query in asked if query.due < began - 0.1])
        met = traffic.summary([query for query in asked if query.due >= began - 0.1])
        note = f"before: {1e3 * before.slowest:.1f} ms"
        if met.lag > traffic.MOST_LAG:
            note += f"; ourselves {1e3 * met.lag:.0f} ms late"
        yield Finding(f"{outage.name}: slowest reply to an unrelated name", DNSLB.name, 1e3 * met.slowest, "ms",
                      MOST_SLOWEST, note)
        yield Finding(f"{outage.name}: its replies, 99th percentile", DNSLB.name, 1e3 * met.late, "ms")
        yield Finding(f"{outage.name}: queries lost", DNSLB.name, met.lost + met.wrong, "queries", 0,
                      f"of {met.asked:,}")
        yield Finding(f"{outage.name}: the last verdict in force, from the outage", DNSLB.name, last, "s", MOST_LAST,
                      "probes come every second")
        yield Finding(f"{outage.name}: the same, from the last log line", DNSLB.name,
                      max(0.0, last - (last_line(log) - killed)), "s")


def lone_verdict(backends: Backends, crowd: Crowd, log: Path) -> float:
    """Kill one backend; seconds from the log line of its verdict until the answer is without it."""
    begin = log.stat().st_size
    backends.kill(ALONE[0])
    logged = gone = None
    deadline = time.monotonic() + LONGEST
    while (logged is None or gone is None) and time.monotonic() < deadline:
        if logged is None and b" down (" in log.read_bytes()[begin:]:
            logged = time.monotonic()
        if gone is None and not crowd.asked(["alone"], 1):
            gone = time.monotonic()
        time.sleep(0.001)
    return max(0.0, gone - logged) if gone is not None and logged is not None else math.inf


def last_line(log: Path) -> float:
    """Unix time of the last verdict that was logged."""
    verdicts = [line for line in log.read_text(errors="replace").splitlines() if " down (" in line]
    stamp, _, thousandths = verdicts[-1][:23].partition(",")
    return time.mktime(time.strptime(stamp, "%Y-%m-%d %H:%M:%S")) + int(thousandths) / 1000


class Crowd:
    """Asks for the pools, some at a time, and counts the addresses in the answers."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._sock = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        self._sock.connect(("127.0.0.1", port))
        self._sock.setblocking(False)
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self._selector.register(self._sock, selectors.EVENT_READ)
        self._packets: dict[tuple[str, int], bytes] = {}

    def asked(self, owners: Sequence[str], count: int, rrtype: int = A) -> list[str]:
        """Those whose answer, asked for once, has not so many addresses, or did not come within a second."""
        wrong: list[str] = []
        for first in range(0, len(owners), WINDOW):
            waiting = dict(enumerate(owners[first : first + WINDOW]))
            for number, owner in waiting.items():
                self._sock.send(number.to_bytes(2) + self._query(owner, rrtype))
            deadline = time.monotonic() + 1.0
            while waiting and (left := deadline - time.monotonic()) > 0:
                self._selector.select(left)
                wrong += self._take(waiting, count, rrtype)
            wrong += waiting.values()
        return wrong

    def _take(self, waiting: dict[int, str], count: int, rrtype: int) -> Iterator[str]:
        with suppress(BlockingIOError):
            while True:
                reply = self._sock.recv(4096)
                owner = waiting.get(int.from_bytes(reply[:2]))
                # A late reply to another question.
                if owner is None or not reply[12:].startswith(self._query(owner, rrtype)[10:]):
                    continue
                del waiting[int.from_bytes(reply[:2])]
                if int.from_bytes(reply[6:8]) != count:
                    yield owner

    def wait(self, owners: Sequence[str], count: int, longest: float) -> float:
        """Seconds until all of them had so many addresses; infinite when they never have."""
        began, left = time.monotonic(), list(owners)
        while time.monotonic() < began + longest:
            left = self.asked(left, count)
            if not left:
                return time.monotonic() - began
            time.sleep(OFTEN)
        return math.inf

    def _query(self, owner: str, rrtype: int) -> bytes:
        """Without its id."""
        key = owner, rrtype
        if key not in self._packets:
            question = Question(f"{owner}.{ZONE_NAME}", rrtype)
            self._packets[key] = packet(question, CLASSES[0], Random(0))[2:]
        return self._packets[key]
