"""What the processes of the server hold, over time: memory and descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from soaking.world import World

MOST_GROWTH = 0.05       # of the memory
SPARE_GROWTH = 4 << 20   # octets: an allocator's own ways
WARMING = 1200.0         # seconds of a run, below which tables still fill and shared memory is still copied:
SPARE_AT_FIRST = 20 << 20  # then there is so much
SPARE_FILES = 8          # descriptors that come and go: probes, connections


@dataclass(frozen=True, slots=True)
class Held:
    """By some processes: octets of memory, of which shared ones count in parts (PSS, proc(5)), and descriptors."""

    memory: int = 0
    files: int = 0

    def __add__(self, other: Held) -> Held:
        return Held(self.memory + other.memory, self.files + other.files)


@dataclass(frozen=True, slots=True)
class Sample:
    at: float
    parent: Held
    workers: Held


def held(pid: int) -> Held:
    """Nothing, when it has just ended."""
    with contextlib.suppress(OSError, StopIteration):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
        return Held(kilobytes << 10, len(os.listdir(f"/proc/{pid}/fd")))
    return Held()


async def sample(world: World, samples: list[Sample], pause: float) -> None:
    """Until cancelled.  What is half gone is no sample."""
    while True:
        await asyncio.sleep(pause)
        workers = [held(pid) for pid, is_worker in world.children().items() if is_worker]
        parent = held(world.parent)
        if parent.memory and workers and all(each.memory for each in workers):
            samples.append(Sample(time.monotonic(), parent, sum(workers, Held())))


def growth(values: Sequence[int]) -> tuple[int, int]:
    """The first and the last: medians of a fifth each."""
    fifth = max(1, len(values) // 5)
    return int(median(values[:fifth])), int(median(values[-fifth:]))


def faults(name: str, those: Sequence[Held], seconds: float) -> list[str]:
    """What has grown, in a run of so many seconds."""
    if len(those) < 10:
        return [f"{name}: only {len(those)} samples"]
    found = []
    first, last = growth([each.memory for each in those])
    spare = SPARE_GROWTH if seconds >= WARMING else SPARE_AT_FIRST
    if last > first * (1 + MOST_GROWTH) + spare:
        found.append(f"{name}: memory grew from {first / 2**20:.1f} to {last / 2**20:.1f} MB")
    first, last = growth([each.files for each in those])
    if last > first + SPARE_FILES:
        found.append(f"{name}: descriptors grew from {first} to {last}")
    return found
