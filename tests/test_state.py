"""Orders and verdicts survive a restart, a crash, and whatever happens to their file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import fields, replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from random import Random
from stat import S_IMODE
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnslb.balance.health import Health
from dnslb.balance.operator_order import Mode, Order, Scope
from dnslb.balance.pool import Check, DnsCheck, ExecCheck, HttpCheck, Probe, TcpCheck
from dnslb.balance.registration import Registration
from dnslb.config.state_directory import default_directory
from dnslb.control.change import Change
from dnslb.parent import state
from dnslb.parent.state import Damaged, State, decode, encode, key, load, save
from dnslb.text import timestamp

NOW = 1_800_000_000.0
A11, V6 = ip_address("192.0.2.11"), ip_address("2001:db8::11")
SAMPLE = State(
    orders={
        Scope(None, A11): Order(Mode.DRAIN, since=NOW - 60, until=NOW + 1800, reason="new kernel", by="alice"),
        Scope("www.example.com.", V6): Order(Mode.MAINT, since=NOW, at=NOW + 3600),
    },
    healths={
        key(Probe(TcpCheck(80)), A11): Health(up=False, since=NOW - 5, reason="connection refused"),
        key(Probe(TcpCheck(80)), V6): Health(
            up=True, since=NOW - 9, reason="connected", recovered=True, recent=0b101, unsteady=False
        ),
    },
    history=(Change(NOW - 60, None, "192.0.2.11", "drain", "new kernel", "alice"),),
    clocks={Scope("www.example.com.", A11): NOW - 30},
    changed_at={"www.example.com. A": NOW - 5},
    serials={"example.com.": 2026112101},
    registrations={Scope("www.example.com.", V6): Registration(3, NOW - 90, NOW + 30, "token web")},
)
TEXT = """\
{
 "version": 1,
 "last": false,
 "orders": [
  {
   "owner": null,
   "address": "192.0.2.11",
   "mode": "drain",
   "since": 1799999940.0,
   "at": null,
   "until": 1800001800.0,
   "reason": "new kernel",
   "by": "alice"
  },
  {
   "owner": "www.example.com.",
   "address": "2001:db8::11",
   "mode": "maint",
   "since": 1800000000.0,
   "at": 1800003600.0,
   "until": null,
   "reason": "",
   "by": ""
  }
 ],
 "clocks": [
  {
   "owner": "www.example.com.",
   "address": "192.0.2.11",
   "expires": 1799999970.0
  }
 ],
 "healths": {
  "tcp :80 -> 192.0.2.11": {
   "up": false,
   "since": 1799999995.0,
   "reason": "connection refused",
   "recovered": false
  },
  "tcp :80 -> 2001:db8::11": {
   "up": true,
   "since": 1799999991.0,
   "reason": "connected",
   "recovered": true,
   "recent": 5,
   "unsteady": false
  }
 },
 "history": [
  {
   "at": 1799999940.0,
   "owner": null,
   "address": "192.0.2.11",
   "what": "drain",
   "reason": "new kernel",
   "by": "alice"
  }
 ],
 "changed_at": {
  "www.example.com. A": 1799999995.0
 },
 "serials": {
  "example.com.": 2026112101
 },
 "registrations": [
  {
   "owner": "www.example.com.",
   "address": "2001:db8::11",
   "weight": 3,
   "since": 1799999910.0,
   "until": 1800000030.0,
   "by": "token web"
  }
 ]
}
"""


# The text


def test_the_file_can_be_read_by_people() -> None:
    assert encode(SAMPLE) == TEXT


TIMES = st.floats(0, NOW)
ADDRESSES = st.ip_addresses()
STATES = st.builds(
    State,
    st.dictionaries(
        st.builds(Scope, st.none() | st.text(), ADDRESSES),
        st.builds(
            Order, st.sampled_from(Mode), TIMES, st.none() | TIMES, st.none() | st.just(NOW + 1), st.text(), st.text()
        ),
    ),
    st.dictionaries(st.text(), st.builds(Health, st.booleans(), st.just(0), TIMES, st.text(), st.booleans())),
    st.lists(
        st.builds(Change, TIMES, st.none() | st.text(), st.text(), st.text(), st.text(), st.text()), max_size=3
    ).map(tuple),
    st.dictionaries(st.builds(Scope, st.text(), ADDRESSES), TIMES, max_size=3),
    st.dictionaries(st.text(), TIMES),
    st.booleans(),
)


@given(kept=STATES)
def test_what_is_written_is_read(kept: State) -> None:
    assert decode(encode(kept), NOW) == kept


def test_the_clock_of_an_order_that_is_over_is_not_believed() -> None:
    """Unless nobody was there to hand the address out again."""
    assert decode(TEXT, NOW + 1799).clocks == SAMPLE.clocks
    assert decode(TEXT, NOW + 1800).clocks == {}
    assert decode(encode(replace(SAMPLE, is_last=True)), NOW + 1800).clocks == SAMPLE.clocks


def test_outcomes_against_a_verdict_begin_anew() -> None:
    doubted = State(healths={"tcp": Health(streak=2, since=NOW)})
    assert decode(encode(doubted), NOW).healths == {"tcp": Health(since=NOW)}


def test_a_file_from_before_there_was_a_history_is_read() -> None:
    root = json.loads(TEXT)
    del root["history"], root["clocks"], root["last"], root["registrations"]
    assert decode(json.dumps(root), NOW) == replace(SAMPLE, history=(), clocks={}, registrations={})


def test_a_file_from_before_it_was_known_who_gave_an_order_is_read() -> None:
    root = json.loads(TEXT)
    for item in (*root["orders"], *root["history"]):
        del item["by"]
    found = decode(json.dumps(root), NOW)
    assert {order.by for order in found.orders.values()} | {change.by for change in found.history} == {""}
    assert replace(found.orders[Scope(None, A11)], by="alice") == SAMPLE.orders[Scope(None, A11)]


def test_orders_that_are_over_are_dropped() -> None:
    assert set(decode(TEXT, NOW + 1799).orders) == {Scope(None, A11), Scope("www.example.com.", V6)}
    assert set(decode(TEXT, NOW + 1800).orders) == {Scope("www.example.com.", V6)}


def test_a_verdict_from_the_future_is_from_now() -> None:
    assert [health.since for health in decode(TEXT, NOW - 7).healths.values()] == [NOW - 7, NOW - 9]


def test_text_that_no_file_could_hold_is_kept() -> None:
    odd = State(healths={"\udcff": Health(reason="\udcff \0 \n é")})
    assert decode(encode(odd).encode().decode(), NOW) == odd


def edited(*path: str | int, value: Any) -> str:
    """The sample with another value at one place."""
    root = json.loads(TEXT)
    item = root
    for step in path[:-1]:
        item = item[step]
    item[path[-1]] = value
    return json.dumps(root)


@pytest.mark.parametrize(("text", "fact"), [
    ("", "it is no JSON (Expecting value: line 1 column 1 (char 0))"),
    (TEXT[:-20], "it is no JSON"),
    ("\0" * 100, "it is no JSON"),
    ("[" * 100_000, "it is no JSON"),
    ("9" * 5000, "it is no JSON"),
    ("null", "'version' is missing"),
    ("[]", "'version' is missing"),
    ("{}", "'version' is missing"),
    (edited("version", value=2), "its version is 2, and only 1 is known"),
    (edited("version", value=True), "'version' has a wrong value"),
    (edited("version", value="1"), "'version' has a wrong value"),
    (edited("orders", value={}), "'orders' has a wrong value"),
    (edited("orders", value=[None]), "'owner' is missing"),
    (edited("orders", 0, value={}), "'owner' is missing"),
    (edited("orders", 0, "owner", value=7), "'owner' has a wrong value"),
    (edited("orders", 0, "address", value=7), "'address' has a wrong value"),
    (edited("orders", 0, "address", value="192.0.2"), "'192.0.2' is no address"),
    (edited("orders", 0, "mode", value="rest"), "'rest' is no mode"),
    (edited("orders", 0, "mode", value=None), "'mode' has a wrong value"),
    (edited("orders", 0, "since", value=None), "'since' has a wrong value"),
    (edited("orders", 0, "since", value=True), "'since' has a wrong value"),
    (edited("orders", 0, "at", value="soon"), "'at' has a wrong value"),
    (edited("orders", 0, "until", value=float("nan")), "'until' is no time"),
    (edited("orders", 0, "until", value=10**400), "'until' is no time"),
    (TEXT.replace("1800001800.0", "1e999"), "'until' is no time"),
    (edited("orders", 0, "reason", value=None), "'reason' has a wrong value"),
    (edited("orders", 0, "by", value=None), "'by' has a wrong value"),
    (edited("clocks", value={}), "'clocks' has a wrong value"),
    (edited("clocks", 0, value={}), "'owner' is missing"),
    (edited("clocks", 0, "address", value="192.0.2"), "'192.0.2' is no address"),
    (edited("clocks", 0, "expires", value=None), "'expires' has a wrong value"),
    (edited("healths", value=[]), "'healths' has a wrong value"),
    (edited("healths", "x", value=None), "'up' is missing"),
    (edited("healths", "x", value={"up": 1}), "'up' has a wrong value"),
    (edited("healths", "x", value={"up": True}), "'since' is missing"),
    (edited("history", value={}), "'history' has a wrong value"),
    (edited("history", 0, value=None), "'at' is missing"),
    (edited("history", 0, "at", value=None), "'at' has a wrong value"),
    (edited("history", 0, "owner", value=7), "'owner' has a wrong value"),
    (edited("history", 0, "what", value=None), "'what' has a wrong value"),
])  # fmt: skip
def test_what_is_no_state_is_damaged_and_says_why(text: str, fact: str) -> None:
    with pytest.raises(Damaged) as caught:
        decode(text, NOW)
    assert str(caught.value).startswith(fact)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
PLACES: list[tuple[str | int, ...]] = [
    ("version",),
    ("orders",),
    ("healths",),
    ("orders", 0),
    *(("orders", 0, name) for name in ("owner", "address", "mode", "since", "at", "until", "reason")),
    ("history",),
    ("history", 0),
    *(("history", 0, name) for name in ("at", "owner", "address", "what", "reason")),
    *(("healths", "tcp :80 -> 192.0.2.11", name) for name in ("up", "since", "reason", "recovered")),
    *(("healths", "tcp :80 -> 2001:db8::11", name) for name in ("recent", "unsteady")),
]


@given(place=st.sampled_from(PLACES), value=JSON)
def test_any_value_anywhere_is_read_or_damaged(place: tuple[str | int, ...], value: Any) -> None:
    try:
        found = decode(edited(*place, value=value), NOW)
    except Damaged:
        return
    assert decode(encode(found), NOW) == found


@given(text=st.text() | st.integers(0, len(TEXT)).map(lambda end: TEXT[:end]))
def test_any_text_is_read_or_damaged(text: str) -> None:
    try:
        assert decode(text, NOW) == SAMPLE
        assert text.rstrip() == TEXT.rstrip()
    except Damaged:
        pass


# The key of a verdict


@pytest.mark.parametrize(("check", "text"), [
    (TcpCheck(3306), "tcp :3306"),
    (HttpCheck(80, "/healthz"), "http /healthz :80 expect=200-299"),
    (HttpCheck(443, "/", tls=True, host="www.example.com", expect=((200, 299), (301, 301)), body="all is well"),
     "https / :443 host=www.example.com expect=200-299,301-301 'body=all is well'"),
    (HttpCheck(443, tls=True, method="HEAD", headers=(("X-Check", "1"),), verify=False),
     "https / :443 method=HEAD header=X-Check:sha256:6b86b273 expect=200-299 verify=no"),
    (DnsCheck("example.com."), "dns example.com. SOA :53 expect=NOERROR"),
    (ExecCheck(("/bin/check", "-H", "{address}", "->")), "exec /bin/check sha256:627253dd"),
    (ExecCheck(("/bin/check",)), "exec /bin/check"),
    (HttpCheck(80, "/up?token=1"), "http '/up?sha256:212b674c' :80 expect=200-299"),
])  # fmt: skip
def test_a_key_is_readable(check: Check, text: str) -> None:
    assert key(Probe(check), A11) == f"{text} -> 192.0.2.11"
    assert key(Probe(check, source=ip_address("10.0.0.1")), V6) == f"{text} -> 2001:db8::11 from 10.0.0.1"


def test_a_key_does_not_change_with_how_often_is_asked() -> None:
    probe = Probe(TcpCheck(80))
    other = replace(probe, interval=9.0, fast_interval=1.0, down_interval=30.0, timeout=3.0, fall=9, rise=9)
    assert key(probe, A11) == key(other, A11)
    asked = {"check", "source"}
    counted = {"interval", "fast_interval", "down_interval", "timeout", "fall", "rise", "unsteady"}
    assert {one.name for one in fields(Probe)} == asked | counted  # a new setting belongs to one of the two


CHANGED: dict[Check, dict[str, Any]] = {
    TcpCheck(80): {"port": 81},
    DnsCheck("example.com."): {"name": "example.org.", "rrtype": "A", "port": 54, "expect": ("NOERROR", "NXDOMAIN")},
    ExecCheck(("true",)): {"command": ("true", "")},
    HttpCheck(80): {
        "port": 81, "path": "/x", "tls": True, "host": "", "method": "HEAD", "headers": (("a", ""),),
        "expect": ((200, 200),), "body": "", "body_matches": "", "verify": False, "ca_file": "",
    },
}  # fmt: skip


@pytest.mark.parametrize("check", CHANGED, ids=lambda check: type(check).__name__)
def test_a_key_changes_with_every_part_of_the_question(check: Check) -> None:
    changed = CHANGED[check]
    # What is read of an answer besides is no part of the question.
    assert {one.name for one in fields(check)} - {"gauge"} == set(changed)
    checks = [check, *(replace(check, **{name: value}) for name, value in changed.items())]
    assert len({key(Probe(one), A11) for one in checks}) == len(checks)


WORDS = st.sampled_from(["", "a", "host=a", ":80", "->", " -> 192.0.2.11", "'", "a b", "\\", "body=", "from", "http"])
TEXTS = st.none() | WORDS
CHECKS = st.one_of(
    st.builds(TcpCheck, st.sampled_from([80, 81])),
    st.builds(DnsCheck, WORDS, WORDS, st.just(53), st.lists(st.sampled_from(["NOERROR", "NXDOMAIN"])).map(tuple)),
    st.builds(ExecCheck, st.lists(WORDS, min_size=1, max_size=4).map(tuple)),
    st.builds(
        HttpCheck, st.just(80), WORDS, st.booleans(), TEXTS, WORDS,
        st.lists(st.tuples(st.sampled_from(["a", "host=b"]), WORDS), max_size=2).map(tuple),
        st.lists(st.tuples(st.just(200), st.just(299)), max_size=2).map(tuple), TEXTS, TEXTS, st.booleans(), TEXTS,
    ),
)  # fmt: skip
QUESTIONS = st.tuples(CHECKS, st.sampled_from([A11, V6]), st.sampled_from([None, A11]))


@given(questions=st.lists(QUESTIONS, min_size=2, max_size=30, unique=True))
def test_different_questions_have_different_keys(questions: list[Any]) -> None:
    assert len({key(Probe(check, source=source), target) for check, target, source in questions}) == len(questions)


@pytest.mark.parametrize("check", [
    HttpCheck(80, headers=(("Authorization", "Bearer hunter2"),)),
    HttpCheck(80, "/healthz?key=hunter2"),
    ExecCheck(("/bin/check", "-p", "hunter2")),
    ExecCheck(("/bin/check", "--password=hunter2")),
])  # fmt: skip
def test_no_key_tells_a_secret(check: Check) -> None:
    assert "hunter2" not in key(Probe(check), A11)


# What somebody has put into the file


@pytest.mark.parametrize(("place", "given", "kept"), [
    (("orders", 0, "since"), 253_402_300_799.0, NOW),
    (("orders", 0, "since"), -5, 0.0),
    (("orders", 0, "until"), 1e300, timestamp.LATEST),
    (("orders", 1, "at"), 1e12, timestamp.LATEST),
    (("orders", 1, "at"), -1e300, 0.0),
    (("healths", "tcp :80 -> 192.0.2.11", "since"), 253_402_300_799, NOW),
    (("healths", "tcp :80 -> 192.0.2.11", "since"), -1e300, 0.0),
    (("history", 0, "at"), 1e300, NOW),
    (("history", 0, "at"), -1, 0.0),
])  # fmt: skip
def test_times_are_brought_into_the_calendar(place: tuple[str | int, ...], given: float, kept: float) -> None:
    found = json.loads(encode(decode(edited(*place, value=given), NOW)))
    for step in place:
        found = found[step]
    assert found == kept


def test_of_too_many_changes_and_orders_the_last_are_kept() -> None:
    root = json.loads(TEXT)
    first = root["orders"][0]
    root["orders"] = [{**first, "owner": f"o{number}."} for number in range(state.MOST_ORDERS + 5)]
    root["history"] = [{**root["history"][0], "reason": str(number)} for number in range(5000)]
    found = decode(json.dumps(root), NOW)
    assert len(found.orders) == state.MOST_ORDERS
    assert {scope.owner for scope in found.orders} >= {f"o{state.MOST_ORDERS + 4}."}
    assert [one.reason for one in found.history] == [str(number) for number in range(4000, 5000)]


def test_a_file_that_is_too_large_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / state.NAME
    path.touch()
    os.truncate(path, 1 << 30)
    assert load(path, NOW) == (State(), (
        f"{path}: the state is damaged: it has more than 64 MB; it is set aside as state.json.damaged-1; "
        "starting without it"
    ))  # fmt: skip
    assert (tmp_path / "state.json.damaged-1").stat().st_size == 1 << 30


# The file


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "new" / "directory" / state.NAME
    assert load(path, NOW) == (State(), None)
    save(path, SAMPLE)
    assert load(path, NOW) == (SAMPLE, None)
    save(path, State())
    assert load(path, NOW) == (State(), None)
    assert os.listdir(path.parent) == [state.NAME]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_mode_is_0640_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        save(tmp_path / state.NAME, SAMPLE)
    finally:
        os.umask(before)
    assert S_IMODE((tmp_path / state.NAME).stat().st_mode) == 0o640


@pytest.mark.parametrize(("octets", "fact"), [
    (b"", "it is no JSON (Expecting value: line 1 column 1 (char 0))"),
    (b"\xff\xfe", "it is no UTF-8 text"),
    (edited("version", value=2).encode(), "its version is 2, and only 1 is known"),
])  # fmt: skip
def test_a_damaged_file_is_set_aside(tmp_path: Path, octets: bytes, fact: str) -> None:
    path = tmp_path / state.NAME
    for number in (1, 2, 3):
        path.write_bytes(octets)
        warning = (
            f"{path}: the state is damaged: {fact}; it is set aside as state.json.damaged-{number}; "
            "starting without it"
        )
        assert load(path, NOW) == (State(), warning)
        assert (tmp_path / f"state.json.damaged-{number}").read_bytes() == octets
        assert load(path, NOW) == (State(), None)


def test_what_is_no_file_is_a_warning_and_stays(tmp_path: Path) -> None:
    for path, make, reason in (
        (tmp_path / "fifo", os.mkfifo, "this is no regular file"),
        (tmp_path / "zero", partial(os.symlink, "/dev/zero"), "this is no regular file"),
        (tmp_path / "directory", os.mkdir, "is a directory"),
    ):
        make(path)
        fact = f"{path}: the state cannot be read: {reason}; starting without it"
        assert load(path, NOW) == (State(), fact)
        assert path.exists()
    below = tmp_path / "fifo" / state.NAME
    fact = f"{below}: the state cannot be read: not a directory; starting without it"
    assert load(below, NOW) == (State(), fact)


def python(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", program, *arguments]


# To root nothing is forbidden: becomes another user first, where there is one to become.
AS_NOBODY = """
import os, sys
from pathlib import Path
from dnslb.parent.state import State, load, save
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
path = Path(sys.argv[1])
print(load(path, 0.0)[1])
try:
    save(path, State())
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.parametrize(("file_mode", "directory_mode", "warning"), [
    (0o000, 0o755, "{path}: the state cannot be read: permission denied; starting without it"),
    (0o644, 0o000, "{path}: the state cannot be read: permission denied; starting without it"),
    (0o644, 0o555, "{path}: the state is damaged: its version is 2, and only 1 is known; it cannot be set aside: "
                   "permission denied; starting without it"),
])  # fmt: skip
def test_missing_permission_is_a_warning(file_mode: int, directory_mode: int, warning: str) -> None:
    # pytest's own directories are closed to others.
    directory = Path(tempfile.mkdtemp())
    path = directory / state.NAME
    try:
        path.write_text(edited("version", value=2))
        path.chmod(file_mode)
        directory.chmod(directory_mode)
        done = subprocess.run(python(AS_NOBODY, str(path)), capture_output=True, text=True, check=True)
    finally:
        directory.chmod(0o755)
        path.unlink()
        directory.rmdir()
    assert done.stdout.splitlines() == [warning.format(path=path), "Permission denied"]


