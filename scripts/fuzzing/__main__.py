"""Give hostile octets to everything in dnslb that reads octets from others; nothing may be raised, hang or grow.

    scripts/fuzz                            every target for ten seconds
    scripts/fuzz --seconds 3600             for an hour each
    scripts/fuzz packets --count 10000000
    scripts/fuzz udp tcp requests           a real server, over its sockets
    scripts/fuzz --list

Inputs are those of a corpus (packets of resolvers and tools, the files of this repository), changed at random by a
seed: the same seed makes the same inputs.  One that shows a fault is written to a file, with what was raised; put into
scripts/fuzzing/crashes/TARGET it is a test from then on (tests/test_fuzzing.py), and every run begins with it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

from dnslb.system.usage import usage
from fuzzing import live, packets
from fuzzing.targets import HERE, Target, Wrong, targets

CRASHES = HERE / "crashes"
SLOW = 10.0             # seconds for one input, after which it hangs
PIECE = 50              # inputs from one look at the clock to the next
WARM = 0.2              # of a run, in which tables fill
MOST_GROWTH = 64 << 20  # octets of this process, after that
SHOWN = 30.0            # seconds from one line of progress to the next
LIVE = {"udp": "packets, to a real server", "tcp": "the same", "requests": "octets for its control socket"}


class Hangs(Exception):
    """An input takes too long."""


@dataclass(slots=True)
class Outcome:
    """Of one target.  A fault is shown once, whatever number of inputs shows it."""

    count: int = 0
    seconds: float = 0.0
    growth: int = 0
    faults: dict[str, bytes] = field(default_factory=dict)  # the first input, by what was raised and where


def fuzz(target: Target, count: int | None, seconds: float, seed: int) -> Outcome:
    """Until one of both is over."""
    rng, outcome, began = Random(seed), Outcome(), time.monotonic()
    make, read = target.make, target.read
    memory, warm, shown = 0, False, began
    with _impatience():
        while (outcome.count < count) if count is not None else (time.monotonic() < began + seconds):
            for _ in range(PIECE):
                octets = make(rng)
                signal.setitimer(signal.ITIMER_REAL, SLOW)
                try:
                    read(octets)
                except Exception as error:  # which is what we are looking for
                    place = _place(error)
                    if place not in outcome.faults:
                        outcome.faults[place] = octets
                        print(f"{target.name}: {place}: {error!r:.300}", flush=True)
            outcome.count += PIECE
            now = time.monotonic()
            done = outcome.count / count if count is not None else (now - began) / seconds
            if not warm and done >= WARM:
                memory, warm = _resident(), True
            if now - shown > SHOWN:
                shown = now
                print(f"{target.name}: {outcome.count} inputs, {len(outcome.faults)} faults", flush=True)
    outcome.seconds, outcome.growth = time.monotonic() - began, _resident() - memory
    if outcome.growth > MOST_GROWTH:
        outcome.faults.setdefault(f"memory grew by {outcome.growth >> 20} MB", b"")
    return outcome


@contextmanager
def _impatience() -> Iterator[None]:
    """What runs for too long gets an exception."""
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Hangs(f"more than {SLOW:g} s")
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _resident() -> int:
    found = usage(os.getpid())
    return 0 if found is None else found.memory


def _place(error: BaseException) -> str:
    """Where it was raised: the same fault has the same place."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"


def crashes(name: str) -> list[bytes]:
    """Inputs that have shown a fault of this target, once."""
    return [path.read_bytes() for path in sorted((CRASHES / name).glob("*")) if path.is_file()]


def replay(target: Target) -> None:
    """Have it read what has been a fault once.  Raises what that raises."""
    for octets in crashes(target.name):
        target.read(octets)


def fuzz_live(name: str, count: int | None, seconds: float, seed: int) -> Outcome:
    """The same over sockets; afterwards the server must be as it was."""
    with tempfile.TemporaryDirectory() as directory, live.served(Path(directory)) as server:
        make = live.request if name == "requests" else packets.mutated
        target = Target(name, LIVE[name], make, live.reader(name, server))
        first = fuzz(target, None if count is None else count // 5, seconds / 5, seed + 1)
        before = server.memory()
        outcome = fuzz(target, None if count is None else count - first.count, seconds, seed)
        outcome.faults |= first.faults
        outcome.count += first.count
        outcome.seconds += first.seconds
        outcome.growth = server.memory() - before
        if outcome.growth > live.MOST_GROWTH:
            outcome.faults[f"the server grew by {outcome.growth >> 20} MB"] = b""
        try:
            server.judge()
        except Wrong as wrong:
            outcome.faults[str(wrong)] = b""
    return outcome


def main() -> int:
    found = targets()
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="TARGET", help="what is fuzzed; default: everything")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each target")
    parser.add_argument("--count", type=int, help="inputs for each target, whatever time that takes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="tell the targets")
    given = parser.parse_args()
    abouts = {target.name: target.about for target in found.values()} | LIVE
    if given.list:
        print("\n".join(f"{name:<12}{about}" for name, about in abouts.items()))
        return 0
    if unknown := set(given.names) - set(abouts):
        parser.error(f"{', '.join(sorted(unknown))}: no such target; --list tells them")
    faults = 0
    for name in given.names or abouts:
        if name in found:
            replay(found[name])
            outcome = fuzz(found[name], given.count, given.seconds, given.seed)
        else:
            outcome = fuzz_live(name, given.count, given.seconds, given.seed)
        faults += len(outcome.faults)
        print(f"{name}: {outcome.count} inputs in {outcome.seconds:.0f} s, {len(outcome.faults)} faults, "
              f"memory {outcome.growth / 2**20:+.1f} MB", flush=True)  # fmt: skip
        for fault, octets in outcome.faults.items():
            path = Path(tempfile.gettempdir()) / f"dnslb-fuzz-{name}-{hashlib.sha256(octets).hexdigest()[:12]}"
            path.write_bytes(octets)
            print(f"  {fault}\n  shown by {path}", flush=True)
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
