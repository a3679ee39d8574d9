"""What clients notice of a reload: a large zone is read again, several times, while dnsperf asks at a steady rate.

Parent and worker share one core, the generator has the other: reading competes with answering.
"""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark.measurement import number
from benchmark.queries import CLASSES, ZONE, ZONE_NAME, padding
from benchmark.servers import DNSLB
from benchmark.targets import ROOT, RefusedError, Site, start

RECORDS = 100_000
RATE = 20_000           # queries a second
NAMES = 2000            # distinct names that are asked for
RELOADS = 5
WARM_UP = 3.0           # seconds of the same queries, before
PAUSE = 0.5             # seconds from one reload to the next
CLIENTS, OUTSTANDING = 6, 3000
LONGEST = 60.0          # seconds for all reloads


@dataclass(frozen=True, slots=True)
class Reloads:
    records: int
    rate: float             # queries a second, as dnsperf counted
    reloads: int
    seconds: float          # of one reload, on average
    sent: int
    lost: int
    average: float          # seconds, of a reply
    slowest: float          # seconds


def measure(python: str, cores: tuple[int, int]) -> Reloads:
    """Raises RefusedError when the server or the generator fails."""
    with tempfile.TemporaryDirectory(prefix="dnslb-reload-") as name, ExitStack() as stack:
        directory = Path(name)
        zone = directory / "zones" / f"{ZONE_NAME}.zone"
        zone.parent.mkdir()
        zone.write_text(ZONE + "".join(padding(RECORDS)))
        asked = directory / "asked"
        names = [line.split()[0] for line in padding(NAMES)]
        asked.write_text("".join(f"{label}.{ZONE_NAME} A\n" for label in ("frontend", "readonly", "missing", *names)))
        target = start(DNSLB, Site(directory, zone, zone, None, python, cores[0]), CLASSES[0], stack)
        with drive(target.port, asked, cores[1]):
            time.sleep(WARM_UP)
        took = []
        with drive(target.port, asked, cores[1]) as said:
            for _ in range(RELOADS):
                time.sleep(PAUSE)
                began = time.monotonic()
                reload(python, directory / DNSLB.name / "control")
                took.append(time.monotonic() - began)
            time.sleep(PAUSE)
        text = said[0]
        return Reloads(RECORDS, number("Queries per second", text), RELOADS, sum(took) / RELOADS,
                       int(number("Queries sent", text)), int(number("Queries lost", text)),
                       number("Average Latency (s)", text), number("max", text))


@contextmanager
def drive(port: int, asked: Path, core: int) -> Iterator[list[str]]:
    """dnsperf asks until the block ends; then there is what it printed."""
    command = ["taskset", "-c", core, "dnsperf", "-s", "127.0.0.1", "-p", port, "-d", asked, "-Q", RATE, "-c", CLIENTS,
               "-q", OUTSTANDING, "-l", LONGEST]
    popen = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said: list[str] = []
    with popen:
        try:
            yield said
        finally:
            popen.send_signal(signal.SIGINT)
            try:
                said.append(popen.communicate(timeout=20)[0])
            except subprocess.TimeoutExpired:
                popen.kill()
                raise RefusedError("the generator did not come to an end") from None


def reload(python: str, control: Path) -> None:
    done = subprocess.run([python, "-m", "dnslb", "reload", "--control", control], capture_output=True, text=True,
                          cwd=ROOT, timeout=LONGEST, check=False)
    if done.returncode:
        raise RefusedError(f"not reloaded: {done.stderr.strip()[-200:]}")


def describe(found: Reloads) -> str:
    return (f"{found.reloads} reloads of {found.records:,} records, {found.seconds:.1f} s each, "
            f"under {found.rate:,.0f} queries/s: {found.lost} of {found.sent:,} lost, "
            f"replies after {1e3 * found.average:.2f} ms on average, {1e3 * found.slowest:.1f} ms at most")


def write(path: Path, machine: str, found: Reloads) -> None:
    content: dict[str, Any] = {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine,
                               "reloads": asdict(found)}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    print(f"JSON:  {path}")