def test_a_save_that_fails_leaves_the_old_state_and_no_litter(tmp_path: Path) -> None:
    # The disk is full: a file may have no more than 1000 octets.
    program = (
        "import resource, signal, sys; from pathlib import Path; from dnslb.parent.state import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "save(Path(sys.argv[1]), State(healths={'x' * 5000: Health()}))"
    )
    save(tmp_path / state.NAME, SAMPLE)
    failed = subprocess.run(python(program, str(tmp_path / state.NAME)), capture_output=True, text=True, check=False)
    assert "OSError: [Errno 27] File too large" in failed.stderr
    assert load(tmp_path / state.NAME, NOW) == (SAMPLE, None)
    assert os.listdir(tmp_path) == [state.NAME]


@pytest.mark.parametrize("octets", [0, 1, 100, 4096, 5000])
def test_a_crash_after_so_many_octets_leaves_the_old_state(tmp_path: Path, octets: int) -> None:
    # The kernel kills whoever writes more.
    program = (
        "import resource, signal, sys; from pathlib import Path; from dnslb.parent.state import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL); resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({octets}, {octets}))\n"
        "save(Path(sys.argv[1]), State(healths={'x' * 5000: Health()}))"
    )
    path = tmp_path / state.NAME
    save(path, SAMPLE)
    assert subprocess.run(python(program, str(path)), check=False).returncode == -signal.SIGXFSZ
    assert load(path, NOW) == (SAMPLE, None)
    save(path, State())
    assert os.listdir(tmp_path) == [state.NAME]


