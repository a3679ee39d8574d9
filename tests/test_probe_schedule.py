"""The schedule: every key is probed in time, once, within bounds.  In virtual time, but for the last tests."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import pairwise
from random import Random

import backends
import pytest
import virtual_time

from dnslb.balance.health import Health, Outcome, ProbeKey
from dnslb.balance.pool import Address, Check, ExecCheck, HttpCheck, Probe, TcpCheck
from dnslb.probe.lanes import Bounds
from dnslb.probe.schedule import Schedule

EPOCH = 1_800_000_000.0  # Unix time at the beginning of a test


def key(number: int, probe: Probe | None = None) -> ProbeKey:
    return probe or Probe(TcpCheck(80), interval=5.0), IPv4Address(0x7F000100 + number)


def keys(count: int, probe: Probe | None = None) -> list[ProbeKey]:
    return [key(number, probe) for number in range(count)]


class Field:
    """Imagined backends: how long each takes to answer, and which fail; keeps a record of all that is asked."""

    def __init__(self, takes: float = 0.01) -> None:
        self.takes = takes
        self.dead: set[Address] = set()
        self.hanging: set[Address] = set()
        self.fault = ""                         # what keeps us from asking
        self.faults: list[ProbeKey] = []             # reported
        self.starts: dict[Address, list[float]] = defaultdict(list)
        self.now: Counter[Address] = Counter()  # probes in flight
        self.most = 0                           # in flight at once
        self.reports: list[tuple[ProbeKey, Outcome, Health | None, Health]] = []

    async def ask(self, check: Check, address: Address, source: Address | None, timeout: float) -> Outcome:
        loop = asyncio.get_running_loop()
        self.starts[address].append(loop.time())
        self.now[address] += 1
        assert self.now[address] == 1, f"two probes of {address} at once"
        self.most = max(self.most, self.now.total())
        try:
            hangs = address in self.hanging
            took = timeout if hangs else min(self.takes, timeout)
            await asyncio.sleep(took)
        finally:
            self.now[address] -= 1
        if self.fault:
            return Outcome(False, "not asked", took, self.fault)
        ok = address not in self.dead and not hangs
        return Outcome(ok, "fine" if ok else "dead", took)

    def report(self, key: ProbeKey, outcome: Outcome, before: Health | None, after: Health) -> None:
        self.reports.append((key, outcome, before, after))

    def report_fault(self, key: ProbeKey, outcome: Outcome) -> None:
        self.faults.append(key)

    def schedule(
        self,
        wanted: Iterable[ProbeKey],
        most: int = 500,
        programs: int = 3,
        healths: dict[ProbeKey, Health] | None = None,
    ) -> Schedule:
        loop = asyncio.get_running_loop()
        schedule = Schedule(
            self.report,
            self.report_fault,
            clock=lambda: EPOCH + loop.time(),
            rng=Random(7),
            ask=self.ask,
            bounds=Bounds(most, programs),
        )
        schedule.replace_keys(wanted, healths)
        return schedule

    def gaps(self, number: int) -> list[float]:
        """Seconds from start to start."""
        return [later - earlier for earlier, later in pairwise(self.starts[key(number)[1]])]


async def run_for(schedule: Schedule, seconds: float) -> None:
    task = asyncio.create_task(schedule.run())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_the_first_round_probes_each_key_once_before_it_returns() -> None:
    async def main() -> None:
        field = Field()
        field.dead = {key(3)[1]}
        schedule = field.schedule(keys(9))
        await schedule.first_round()
        assert sorted(address for address in field.starts) == [target for _, target in keys(9)]
        assert all(len(starts) == 1 for starts in field.starts.values())
        assert [key for key, health in schedule.healths.items() if not health.up] == [key(3)]
        assert all(before is None for _, _, before, _ in field.reports)
        assert schedule.healths[key(0)].since >= EPOCH

    virtual_time.run(main())


def test_a_first_round_without_keys_returns() -> None:
    virtual_time.run(asyncio.wait_for(async_first_round([]), 1))


async def async_first_round(wanted: list[ProbeKey]) -> None:
    await Field().schedule(wanted).first_round()


def test_a_large_first_round_is_spread() -> None:
    async def main() -> None:
        field = Field()
        await field.schedule(keys(4000)).first_round()
        per_tenth = Counter(int(starts[0] * 10) for starts in field.starts.values())
        assert len(per_tenth) == 20
        assert max(per_tenth.values()) < 300

    virtual_time.run(main())


def test_equal_keys_are_probed_once() -> None:
    async def main() -> None:
        field = Field()
        twice = [key(1), key(2), (replace(key(1)[0]), key(1)[1])]
        schedule = field.schedule(twice)
        await schedule.first_round()
        assert len(field.reports) == 2
        schedule.replace_keys(twice)
        await schedule.first_round()
        assert len(field.reports) == 2

    virtual_time.run(main())


def test_from_start_to_start_passes_at_most_the_interval() -> None:
    async def main() -> None:
        field = Field(takes=0.5)
        schedule = field.schedule(keys(50))
        await schedule.first_round()
        await run_for(schedule, 300)
        for number in range(50):
            first, *others = field.gaps(number)
            assert first <= 5.0
            assert all(4.5 <= gap <= 4.95 + 1e-6 for gap in others)
        assert len({round(gap, 3) for gap in field.gaps(0)}) > 30

    virtual_time.run(main())


def test_the_keys_are_spread_over_the_interval() -> None:
    async def main() -> None:
        field = Field()
        schedule = field.schedule(keys(1000))
        await schedule.first_round()
        await run_for(schedule, 60)
        late = Counter(int(start * 2) for starts in field.starts.values() for start in starts if 20 <= start < 50)
        assert max(late.values()) < 2 * min(late.values())

    virtual_time.run(main())


def test_intervals_follow_the_health() -> None:
    async def main() -> None:
        field = Field()
        probe = Probe(TcpCheck(80), interval=10, fast_interval=1, down_interval=30, fall=3, rise=2)
        schedule = field.schedule([key(0, probe)])
        await schedule.first_round()
        task = asyncio.create_task(schedule.run())
        await asyncio.sleep(95)
        field.dead.add(key(0)[1])
        await asyncio.sleep(205)
        field.dead.clear()
        await asyncio.sleep(100)
        task.cancel()
        story = []
        for (_, _, _, after), gap in zip(field.reports[1:], field.gaps(0)[1:], strict=False):
            upper = 1 if after.streak else 10 if after.up else 30
            assert upper * 0.9 <= gap <= upper
            story.append(f"{'up' if after.up else 'down'} {after.streak}")
        changes = [story[0], *(later for earlier, later in pairwise(story) if later != earlier)]
        assert changes == ["up 0", "up 1", "up 2", "down 0", "down 1", "up 0"]
        recovered = field.reports[-1][3]
        assert recovered.recovered

    virtual_time.run(main())


def test_a_probe_longer_than_its_interval_does_not_pile_up() -> None:
    async def main() -> None:
        field = Field(takes=2.0)
        schedule = field.schedule(keys(5, Probe(TcpCheck(80), interval=0.5, timeout=2.0)))
        await schedule.first_round()
        await run_for(schedule, 60)
        assert field.most == 5  # the field itself sees to it that no target has two
        assert all(gap == pytest.approx(2.0) for number in range(5) for gap in field.gaps(number))

    virtual_time.run(main())


def test_a_bounded_number_is_in_flight_and_those_due_longest_go_first() -> None:
    async def main() -> None:
        field = Field(takes=1.0)
        schedule = field.schedule(keys(100), most=10)
        await schedule.first_round()
        assert field.most == 10
        await run_for(schedule, 100)
        assert field.most == 10
        assert schedule.in_flight == 0
        # Ten at a time, a second each: a hundred keys take ten seconds, twice their interval; none is left out.
        counts = [len(starts) for starts in field.starts.values()]
        assert min(counts) >= max(counts) - 3
        assert schedule.lag > 2

    virtual_time.run(main())


def test_programs_have_a_bound_of_their_own() -> None:
    async def main() -> None:
        field = Field(takes=1.0)
        program = Probe(ExecCheck(("/bin/true",)), interval=5.0)
        schedule = field.schedule([*keys(20, program), *(key(100 + number) for number in range(20))])
        await schedule.first_round()
        assert field.most == 20 + 3
        assert len(field.starts) == 40

    virtual_time.run(main())


def test_a_paused_key_is_not_probed_until_it_is_resumed() -> None:
    async def main() -> None:
        field = Field(takes=0.2)
        schedule = field.schedule(keys(2))
        schedule.pause(key(0))
        await schedule.first_round()
        assert list(schedule.healths) == [key(1)]
        task = asyncio.create_task(schedule.run())
        await asyncio.sleep(60)
        assert key(0)[1] not in field.starts
        schedule.resume(key(0))
        before = asyncio.get_running_loop().time()
        await schedule.first_round()
        assert field.starts[key(0)[1]] == [before]
        known = schedule.healths[key(0)]
        schedule.pause(key(0))
        await asyncio.sleep(60)
        assert schedule.healths[key(0)] == known
        assert len(field.starts[key(0)[1]]) == 1
        task.cancel()

    virtual_time.run(main())


def test_pausing_drops_the_probe_in_flight() -> None:
    async def main() -> None:
        field = Field(takes=1.0)
        schedule = field.schedule(keys(1))
        task = asyncio.create_task(schedule.run())
        await asyncio.sleep(0.5)
        assert schedule.in_flight == 1
        schedule.pause(key(0))
        schedule.resume(key(0))
        await asyncio.sleep(1.1)
        assert field.starts[key(0)[1]][1] == 0.5
        assert len(field.reports) == 1  # of the second
        task.cancel()

    virtual_time.run(main())


def test_what_is_hastened_is_probed_in_a_moment_and_then_at_its_own_pace() -> None:
    async def main() -> None:
        field = Field()
        schedule = field.schedule([key(0, Probe(TcpCheck(80), interval=30.0))])
        only = key(0, Probe(TcpCheck(80), interval=30.0))
        task = asyncio.create_task(schedule.run())
        await asyncio.sleep(1000)
        begin = asyncio.get_running_loop().time()
        for _ in range(3):
            schedule.hasten(only)
        await asyncio.sleep(1)
        assert [at - begin for at in field.starts[only[1]] if at > begin] == [pytest.approx(0.1)]
        field.starts.clear()
        await asyncio.sleep(300)
        assert 10 <= len(field.starts[only[1]]) <= 11
        assert all(27 <= gap <= 30 for gap in field.gaps(0))
        task.cancel()

    virtual_time.run(main())


def test_after_a_pause_the_first_probe_comes_at_once_and_its_failure_counts_at_once() -> None:
    """Also after a pause that was shorter than the interval.  That it was up before is worth nothing."""

    async def main() -> None:
        field = Field()
        probe = Probe(TcpCheck(80), interval=1000.0)
        schedule = field.schedule([key(0, probe), key(1, probe)])
        task = asyncio.create_task(schedule.run())
        await asyncio.sleep(3000)
        for number in (0, 1):
            schedule.pause(key(number, probe))
        field.dead = {key(0)[1]}
        assert schedule.pause_only([]) == schedule.recalled == {key(0, probe), key(1, probe)}
        since = schedule.healths[key(1, probe)].since
        await asyncio.sleep(0.1)
        assert [schedule.healths[key(number, probe)].up for number in (0, 1)] == [False, True]
        assert schedule.healths[key(1, probe)].since == since
        assert schedule.recalled == schedule.paused == set()
        task.cancel()

    virtual_time.run(main())


def test_pausing_the_last_key_of_a_first_round_ends_it() -> None:
    async def main() -> None:
        field = Field(takes=1000)
        only = key(0, Probe(TcpCheck(80), timeout=1000))
        schedule = field.schedule([only])
        waiting = asyncio.create_task(schedule.first_round())
        await asyncio.sleep(1)
        schedule.pause(only)
        await asyncio.wait_for(waiting, 1)

    virtual_time.run(main())


def test_a_reload_keeps_the_health_of_keys_that_stay() -> None:
    async def main() -> None:
        field = Field(takes=0.1)
        field.dead = {key(1)[1]}
        schedule = field.schedule(keys(3))
        await schedule.first_round()
        known = schedule.healths
        task = asyncio.create_task(schedule.run())
        seeded = Health(up=False, since=1.0)
        schedule.replace_keys([key(1), key(2), key(7), key(8)], {key(8): seeded})
        assert schedule.healths == {key(1): known[key(1)], key(2): known[key(2)], key(8): seeded}
        await schedule.first_round()
        assert list(schedule.healths) == [key(1), key(2), key(7), key(8)]
        # A seeded verdict needs `rise` outcomes to change.
        assert schedule.healths[key(8)] == Health(up=False, streak=1, since=1.0, reason="fine")
        before = len(field.starts[key(0)[1]])
        await asyncio.sleep(60)
        assert len(field.starts[key(0)[1]]) == before
        assert len(field.starts[key(7)[1]]) > 10
        assert schedule.healths[key(8)].up
        task.cancel()

    virtual_time.run(main())


def test_a_key_that_goes_while_it_is_probed_is_not_reported() -> None:
    async def main() -> None:
        field = Field(takes=1.0)
        schedule = field.schedule(keys(2))
        task = asyncio.create_task(schedule.run())
        await asyncio.sleep(0.5)
        schedule.replace_keys([key(1)])
        await asyncio.sleep(30)
        assert {reported for reported, *_ in field.reports} == {key(1)}
        assert field.starts[key(0)[1]] == field.starts[key(0)[1]][:1]
        task.cancel()

    virtual_time.run(main())


def test_cancelling_drops_what_is_in_flight_and_running_again_goes_on() -> None:
    async def main() -> None:
        field = Field(takes=1.0)
        schedule = field.schedule(keys(20))
        await run_for(schedule, 0.5)
        assert (schedule.in_flight, field.now.total(), field.reports) == (0, 0, [])
        await run_for(schedule, 10)
        assert {reported for reported, *_ in field.reports} == set(keys(20))

    virtual_time.run(main())


def test_our_own_bug_changes_no_verdict_and_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    told = Probe(HttpCheck(80, headers=(("Authorization", "secret"),)))

    async def broken(check: Check, address: Address, source: Address | None, timeout: float) -> Outcome:
        raise ZeroDivisionError("once more")

    async def main() -> list[Outcome]:
        outcomes: list[Outcome] = []
        schedule = Schedule(
            lambda key, outcome, before, after: pytest.fail("a bug says nothing of the target"),
            lambda key, outcome: outcomes.append(outcome),
            ask=broken,
        )
        schedule.replace_keys(keys(5, told))
        await run_for(schedule, 60)
        return outcomes

    with caplog.at_level(logging.ERROR):
        outcomes = virtual_time.run(main())
    assert len(outcomes) > 50
    [reason] = {outcome.reason for outcome in outcomes}
    assert re.fullmatch(r"a bug in dnslb: ZeroDivisionError at .*test_probe_schedule.py:\d+", reason)
    assert {outcome.fault for outcome in outcomes} == {"bug"}
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text


def test_what_could_not_be_asked_keeps_its_health_and_its_pace() -> None:
    async def main() -> None:
        field = Field()
        schedule = field.schedule(keys(3))
        await schedule.first_round()
        known = schedule.healths
        task = asyncio.create_task(schedule.run())
        await asyncio.sleep(20)
        field.reports.clear()
        field.fault = "descriptors"
        await asyncio.sleep(300)
        assert field.reports == []
        assert len(field.faults) == pytest.approx(3 * 300 / 4.73, rel=0.05)
        assert schedule.healths == known
        assert schedule.faults == dict.fromkeys(keys(3), "not asked")
        field.fault = ""
        await asyncio.sleep(5)
        assert len(field.reports) >= 3
        assert (schedule.faults, schedule.healths) == ({}, known)
        task.cancel()

    virtual_time.run(main())


def test_what_was_never_asked_is_judged_by_its_first_outcome() -> None:
    async def main() -> None:
        field = Field()
        field.dead = {key(0)[1]}
        field.fault = "network"
        schedule = field.schedule(keys(2))
        await asyncio.wait_for(schedule.first_round(), 1)
        assert (schedule.healths, len(field.faults)) == ({}, 2)
        field.fault = ""
        await run_for(schedule, 10)
        assert {key: health.up for key, health in schedule.healths.items()} == {key(0): False, key(1): True}

    virtual_time.run(main())


# What hangs


def test_2000_that_hang_delay_none_of_2000_others() -> None:
    async def main() -> None:
        field = Field()
        everybody = keys(4000)
        field.hanging = {target for _, target in everybody[::2]}
        healthy = [number for number in range(4000) if number % 2]
        schedule = field.schedule(everybody, most=8192)
        task = asyncio.create_task(schedule.run())
        await asyncio.sleep(2.5)
        assert all(key(number) in schedule.healths for number in healthy)
        worst = 0.0
        for _ in range(300):
            await asyncio.sleep(0.1)
            worst = max(worst, schedule.lag)
        task.cancel()
        gaps = [gap for number in healthy for gap in field.gaps(number)[1:]]
        assert len(gaps) > 4 * len(healthy)
        assert 4.5 <= min(gaps) <= max(gaps) <= 5.0
        assert worst <= 0.05

    virtual_time.run(main())


@pytest.mark.parametrize("hanging", [60, 500])
def test_programs_that_hang_wait_only_for_one_another(hanging: int) -> None:
    """More of them than may ever run at once."""

    async def main() -> None:
        field = Field()
        program = Probe(ExecCheck(("/bin/true",)), interval=5.0, timeout=4.0)
        healthy = [key(number, program) for number in range(20)]
        stuck = [key(100 + number, program) for number in range(hanging)]
        field.hanging = {target for _, target in stuck}
        schedule = field.schedule([*healthy, *stuck], programs=64)
        task = asyncio.create_task(schedule.run())
        # It takes one timeout for each lot of them until all are known to be slow.
        await asyncio.sleep(20 + hanging / 64 * 8)
        for starts in field.starts.values():
            starts.clear()
        await asyncio.sleep(70)
        assert field.most <= 64
        assert all(gap <= 5.0 for number in range(20) for gap in field.gaps(number))
        assert all(len(field.starts[target]) >= 14 for _, target in healthy)
        assert all(field.starts[target] for _, target in stuck)
        task.cancel()

    virtual_time.run(main())


def test_60_programs_that_hang_do_not_hold_up_the_first_round_of_others() -> None:
    async def main() -> None:
        field = Field()
        program = Probe(ExecCheck(("/bin/true",)), interval=60.0, timeout=10.0)
        field.hanging = {target for _, target in keys(60, program)}
        schedule = field.schedule(keys(80, program), programs=64)
        task = asyncio.create_task(schedule.run())
        await asyncio.sleep(1.0)
        assert set(schedule.healths) == set(keys(80, program)[60:])
        task.cancel()

    virtual_time.run(main())


def test_who_answers_in_time_again_waits_no_more_with_the_slow() -> None:
    async def main() -> None:
        field = Field()
        probe = Probe(TcpCheck(80), interval=5.0, timeout=4.0)
        field.hanging = {target for _, target in keys(40, probe)}
        schedule = field.schedule(keys(40, probe), most=8)
        task = asyncio.create_task(schedule.run())
        await asyncio.sleep(60)
        field.hanging = {target for _, target in keys(30, probe)}
        await asyncio.sleep(60)
        field.starts.clear()
        await asyncio.sleep(60)
        assert all(gap <= 5.0 for number in range(30, 40) for gap in field.gaps(number))
        assert all(len(field.starts[key(number)[1]]) >= 11 for number in range(30, 40))
        task.cancel()

    virtual_time.run(main())


def test_few_probes_start_in_one_turn_of_the_loop() -> None:
    async def main() -> None:
        field = Field()
        schedule = field.schedule(keys(1000), most=2000)
        for each in keys(1000):
            schedule.pause(each)
        task = asyncio.create_task(schedule.run())
        await asyncio.sleep(1)
        for each in keys(1000):
            schedule.resume(each)
        started = [0]
        while len(field.starts) < 1000:
            await asyncio.sleep(0)
            started.append(len(field.starts))
        assert max(later - earlier for earlier, later in pairwise(started)) <= 32
        task.cancel()

    virtual_time.run(main())


def test_a_report_that_raises_does_not_stop_the_schedule() -> None:
    async def main() -> None:
        field = Field()
        seen = []

        def report(key: ProbeKey, outcome: Outcome, before: Health | None, after: Health) -> None:
            seen.append(key)
            raise ZeroDivisionError

        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        schedule = Schedule(report, ask=field.ask)
        schedule.replace_keys(keys(1))
        await run_for(schedule, 60)
        assert len(seen) > 10

    virtual_time.run(main())


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_to_the_keys_the_bounds_hold(seed: int) -> None:
    """Pauses, resumptions, reloads and outcomes in any order: nothing leaks, and what is left is probed in time."""

    async def main() -> None:
        rng = Random(seed)
        field = Field()
        here = keys(12, Probe(TcpCheck(80), interval=2.0, fast_interval=0.5, timeout=1.0))
        schedule = field.schedule(here, most=4)
        task = asyncio.create_task(schedule.run())
        everything = here
        for _ in range(300):
            field.takes = rng.choice([0.0, 0.01, 0.4, 1.0])
            field.dead = {target for _, target in everything if rng.random() < 0.3}
            match rng.randrange(4):
                case 0:
                    schedule.pause(rng.choice(here))
                case 1:
                    schedule.resume(rng.choice(here))
                case 2:
                    here = rng.sample(everything, rng.randrange(1, 12))
                    schedule.replace_keys(here)
                case 3:
                    schedule.hasten(rng.choice(everything))
            await asyncio.sleep(rng.choice([0, 0, 0.1, 1.0]))
            assert field.most <= 4
        for resumed in here:
            schedule.resume(resumed)
        field.takes = 0.01
        await asyncio.sleep(10)
        field.starts.clear()
        await asyncio.sleep(20)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert schedule.in_flight == field.now.total() == 0
        assert set(field.starts) == {target for _, target in here}
        assert all(later - earlier <= 2.0 for starts in field.starts.values() for earlier, later in pairwise(starts))

    virtual_time.run(main())


def test_500_keys_at_half_a_second_cost_less_than_a_core_can_give() -> None:
    """Over real sockets: so little processor time each that 2,000 a second fit on one core, whoever shares it."""
    counts: Counter[ProbeKey] = Counter()
    home = IPv4Address(backends.HOME)

    async def main() -> float:
        with socket.create_server((backends.HOME, 0), backlog=4096) as server:
            port = server.getsockname()[1]
            # The kernel completes connections by itself: no server takes part in what is measured.  Timeouts that
            # differ make different keys of one target.
            probes = [Probe(TcpCheck(port), interval=0.5, timeout=9 + number / 1000) for number in range(500)]
            schedule = Schedule(report)
            schedule.replace_keys([(probe, home) for probe in probes])
            began = time.process_time()
            task = asyncio.create_task(schedule.run())
            enough = asyncio.create_task(four_each())
            await asyncio.wait_for(enough, 60)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return time.process_time() - began

    def report(key: ProbeKey, outcome: Outcome, before: Health | None, after: Health) -> None:
        counts[key] += outcome.ok

    async def four_each() -> None:
        while len(counts) < 500 or min(counts.values()) < 4:
            await asyncio.sleep(0.05)

    seconds = asyncio.run(main())
    assert seconds / counts.total() < 1 / 2000
