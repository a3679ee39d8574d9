"""Load feedback: what backends say becomes readings, readings become burdens, and burdens weigh."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnslb.answer.served import Before, Facts, work_out
from dnslb.balance import reading
from dnslb.balance.burdens import Burdens, judged
from dnslb.balance.health import Health
from dnslb.balance.load import NOBODY, STEPS, Burden, Pace, Standing, damping, observe
from dnslb.balance.operator_order import Mode, Order, Scope
from dnslb.balance.pool import AgentCheck, AllDown, Backend, Gauge, Load, Pool, Probe, TcpCheck
from dnslb.balance.reading import Reading
from dnslb.balance.rotation import smooth
from dnslb.balance.selection import MOST_TURNS, select
from dnslb.probe.gauge import Page, of_headers

NOW = 1_800_000_000.0
OWNER = "www.example.com."
PROBE = Probe(AgentCheck(8888), interval=2.0, timeout=1.0, fall=3, rise=2)
PACE = Pace(PROBE, ttl=5, overload=None, rest=0.0)
HOSTS = [ip_address(f"192.0.2.{host}") for host in (11, 12, 13, 14)]
POOL = Pool(OWNER, tuple(map(Backend, HOSTS)), {4: 5}, Probe(TcpCheck(80)), answers=1, load=Load(PROBE))
NO_ORDERS: dict[Scope, Order] = {}
SILENT = Reading(fault="no line within 1 s")


def told(load: float) -> Reading:
    return Reading(load, said=f"{load}")


# What backends say.


@pytest.mark.parametrize(("line", "load", "operating", "admin"), [
    (b"75%",                               0.25, "",        ""),
    (b"75%, up",                           0.25, "up",      ""),
    (b"100%",                              0.0,  "",        ""),
    (b"400%",                              0.0,  "",        ""),
    (b"0%",                                1.0,  "",        ""),
    (b"up",                                None, "up",      ""),
    (b"UP READY\t50%",                     0.5,  "up",      "ready"),
    (b"drain",                             None, "",        "drain"),
    (b"maint 10%",                         0.9,  "",        "maint"),
    (b"down # db-3 has gone, 75% ready",   None, "down",    ""),
    (b"fail#why",                          None, "fail",    ""),
    (b"stopped",                           None, "stopped", ""),
    (b"maxconn:30 60% idle",               0.4,  "",        ""),
])  # fmt: skip
def test_an_agent_speaks_haproxys_words(line: bytes, load: float | None, operating: str, admin: str) -> None:
    said = reading.of_agent(line)
    assert (said.load, said.operating, said.admin, said.fault) == (
        load if load is None else pytest.approx(load), operating, admin, "")  # fmt: skip


@pytest.mark.parametrize("line", [b"", b"hello", b"75", b"-5%", b"nan%", b"1e9%", b"\xff\x00%", b"7 5 %", b"#75%"])
def test_what_no_agent_should_say_is_a_fault(line: bytes) -> None:
    said = reading.of_agent(line)
    assert said.fault.startswith("says ")
    assert said.load is None


@pytest.mark.parametrize(("text", "full", "load"), [
    ("0.42", 1.0, 0.42), (" 42 % ", 8.0, 0.42), ("4", 8.0, 0.5), ("9e0", 8.0, 1.0), ("0", 1.0, 0.0), (".5", 1.0, 0.5),
    ("1e999", 1.0, 1.0),
])  # fmt: skip
def test_numbers_are_parts_of_a_full_load(text: str, full: float, load: float) -> None:
    assert reading.of_number(text, full, "X-Load").load == pytest.approx(load)


@pytest.mark.parametrize("text", ["nan", "inf", "-0.1", "", "1_0", "0x1", "0.4 0.5", "9" * 5000, "٣", "\0"])
def test_what_is_no_number_from_0_up_is_a_fault(text: str) -> None:
    assert reading.of_number(text, 1.0, "X-Load").fault.startswith("X-Load is ")


@pytest.mark.parametrize(("body", "path", "said"), [
    (b'{"a": {"b": 0.5}}',        "a.b",   0.5),
    (b'{"cores": [0.1, "70%"]}',  "cores.1", 0.7),
    (b'{"a": NaN}',               "a",     "a is 'nan', no number from 0 up"),
    (b'{"a": true}',              "a",     "a is 'bool', no number from 0 up"),
    (b'{"a": -1}',                "a",     "a is '-1', no number from 0 up"),
    (b'{"a": 1}',                 "a.b",   "the JSON has no a.b"),
    (b'[1]',                      "1",     "the JSON has no 1"),
    (b'{"a": ',                   "a",     "the body is no JSON"),
    (b"[" * 60_000,               "a",     "the body is no JSON"),
    (b'{"a": ' + b"9" * 5000 + b"}", "a",  "the body is no JSON"),
    (b"\xff\xfe",                 "a",     "the body is no JSON"),
])  # fmt: skip
def test_json_has_the_number_at_a_path(body: bytes, path: str, said: float | str) -> None:
    found = reading.of_json(body, path, 1.0)
    assert (found.fault or found.load) == (said if isinstance(said, str) else pytest.approx(said))


METRICS = b"""# HELP load a number
# TYPE load gauge
load 0.5
load1 0.25 1395066363000
cpu{core="0"} 0.1
cpu{core="1"} 0.2
alone{of="a } b"} 3e-1
broken NaN
last 1"""


@pytest.mark.parametrize("pieces", [1, 7, 1000])
@pytest.mark.parametrize(("metric", "said"), [
    ("load",            0.5),
    ("load1",           0.25),
    ('cpu{core="1"}',   0.2),
    ("alone",           0.3),
    ("last",            1.0),
    ("cpu",             "cpu has several series; name one of them"),
    ("broken",          "broken is 'NaN', no number from 0 up"),
    ("lo",              "the page has no lo"),
])  # fmt: skip
def test_a_page_of_metrics_has_the_number_behind_its_name(metric: str, said: float | str, pieces: int) -> None:
    page = Page(Gauge("prometheus", metric))
    for start in range(0, len(METRICS), pieces):
        page.feed(METRICS[start : start + pieces])
    found = page.reading()
    assert (found.fault or found.load) == said


@pytest.mark.parametrize(("values", "said"), [
    ([b"0.5"], 0.5), ([], "no header X-Load"), ([b"0.1", b"0.9"], "more than one header X-Load"),
])  # fmt: skip
def test_a_header_is_there_once(values: list[bytes], said: float | str) -> None:
    found = of_headers(Gauge("header", "X-Load"), [(b"x-load", value) for value in values])
    assert (found.fault or found.load) == said


@given(st.binary(max_size=300))
def test_whatever_is_sent_becomes_a_reading(octets: bytes) -> None:
    page = Page(Gauge("prometheus", "a"))
    page.feed(octets)
    for found in (reading.of_agent(octets), reading.of_json(octets, "a", 1.0), page.reading()):
        assert found.load is None or 0 <= found.load <= 1
        assert found.fault.isprintable()
        assert found.said.isprintable()


# What becomes of it.


def after(*readings: Reading, pace: Pace = PACE, every: float = 2.0, burden: Burden = NOBODY) -> Burden:
    """So many askings later."""
    for number, one in enumerate(readings, 1):
        burden = observe(burden, one, pace, max(NOW, burden.at) + every * bool(burden.source or number > 1))
    return burden


def test_the_first_reading_counts_whole() -> None:
    assert after(told(0.75)).steps == 5


def test_a_load_that_stays_is_arrived_at() -> None:
    assert after(told(0.0), *[told(0.6)] * 50).steps == 8


def test_after_the_time_constant_a_load_has_come_two_thirds_of_the_way() -> None:
    assert damping(PROBE, 5) == 14.0
    assert after(told(0.0), *[told(1.0)] * 7).load == pytest.approx(0.632, abs=0.001)


def test_the_longer_the_ttl_the_slower() -> None:
    loads = [after(told(0.0), told(1.0), pace=replace(PACE, ttl=ttl)).load for ttl in (0, 1, 5, 30, 300)]
    assert loads == sorted(loads, reverse=True)
    assert loads[0] < 0.5


def test_a_load_that_trembles_moves_nothing() -> None:
    trembling = [told(0.48), told(0.52)] * 20
    assert {burden.steps for burden in accumulate(trembling, lambda one, said: after(said, burden=one),
                                                  initial=after(told(0.5)))} == {10}


def test_nobody_is_starved_by_load_alone() -> None:
    assert after(*[told(1.0)] * 100).steps == 1


def test_overload_begins_at_the_watermark_and_ends_five_points_below() -> None:
    pace = replace(PACE, overload=0.9)
    assert [after(told(load), pace=pace).is_over for load in (0.89, 0.9, 1.0)] == [False, True, True]
    over = after(told(0.9), pace=pace)
    assert after(*[told(0.86)] * 100, pace=pace, burden=over).is_over
    assert not after(*[told(0.84)] * 100, pace=pace, burden=over).is_over


def test_silence_is_noticed_after_fall_askings_and_leads_to_what_others_have() -> None:
    pace = replace(PACE, rest=0.2)
    heard = after(*[told(0.8)] * 3, pace=pace)
    doubtful = after(SILENT, SILENT, pace=pace, burden=heard)
    assert doubtful.is_known
    assert doubtful.load == pytest.approx(0.8)
    aged = after(*[SILENT] * 60, pace=pace, burden=heard)
    assert (aged.is_known, aged.steps, aged.why()) == (False, 16, "unknown: no line within 1 s")


def test_a_garbled_reading_changes_nothing() -> None:
    before = after(reading.of_agent(b"drain 50%"))
    now = after(reading.of_agent(b"\0\0"), burden=before)
    assert (now.standing, now.told) == (before.standing, before.told)


@pytest.mark.parametrize(("lines", "standings"), [
    # What takes out counts at once, what brings back after ``rise`` in a row.
    ("up|drain|ready|ready", "UP DRAIN DRAIN UP"),
    ("up|down|up|up", "UP DOWN DOWN UP"),
    ("maint|ready|ready", "DOWN DOWN UP"),
    ("0%|50%|50%", "DRAIN DRAIN UP"),
    # Only an agent takes back what it said, and what it does not mention stays (HAProxy).
    ("down|75%|75%|75%", "DOWN DOWN DOWN DOWN"),
    ("drain|up|up|up", "DRAIN DRAIN DRAIN DRAIN"),
    ("drain down|up|up|ready|ready", "DOWN DOWN DRAIN DRAIN UP"),
    # Flapping stays out.
    ("down|up|down|up|down|up", "DOWN DOWN DOWN DOWN DOWN DOWN"),
])
def test_words_of_an_agent(lines: str, standings: str) -> None:
    burden, found = NOBODY, []
    for line in lines.split("|"):
        burden = after(reading.of_agent(line.encode()), burden=burden)
        found.append(burden.standing.name)
    assert " ".join(found) == standings


@pytest.mark.parametrize("cycle", ["down|up|up", "drain|ready|ready", "0%|1%|1%", "maint|ready|ready", "x|x|x|up|up"])
def test_who_flaps_comes_back_ever_more_seldom(cycle: str) -> None:
    burden, changes, lines = NOBODY, 0, [line.encode() for line in cycle.split("|")]
    for number in range(3000):
        before, burden = burden, after(reading.of_agent(lines[number % len(lines)]), burden=burden, every=1.0)
        is_heard = [one.source is None or one.source.up for one in (before, burden)]
        changes += before.standing is not burden.standing or is_heard[0] != is_heard[1]
    assert changes <= 3


def test_who_was_well_for_ten_minutes_is_not_held_to_flap() -> None:
    flapping = after(*map(reading.of_agent, [b"down", b"up", b"up"] * 3))
    assert flapping.flaps == 2
    steady = after(*[reading.of_agent(b"up")] * 400, burden=flapping)
    assert (steady.flaps, steady.standing) == (0, Standing.UP)


def test_what_a_silent_agent_said_is_forgotten() -> None:
    assert after(reading.of_agent(b"maint"), SILENT, SILENT).standing is Standing.DOWN
    assert after(reading.of_agent(b"maint"), *[SILENT] * 3).standing is Standing.UP


READINGS = st.one_of(
    st.floats(0, 1).map(told),
    st.just(SILENT),
    st.sampled_from([b"up", b"down", b"drain", b"maint", b"ready", b"0%", b"3%", b"9% up ready"]).map(reading.of_agent),
)


@given(st.lists(st.tuples(READINGS, st.floats(-10, 1e6))), st.integers(0, 86400), st.none() | st.floats(0.01, 1))
def test_no_sequence_leaves_the_limits_or_moves_faster_than_stated(
    sequence: list[tuple[Reading, float]], ttl: int, overload: float | None
) -> None:
    burden, now = NOBODY, NOW
    for said, pause in sequence:
        now += pause
        before, burden = burden, observe(burden, said, Pace(PROBE, ttl, overload, 0.3), now)
        assert 1 <= burden.steps <= STEPS
        assert 0 <= burden.load <= 1
        if before.source is not None:
            most = min(0.5, max(0.0, pause) / damping(PROBE, ttl))
            assert abs(burden.load - before.load) <= most + 1e-9
            assert abs(burden.steps - before.steps) <= STEPS * most + 1.1 + 0.6


# What is handed out.


def weights(pool: Pool, burdens: dict[str, Burden], orders: dict[Scope, Order] = NO_ORDERS) -> str:
    """``11*20 12*5``: who is handed out, with which weight."""
    known = Burdens(pool)
    known |= {ip_address(f"192.0.2.{host[1:]}"): burden for host, burden in burdens.items()}
    force = known.in_force(orders, NOW)
    chosen = select(pool, 4, judged({}, force), orders, NOW, force)
    return " ".join(f"{str(share.address)[8:]}*{share.weight}" for share in chosen.shares) + " open" * chosen.fails_open


def left(steps: int, **changes: object) -> Burden:
    return replace(NOBODY, steps=steps, load=1 - steps / STEPS, **changes)  # type: ignore[arg-type]


OVER, DRAIN, DOWN = left(1, is_over=True), left(20, standing=Standing.DRAIN), left(20, standing=Standing.DOWN)
TWO = replace(POOL, backends=POOL.backends[:2])
SPARE = replace(POOL, backends=(*POOL.backends[:2], Backend(HOSTS[2], backup=True)))
HEAVY = replace(POOL, backends=(Backend(HOSTS[0], weight=3), Backend(HOSTS[1])))


@pytest.mark.parametrize(("pool", "burdens", "said"), [
    (POOL,  {},                                        "11*1 12*1 13*1 14*1"),
    (POOL,  {"b11": left(5)},                          "11*1 12*4 13*4 14*4"),
    (POOL,  {"b11": left(1), "b12": left(20)},         "11*1 12*20 13*20 14*20"),
    (HEAVY, {"b11": left(10)},                         "11*3 12*2"),
    (TWO,   {"b11": OVER},                             "12*1"),
    # All over: as without feedback.
    (TWO,   {"b11": OVER, "b12": left(2, is_over=True)}, "11*1 12*1"),
    (HEAVY, {"b11": OVER, "b12": left(2, is_over=True)}, "11*3 12*1"),
    # Overload brings no backup; an agent's drain does, as weight 0.
    (SPARE, {"b11": OVER, "b12": OVER},                "11*1 12*1"),
    (SPARE, {"b11": DRAIN, "b12": DRAIN},              "13*1"),
    (SPARE, {"b11": DRAIN, "b12": OVER},               "12*1"),
    (TWO,   {"b11": DRAIN, "b12": DRAIN},              "11*1 12*1"),
    (TWO,   {"b11": DOWN},                             "12*1"),
    (TWO,   {"b11": DOWN, "b12": DRAIN},               "12*1"),
    (TWO,   {"b11": DOWN, "b12": left(3)},             "12*1"),
    (TWO,   {"b11": DOWN, "b12": DOWN},                "11*1 12*1 open"),
])  # fmt: skip
def test_load_decides_who_is_handed_out(pool: Pool, burdens: dict[str, Burden], said: str) -> None:
    assert weights(pool, burdens) == said


@pytest.mark.parametrize(("mode", "said"), [(Mode.READY, "11*1 12*1"), (Mode.DRAIN, "12*1"), (Mode.MAINT, "12*1")])
def test_an_order_is_above_an_agents_word(mode: Mode, said: str) -> None:
    assert weights(TWO, {"b11": DOWN}, {Scope(OWNER, HOSTS[0]): Order(mode, NOW)}) == said


def test_the_operators_drain_stays_though_the_agent_is_ready() -> None:
    ready = after(reading.of_agent(b"ready up 100%"))
    assert weights(TWO, {"b11": ready}, {Scope(None, HOSTS[0]): Order(Mode.DRAIN, NOW)}) == "12*1"


def test_the_silent_one_of_a_busy_pool_keeps_its_configured_share() -> None:
    """An agent that is too busy to answer must not draw more clients by that."""
    burdens, now = Burdens(POOL), NOW
    for _ in range(60):
        now += 2
        for host in HOSTS:
            burdens.record(host, SILENT if host == HOSTS[0] and now > NOW + 20 else told(0.8), 5, now)
    assert {burden.steps for burden in burdens.values()} == {4}


def test_what_was_known_before_a_reload_is_known_after_it() -> None:
    old, new = Burdens(POOL), Burdens(replace(TWO, slowstart=1.0))
    for host in HOSTS:
        old.record(host, told(0.5), 5, NOW)
    new.follow(old)
    assert new == {host: old[host] for host in HOSTS[:2]}
    without = Burdens(replace(TWO, load=None))
    without.follow(old)
    assert not without


def test_a_worker_sees_a_weighted_pool_and_nothing_else() -> None:
    """So a query costs what it costs there."""
    weighted = replace(POOL, backends=tuple(map(Backend, HOSTS, (1, 4, 4, 2))))
    burdens = dict(zip(HOSTS, map(left, (5, 20, 20, 10)), strict=True))
    fed = work_out(POOL, 4, Facts(NOW, burdens=burdens), Before())
    assert fed.serving == work_out(weighted, 4, Facts(NOW), Before()).serving


@given(
    st.lists(st.tuples(READINGS, st.integers(0, 256), st.booleans(), st.booleans()), min_size=1, max_size=6),
    st.sampled_from(AllDown),
    st.none() | st.integers(1, 100),
)
def test_no_mixture_gives_an_empty_answer_or_a_weight_outside_its_limits(
    mixture: list[tuple[Reading, int, bool, bool]], when_all_down: AllDown, overload: int | None
) -> None:
    backends = tuple(Backend(IPv4Address(0xC0000200 + at), weight=max(weight, at == 0), backup=backup and at > 0)
                     for at, (_, weight, backup, _) in enumerate(mixture))  # fmt: skip
    pool = replace(POOL, backends=backends, load=Load(PROBE, overload), when_all_down=when_all_down)
    burdens = Burdens(pool)
    for backend, (said, *_) in zip(backends, mixture, strict=True):
        burdens.record(backend.target, said, 5, NOW)
    healths = {backend.target: Health(up=up) for backend, (*_, up) in zip(backends, mixture, strict=True)}
    healths = dict(judged(healths, burdens))
    chosen = select(pool, 4, healths, {}, NOW, burdens)
    is_any_up = any(health.up for health in healths.values())
    assert bool(chosen.shares) == (is_any_up or when_all_down is AllDown.ALL)
    assert len(smooth(tuple(share.weight for share in chosen.shares))) <= MOST_TURNS
    if is_any_up:
        assert {share.address for share in chosen.shares} <= {target for target, one in healths.items() if one.up}
        assert all(share.weight >= 1 for share in chosen.shares)