# Large, so that most of the time is spent on writing.
SAVES_FOR_EVER = """
import sys
from itertools import count
from pathlib import Path
from dnslb.balance.health import Health
from dnslb.parent.state import State, save
for turn in count():
    save(Path(sys.argv[1]), State(healths={"x": Health(reason="ab"[turn % 2] * (4_000_000 + turn % 2))}))
    if turn == 1:
        print("both have been written", flush=True)
"""


def test_kill_9_in_the_middle_of_writes_damages_nothing(tmp_path: Path) -> None:
    path, rng = tmp_path / state.NAME, Random(3)
    for _ in range(15):
        with subprocess.Popen(python(SAVES_FOR_EVER, str(path)), stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"both have been written\n"
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(rng.uniform(0.0, 0.1))
            writer.send_signal(signal.SIGKILL)
        found, warning = load(path, NOW)
        assert warning is None
        assert found.healths["x"].reason in ("a" * 4_000_000, "b" * 4_000_001)
        assert set(os.listdir(tmp_path)) <= {state.NAME, "state.json.new"}
    save(path, SAMPLE)
    assert os.listdir(tmp_path) == [state.NAME]


@pytest.mark.parametrize(("option", "environment", "uid", "expected"), [
    (None, {"HOME": "/home/op"}, 1000, "/home/op/.local/state/dnslb"),
    (None, {"HOME": "/root"}, 0, "/var/lib/dnslb"),
    (None, {"HOME": "/home/op", "XDG_STATE_HOME": "/srv/state"}, 1000, "/srv/state/dnslb"),
    (None, {"HOME": "/root", "XDG_STATE_HOME": "/srv/state"}, 0, "/srv/state/dnslb"),
    (None, {"HOME": "/home/op", "XDG_STATE_HOME": ""}, 1000, "/home/op/.local/state/dnslb"),
    (None, {"HOME": "/home/op", "XDG_STATE_HOME": "state"}, 1000, "/home/op/.local/state/dnslb"),
    (None, {}, 1000, "/var/lib/dnslb"),
    (Path("here"), {"HOME": "/home/op", "XDG_STATE_HOME": "/srv/state"}, 0, "here"),
])  # fmt: skip
def test_where_the_state_is_kept(option: Path | None, environment: dict[str, str], uid: int, expected: str) -> None:
    assert default_directory(option, environment, uid) == Path(expected)
