"""Failover by measurement: real backends die, hang and fail, while a real server is asked all the time."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median

import dns.edns
import dns.exception
import dns.message
import dns.rdatatype
import pytest
from dnslb_server import DNSLB, Server, eventually, launched, question, started
from peers import STARTING, free_port
from world import kill

INTERVAL, TIMEOUT, FALL, RISE = 0.3, 0.2, 2, 2
DETECTION = INTERVAL + (FALL - 1) * INTERVAL + TIMEOUT
RETURN = INTERVAL + (RISE - 1) * INTERVAL + TIMEOUT
FAILOVER = 5
FLOOR, CEILING = 1, 3   # 5 s less detection and the second that resolvers add: 3.2 s
SLACK = 1.0             # for a busy machine
QUIET = 0.3             # seconds for which what is gone must stay gone
PERIOD = 0.01           # from query to query

HOSTS = ("127.0.1.11", "127.0.1.12", "127.0.1.13")
EMPTY = "no backend is available; there are addresses otherwise"

ZONE = "\n".join([
    "$TTL 300",
    "@ SOA ns1 hostmaster 1 3600 900 1209600 1",
    "@ NS ns1",
    "ns1 A 127.0.0.1",
    *(f"{owner} 30 A {host}" for owner in ("www", "strict", "spare", "weighted") for host in HOSTS),
    "",
])  # fmt: skip

PROBE = "{{http: /healthz, port: {port}, interval: 300ms, timeout: 200ms, fall: 2, rise: {rise}}}"

POLICY = f"""\
defaults:
  probe: {PROBE}
  ttl: {{{{min: 1s, failover: 5s}}}}
pools:
  www: {{{{}}}}
  strict: {{{{when_all_down: none}}}}
  spare: {{{{backends: {{{{127.0.1.13: {{{{backup: true}}}}}}}}}}}}
  weighted: {{{{answers: 1, backends: {{{{127.0.1.11: {{{{weight: 3}}}}, 127.0.1.12: {{{{weight: 2}}}}}}}}}}}}
"""

BACKEND = """\
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

statuses = {signal.SIGUSR1: 500, signal.SIGUSR2: 200}
status = 200

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *words):
        pass

def turn(number, frame):
    global status
    status = statuses[number]

for number in statuses:
    signal.signal(number, turn)
server = HTTPServer((sys.argv[1], int(sys.argv[2])), Answer)
print("ready", flush=True)
server.serve_forever()
"""


# Backends


@dataclass(slots=True)
class Backend:
    """An HTTP server in a process of its own."""

    host: str
    port: int
    script: Path
    popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.begin_to_start()
        self.wait_until_ready()

    def begin_to_start(self) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-I", "-S", str(self.script), self.host, str(self.port)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip

    def wait_until_ready(self) -> None:
        assert self.popen is not None and self.popen.stdout is not None
        assert self.popen.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        if self.popen is not None:
            self.popen.kill()
            self.popen.communicate()
            self.popen = None

    def hang(self) -> None:
        self._send(signal.SIGSTOP)

    def wake(self) -> None:
        self._send(signal.SIGCONT)

    def fail(self) -> None:
        self._send(signal.SIGUSR1)

    def mend(self) -> None:
        self._send(signal.SIGUSR2)

    def _send(self, number: signal.Signals) -> None:
        assert self.popen is not None
        self.popen.send_signal(number)


@contextmanager
def living_backends(directory: Path) -> Iterator[list[Backend]]:
    """Three of them, on one port, for ``POLICY``."""
    script = directory / "backend.py"
    script.write_text(BACKEND)
    port = common_port()
    with ExitStack() as stack:
        backends = [Backend(host, port, script) for host in HOSTS]
        for backend in backends:
            stack.callback(backend.kill)
            backend.begin_to_start()
        for backend in backends:
            backend.wait_until_ready()
        yield backends


def common_port() -> int:
    """A port that is free on all hosts, below the range from which the kernel gives ports to others."""
    rng = Random()
    for _ in range(100):
        port = rng.randrange(20000, 30000)
        with ExitStack() as stack:
            try:
                for host in HOSTS:
                    stack.enter_context(socket.create_server((host, port)))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port on loopback")


@dataclass(frozen=True, slots=True)
class Failure:
    """A way for a backend to be of no use, and back."""

    begin: Callable[[Backend], None]
    end: Callable[[Backend], None]
    reason: str  # in the log


FAILURES = {
    "killed": Failure(Backend.kill, Backend.start, "connection refused"),
    "hanging": Failure(Backend.hang, Backend.wake, "no answer within 0.2 s"),
    "status-500": Failure(Backend.fail, Backend.mend, "status 500, expected 200-299"),
}

every_failure = pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)


# Clients


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, and when by the monotonic clock."""

    at: float
    addresses: tuple[str, ...]
    ttl: int | None      # None: there is no answer
    status: str
    note: str | None     # of the extended error, if there is one


