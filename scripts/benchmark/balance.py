"""Do the pools of a server balance?  Its dead backend is left out, and comes back; weights and orders are kept.

Asked before anything is measured: a pool that nobody probes would be cheap.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from benchmark.queries import BACKENDS, POOLS, WEIGHTS, QueryClass, Transport, packet, served
from benchmark.targets import Target, ask

SETTLING = 15.0         # seconds; gdnsd probes every 2 s, and wants to see two outcomes
SAMPLE = 700            # answers that weights are estimated from: a standard deviation of 0.02
TOLERANCE = 0.1         # of a share
CLIENT = 20             # answers that orders are seen in
DEAD = BACKENDS[-1]

Check = Callable[[Target, QueryClass], str | None]


def answers(target: Target, query_class: QueryClass, count: int) -> list[list[str]]:
    """The backends in each of ``count`` replies."""
    rng = Random(0)
    ((_, question),) = query_class.shares
    replies = (ask(rng.randbytes(2) + packet(question, query_class, rng)[2:], target.port, Transport.UDP)
               for _ in range(count))
    return [served(reply, BACKENDS) for reply in replies]


def without_dead(target: Target, query_class: QueryClass) -> str | None:
    """What is wrong while DEAD is dead and the others live, or None."""
    seen = answers(target, query_class, 2 * CLIENT)
    if any(DEAD in answer for answer in seen):
        return f"hands out {DEAD}, which is dead"
    return all_of(seen, set(BACKENDS) - {DEAD})


def with_all(target: Target, query_class: QueryClass) -> str | None:
    """What is wrong while all backends live, or None."""
    if fault := all_of(answers(target, query_class, 2 * CLIENT), set(BACKENDS)):
        return fault
    leaders = [answer[0] for answer in answers(target, query_class, CLIENT)]
    match query_class.name:
        case "weighted":
            return off_weight(answers(target, query_class, SAMPLE))
        case "sticky":
            return None if len(set(leaders)) == 1 else "another leader for the same client"
        case _:
            return None if len(set(leaders)) > 1 else "always the same leader"


def all_of(seen: Sequence[Sequence[str]], expected: set[str]) -> str | None:
    absent = sorted(expected - {address for answer in seen for address in answer})
    return f"never hands out {', '.join(absent)}" if absent else None


def off_weight(seen: Sequence[Sequence[str]]) -> str | None:
    shares = Counter(address for answer in seen for address in answer)
    total = sum(WEIGHTS.values())
    for address, weight in WEIGHTS.items():
        share = shares[address] / len(seen)
        if abs(share - weight / total) > TOLERANCE:
            return f"{address} in {share:.0%} of the answers, expected {weight / total:.0%}"
    return None


def find_faults(targets: Sequence[Target], classes: Sequence[QueryClass], check: Check) -> dict[tuple[str, str], str]:
    """What stays wrong with the pools of each server for longer than verdicts take, by server and class."""
    open_pairs = [(target, query_class) for target in targets if not target.server.is_floor
                  for query_class in classes if query_class.name in POOLS and target.server.is_able(query_class.name)
                  and (check is not without_dead or query_class.name not in target.server.unprobed)]
    deadline = time.monotonic() + SETTLING
    faults: dict[tuple[str, str], str] = {}
    while open_pairs:
        faults = {}
        for target, query_class in open_pairs:
            try:
                fault = check(target, query_class)
            except OSError as error:
                fault = f"no reply ({error})"
            if fault:
                faults[target.server.name, query_class.name] = fault
        open_pairs = [pair for pair in open_pairs if (pair[0].server.name, pair[1].name) in faults]
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    return faults
