"""Run dnslb for an hour while everything happens to it, and hold every answer against a model of the world.

    scripts/soak                       an hour; exit status 0 if all went well
    scripts/soak --minutes 3           as CI does
    scripts/soak --rate 1000           queries a second, in place of 300

A server with two workers, twelve pools of four backends and 3,000 records is asked over UDP and TCP.  Backends die and
come back, operators drain, zones are edited (also wrongly), workers are killed or suspended, the parent is killed,
suspended and replaced.  An answer is wrong if it hands out who has been out for longer than dnslb may take to notice,
if it lacks who has been up for so long, or if it is of a version of the zone that was replaced before the question.

A query may be lost only in the two seconds after a worker was killed, and no order or edit may be refused.
The parent is killed in the first quarter only, and in the last there are no reloads: there the memory and the
descriptors of the same processes must stay as they are (those of workers once their tables are full).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

from benchmark.processes import free_port

from soaking import load, picture, samples, trouble
from soaking.samples import Sample
from soaking.trouble import KILLED, Troubles
from soaking.world import World

# Every so many seconds, in which part of the run, in a long one.
TROUBLES = (
    (trouble.flap, 1.5, 1.0), (trouble.order, 5.0, 1.0), (trouble.look, 10.0, 1.0),
    (trouble.reload, 15.0, 0.75), (trouble.edit, 25.0, 0.75), (trouble.mistake, 40.0, 0.75),
    (trouble.kill_worker, 40.0, 0.75), (trouble.suspend_worker, 30.0, 0.75), (trouble.suspend_parent, 60.0, 0.75),
    (trouble.kill_parent, 90.0, 0.25), (trouble.take_over, 80.0, 0.25),
)  # fmt: skip
LEAST = 3.0            # minutes in which each comes at least once: in shorter runs they come more often
SETTLING = 0.05        # of the run, from the last trouble of a kind until what is held is looked at
FULL = 0.9             # of the run: from then on tables are as full as they get
SHOWN = 10             # lines of each sort of what went wrong
NOT_IN_THE_LOG = ("Traceback", "a bug in dnslb", "SIGSYS")


async def soak(world: World, minutes: float, rate: float, rng: Random) -> tuple[load.Tally, Troubles, list[Sample]]:
    """The whole run."""
    tally, troubles, taken = load.Tally(), Troubles(world, rng), list[Sample]()
    seconds = minutes * 60
    await world.start()
    began = time.monotonic()
    hurry = min(1.0, minutes / 12)
    tasks = [
        asyncio.create_task(work) for work in (
            load.over_udp(world, tally, rate, rng), load.idle(world, rng),
            *(load.over_tcp(world, tally, rng) for _ in range(load.TCP_CLIENTS)),
            samples.sample(world, taken, max(0.5, seconds / 1800)),
            *(
                troubles.again_and_again(what, pause if part == 1.0 else pause * hurry, began + part * seconds)
                for what, pause, part in TROUBLES
            ),
        )
    ]  # fmt: skip
    told = 0
    try:
        while (left := began + seconds - time.monotonic()) > 0:
            done, _ = await asyncio.wait(tasks, timeout=min(60.0, left), return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()  # a mistake of ours ends it all
            _tell(f"{(time.monotonic() - began) / 60:5.1f} min: {tally.answered} answers, {len(tally.wrong)} wrong, "
                  f"{len(tally.lost)} lost, {troubles.done.total()} troubles")  # fmt: skip
            for line in tally.wrong[told : told + SHOWN]:
                _tell(f"  wrong: {line}")
            told = len(tally.wrong)
            tasks = [task for task in tasks if not task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return tally, troubles, taken


def verdict(
    world: World, tally: load.Tally, troubles: Troubles, taken: Sequence[Sample], span: tuple[float, float]
) -> list[str]:
    """All that went wrong.  ``span``: when it began, and ended."""
    began, seconds = span[0], span[1] - span[0]
    found = [f"wrong: {line}" for line in tally.wrong]
    kills = troubles.kills
    found += [
        f"lost: {what} at {at - began:.1f} s" for at, what in tally.lost
        if not any(killed - load.PATIENCE <= at <= killed + KILLED for killed in kills)
    ]  # fmt: skip
    found += [f"refused: {what}" for what in troubles.refused]
    found += [f"never done: {what.__name__}" for what, *_ in TROUBLES if not troubles.done[what.__name__]]
    parents = [each.parent for each in taken if each.at >= began + (0.75 + SETTLING) * seconds]
    # Tables of replies fill for minutes after the last fork.
    workers = [each.workers for each in taken if each.at >= began + FULL * seconds]
    found += samples.faults("parent", parents, seconds) + samples.faults("workers", workers, seconds)
    log = world.log.read_text(errors="replace").splitlines()
    return found + [f"log: {line}" for line in log if any(word in line for word in NOT_IN_THE_LOG)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=300.0, help="queries a second over UDP")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="directory for results; default: a new one in /tmp")
    given = parser.parse_args()
    output = given.output or Path(tempfile.mkdtemp(prefix="dnslb-soak-"))
    output.mkdir(parents=True, exist_ok=True)
    rng = Random(given.seed)
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory), free_port())
        world.backends.revive(*(address for pool in world.pools.values() for address in pool))
        with world.backends:
            try:
                began = time.monotonic()
                tally, troubles, taken = asyncio.run(soak(world, given.minutes, given.rate, rng))
                found = verdict(world, tally, troubles, taken, (began, time.monotonic()))
            finally:
                status = world.end()
                with suppress(OSError):
                    (output / "log").write_bytes(world.log.read_bytes())
    if status:
        found.append(f"the server ended with status {status}")
    picture.draw(output / "soak.svg", began, taken, tally, troubles)
    _report(output, tally, troubles, taken, found)
    return bool(found)


def _report(
    output: Path, tally: load.Tally, troubles: Troubles, taken: Sequence[Sample], found: Sequence[str]
) -> None:
    numbers = {
        "answers": tally.answered, "by_question": dict(tally.asked), "wrong": len(tally.wrong),
        "lost_in_all": len(tally.lost), "troubles": dict(troubles.done), "faults": list(found),
        "when": troubles.marks,
    }  # fmt: skip
    (output / "soak.json").write_text(json.dumps(numbers, indent=1))
    _tell(f"{tally.answered} answers, {len(tally.wrong)} wrong; {len(tally.lost)} lost, "
          f"while {len(troubles.kills)} workers were killed")  # fmt: skip
    _tell(", ".join(f"{count} {name}" for name, count in sorted(troubles.done.items())))
    for name, those in (("parent", [s.parent for s in taken]), ("workers", [s.workers for s in taken])):
        if those:
            memory, files = (samples.growth(values) for values in (
                [each.memory for each in those], [each.files for each in those]
            ))  # fmt: skip
            _tell(f"{name}: {memory[0] / 2**20:.1f} MB at first, {memory[1] / 2**20:.1f} MB at last; "
                  f"{files[0]} and {files[1]} descriptors")  # fmt: skip
    for line in found[:SHOWN]:
        _tell(f"FAULT {line}")
    if len(found) > SHOWN:
        _tell(f"and {len(found) - SHOWN} more")
    _tell(f"{'FAILED' if found else 'passed'}; {output}/soak.svg, soak.json, log")


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