@dataclass(slots=True)
class Client:
    """A resolver without a cache: one UDP socket, so that it always meets the same worker."""

    sock: socket.socket
    number: int = field(default=0)

    def ask(self, owner: str = "www", patience: float = 10.0) -> Reply:
        """A reply, asking again when one is lost; TimeoutError when none comes."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            self.number = (self.number + 1) % 0x10000
            query = dns.message.make_query(f"{owner}.example.test.", "A", use_edns=0)
            query.id = self.number
            try:
                self.sock.send(query.to_wire())
                while select.select([self.sock], [], [], min(patience, 0.5))[0]:
                    wire = self.sock.recv(65535)
                    if int.from_bytes(wire[:2]) == self.number:
                        return read(wire)
            except ConnectionRefusedError:
                time.sleep(PERIOD)  # nobody is there yet
        raise TimeoutError

    def watch(self, until: Callable[[Reply], bool], seconds: float, then: float = 0.0) -> list[Reply]:
        """Ask about every 10 ms: all replies until one is as wanted, and for a while after it.

        Fails the test when none is within ``seconds``.
        """
        replies = [self.ask()]
        begin = replies[0].at
        while not until(replies[-1]):
            if replies[-1].at - begin > seconds:
                pytest.fail(f"not within {seconds} s; the last reply: {replies[-1]}")
            time.sleep(PERIOD)
            replies.append(self.ask())
        end = replies[-1].at + then
        while replies[-1].at < end:
            time.sleep(PERIOD)
            replies.append(self.ask())
        return replies


def read(wire: bytes) -> Reply:
    at = time.monotonic()
    message = dns.message.from_wire(wire)
    assert message.edns == 0
    notes = [option.text for option in message.options if isinstance(option, dns.edns.EDEOption)]
    ttl = message.answer[0].ttl if message.answer else None
    status = dns.rcode.to_text(message.rcode())
    if not message.answer and [rrset.rdtype for rrset in message.authority] == [dns.rdatatype.SOA]:
        status += " SOA"
    return Reply(at, tuple(str(a) for rrset in message.answer for a in rrset), ttl, status, notes[0] if notes else None)


@contextmanager
def client_of(port: int) -> Iterator[Client]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        yield Client(sock)


def tell(capsys: pytest.CaptureFixture[str], measured: str) -> None:
    """Print a figure that the machine decides, and that no test should hold it to."""
    with capsys.disabled():
        sys.stdout.write(f"\n{measured}\n")


# The server


def write_zones(directory: Path, port: int, rise: int = RISE, policy: str = POLICY) -> Path:
    zones = directory / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(ZONE)
    (zones / "example.test.yaml").write_text(policy.format(port=port, rise=rise))
    return zones


@dataclass(frozen=True, slots=True)
class Scene:
    """Three backends, the server that probes them, and a client."""

    backends: list[Backend]
    server: Server
    client: Client
    port: int


@contextmanager
def scene(directory: Path, workers: int = 1) -> Iterator[Scene]:
    with living_backends(directory) as backends:
        write_zones(directory, backends[0].port)
        port = free_port()
        with (
            started(directory, "--workers", str(workers), "--listen", f"127.0.0.1:{port}") as server,
            client_of(port) as client,
        ):
            yield Scene(backends, server, client, port)


def lacks(*hosts: str) -> Callable[[Reply], bool]:
    return lambda reply: not set(hosts) & set(reply.addresses)


def names(*hosts: str) -> Callable[[Reply], bool]:
    return lambda reply: set(hosts) <= set(reply.addresses)


def fails_open(reply: Reply) -> bool:
    return reply.note is not None


# One backend


@every_failure
def test_the_last_answer_that_names_a_dead_backend_is_given_within_detection(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], failure: Failure
) -> None:
    with scene(tmp_path) as on:
        before = on.client.ask()
        assert sorted(before.addresses) == [*HOSTS]
        assert before.ttl == CEILING

        victim = on.backends[0]
        begin = time.monotonic()
        failure.begin(victim)
        replies = on.client.watch(lacks(victim.host), DETECTION + SLACK, QUIET)
        naming = [reply for reply in replies if victim.host in reply.addresses]
        last = max(reply.at for reply in naming) - begin
        gone = max(reply.at + reply.ttl + 1 for reply in naming if reply.ttl is not None) - begin
        tell(capsys, f"last named after {last:.2f} s of {DETECTION:.1f}; last cached copy gone after {gone:.2f} s of 5")
        assert last <= DETECTION + SLACK
        assert gone <= FAILOVER + SLACK
        # In doubt after the first failure, and then changed a moment ago.
        assert naming[-1].ttl == FLOOR
        after = replies[len(naming):]
        assert {(frozenset(reply.addresses), reply.ttl, reply.note) for reply in after} == {
            (frozenset(HOSTS[1:]), FLOOR, None)
        }
        told = f"www.example.test: 127.0.1.11 down (2 of 2 probes failed: {failure.reason}); serving 2 of 3, ttl 1"
        assert on.server.log.count(f" WARNING {told}\n") == 1

        failure.end(victim)
        on.client.watch(names(*HOSTS), RETURN + SLACK, QUIET)
        assert " INFO www.example.test: 127.0.1.11 up (2 of 2 probes passed); serving 3 of 3, ttl 1\n" in on.server.log


def test_after_a_return_the_ttl_climbs_back_no_faster_than_the_answer_ages(tmp_path: Path) -> None:
    with scene(tmp_path) as on:
        victim = on.backends[1]
        victim.fail()
        on.client.watch(lacks(victim.host), DETECTION + SLACK)
        victim.mend()
        *without, first = on.client.watch(names(victim.host), RETURN + SLACK)
        assert first.ttl == FLOOR
        since = without[-1].at  # it was not back yet
        replies = on.client.watch(lambda reply: reply.ttl == CEILING, CEILING + SLACK)
        ttls = [reply.ttl for reply in replies if reply.ttl is not None]
        assert sorted(set(ttls)) == [1, 2, 3]
        assert ttls == sorted(ttls)
        assert all(ttl <= max(FLOOR, reply.at - since) for ttl, reply in zip(ttls, replies, strict=True))


# All of them


@every_failure
def test_when_the_last_backend_dies_all_come_back_and_the_client_is_told(tmp_path: Path, failure: Failure) -> None:
    """Or none is handed out, where the policy says so: NODATA, never SERVFAIL."""
    with scene(tmp_path) as on:
        for backend in on.backends:
            failure.begin(backend)
        replies = on.client.watch(fails_open, DETECTION + SLACK, QUIET)
        assert all(reply.addresses and reply.status == "NOERROR" for reply in replies)
        opened = replies[[fails_open(reply) for reply in replies].index(True):]
        assert {(frozenset(reply.addresses), reply.ttl, reply.note) for reply in opened} == {
            (frozenset(HOSTS), FLOOR, "no backend is up; all 3 are handed out")
        }
        assert "serving 3 of 3 though none is up, ttl 1\n" in on.server.log
        strict = on.client.ask("strict")
        assert (strict.addresses, strict.status, strict.note) == ((), "NOERROR SOA", EMPTY)

        failure.end(on.backends[2])
        replies = on.client.watch(lambda reply: not fails_open(reply), RETURN + SLACK)
        assert replies[-1].addresses == on.client.ask("strict").addresses == (HOSTS[2],)


def test_a_backup_serves_when_no_other_is_up(tmp_path: Path) -> None:
    with scene(tmp_path) as on:
        assert {frozenset(on.client.ask("spare").addresses) for _ in range(6)} == {frozenset(HOSTS[:2])}
        on.backends[0].kill()
        eventually(lambda: on.client.ask("spare").addresses == (HOSTS[1],), "the dead one is still named")
        on.backends[1].kill()
        eventually(lambda: on.client.ask("spare").addresses == (HOSTS[2],), "the backup does not serve")
        assert not fails_open(on.client.ask("spare"))
        on.backends[0].start()
        eventually(lambda: on.client.ask("spare").addresses == (HOSTS[0],), "the backup still serves")


def test_weights_give_exact_shares_before_and_after_a_death(tmp_path: Path) -> None:
    with scene(tmp_path) as on:
        assert Counter(on.client.ask("weighted").addresses for _ in range(60)) == {
            (HOSTS[0],): 30, (HOSTS[1],): 20, (HOSTS[2],): 10,
        }  # fmt: skip
        on.backends[0].kill()
        eventually(lambda: "weighted.example.test: 127.0.1.11 down" in on.server.log, "it is not noticed")
        time.sleep(QUIET)
        assert Counter(on.client.ask("weighted").addresses for _ in range(30)) == {(HOSTS[1],): 20, (HOSTS[2],): 10}


# The start


def test_no_reply_ever_names_a_backend_that_was_dead_at_the_start(tmp_path: Path) -> None:
    """The port is open during the first round: what is asked then gets no reply."""
    with living_backends(tmp_path) as backends:
        dead, hanging, alive = backends
        dead.kill()
        hanging.hang()
        zones = write_zones(tmp_path, alive.port)
        port = free_port()
        command = [*DNSLB, "serve", str(zones), "--state", str(tmp_path / "state"), "--listen", f"127.0.0.1:{port}"]
        command += ["--workers", "1", "--control", str(tmp_path / "control")]
        with launched(command, tmp_path), client_of(port) as client:
            first = client.ask(patience=STARTING)
            assert (first.addresses, first.ttl, first.note) == ((alive.host,), CEILING, None)
            replies = client.watch(lambda reply: True, 1.0, DETECTION)
            assert {reply.addresses for reply in replies} == {(alive.host,)}


# Several workers


@contextmanager
def one_client_each(on: Scene) -> Iterator[list[Client]]:
    """A client of each of two workers: one is stopped to see whose questions it leaves unanswered."""
    with ExitStack() as stack:
        clients = [stack.enter_context(client_of(on.port)) for _ in range(16)]
        worker = on.server.workers()[0]
        os.kill(worker, signal.SIGSTOP)
        try:
            for client in clients:
                client.sock.send(question("www"))
            time.sleep(0.3)
            answered = select.select([client.sock for client in clients], [], [], 0)[0]
        finally:
            os.kill(worker, signal.SIGCONT)
        other = next(client for client in clients if client.sock not in answered)
        yield [next(client for client in clients if client.sock in answered), other]


def test_all_workers_change_at_the_same_moment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with scene(tmp_path, workers=2) as on, one_client_each(on) as clients:
        victim = on.backends[0]
        apart = []
        for turn in range(3):
            wanted = names(victim.host) if turn % 2 else lacks(victim.host)
            (victim.start if turn % 2 else victim.kill)()
            changed: dict[int, float] = {}
            deadline = time.monotonic() + DETECTION + SLACK
            while len(changed) < len(clients) and time.monotonic() < deadline:
                for which, client in enumerate(clients):
                    reply = client.ask()
                    if which not in changed and wanted(reply):
                        changed[which] = reply.at
                time.sleep(0.001)
            assert len(changed) == len(clients)
            apart.append(max(changed.values()) - min(changed.values()))
        tell(capsys, f"two workers changed {', '.join(f'{1000 * gap:.1f}' for gap in apart)} ms apart")
        assert median(apart) < 0.1


def test_a_worker_that_is_killed_comes_back_with_what_is_served_now(tmp_path: Path) -> None:
    with scene(tmp_path, workers=2) as on:
        before = on.server.workers()
        victim = on.backends[0]
        victim.kill()
        on.client.watch(lacks(victim.host), DETECTION + SLACK)
        time.sleep(0.6)  # a worker that dies within its first second is replaced with a delay
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        with ExitStack() as stack:
            clients = [stack.enter_context(client_of(on.port)) for _ in range(16)]
            for _ in range(10):
                assert {frozenset(client.ask().addresses) for client in clients} == {frozenset(HOSTS[1:])}
            after = on.server.workers()
            assert len(after) == 2 and not set(before) & set(after)
            # And it hears of later changes.
            victim.start()
            on.client.watch(names(victim.host), RETURN + SLACK, QUIET)
            assert all(names(*HOSTS)(client.ask()) for client in clients)


# Restarts


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_what_was_down_before_a_restart_must_earn_its_return(tmp_path: Path, number: signal.Signals) -> None:
    """A new backend counts as up after one probe that passes; this one has to pass ``rise`` of them."""
    rise = 5
    with living_backends(tmp_path) as backends:
        write_zones(tmp_path, backends[0].port, rise=rise)
        port = free_port()
        options = "--workers", "1", "--listen", f"127.0.0.1:{port}"
        state = tmp_path / "state" / "state.json"
        victim = backends[0]
        with started(tmp_path, *options) as server, client_of(port) as client:
            victim.kill()
            client.watch(lacks(victim.host), DETECTION + SLACK)
            if number is signal.SIGKILL:
                eventually(lambda: state.exists() and '"up": false' in state.read_text(), "nothing is saved")
                kill(server)
            else:
                os.kill(server.parent, number)
                server.ends_within(STARTING)
            assert '"up": false' in state.read_text()
        victim.start()
        with started(tmp_path, *options) as server, client_of(port) as client:
            first, *_ = client.watch(names(victim.host), rise * INTERVAL + TIMEOUT + SLACK)
            assert sorted(first.addresses) == [*HOSTS[1:]]
            assert "www.example.test: 127.0.1.11 up (5 of 5 probes passed); serving 3 of 3, ttl 1\n" in server.log


def test_a_second_server_with_the_same_state_does_not_start(tmp_path: Path) -> None:
    with scene(tmp_path) as on:
        state = tmp_path / "state"
        done = serve(tmp_path / "zones", state)
        said = f"Error: {state} is in use by another dnslb; stop it, or give --state PATH\n"
        assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
        assert names(*HOSTS)(on.client.ask())


def serve(zones: Path, state: Path) -> subprocess.CompletedProcess[str]:
    """Of a server that is expected to refuse."""
    control = zones.parent / "control-of-another"
    kept = ("--state", str(state), "--control", str(control))
    command = [*DNSLB, "serve", str(zones), *kept, "--listen", f"127.0.0.1:{free_port()}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=STARTING, check=False)


BROKEN = """\
pools:
  www:
    probe: {{http: /healthz, tcp: {port}, intervall: 300ms, timeout: 2, rise: {rise}}}
    answers: 0
    backends:
      127.0.1.99: {{weight: 3}}
  nowhere: {{}}
"""


BROKEN_SAYS = """\
{zones}/example.test.yaml:3:34: the probe has two kinds, http and tcp; keep one of them
{zones}/example.test.yaml:3:38: a probe has no key intervall; did you mean interval?
{zones}/example.test.yaml:3:65: 2 is no duration; write a number and a unit: 500ms, 5s, 2m, 1h
{zones}/example.test.yaml:4:14: answers: 0 hands out nothing; write 1 or more, or all
{zones}/example.test.yaml:6:7: 127.0.1.99 is no address of www.example.test.; add it to those at \
{zones}/example.test.zone:5, or remove it here
{zones}/example.test.yaml:7:3: the zone example.test. has no nowhere.example.test.; did you mean spare.example.test.?
6 errors, 0 warnings
"""


def test_with_a_broken_policy_nothing_starts_and_all_mistakes_are_listed(tmp_path: Path) -> None:
    zones = write_zones(tmp_path, 80, policy=BROKEN)
    done = serve(zones, tmp_path / "state")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", BROKEN_SAYS.format(zones=zones))
    assert not (tmp_path / "state").exists()
