"""Whatever happens to the primary and to us, in the end we hold what it holds: sequences made by hypothesis."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from dnslb_server import Server, eventually
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from peers import free_port
from primaries import BIND, KNOT, Primary, PrimaryKind, leading
from test_inbound import Copy, records, zone
from world import kill

pytestmark = pytest.mark.long

_HOSTS = st.sampled_from(["a", "b", "c"])
_STEPS = st.one_of(
    st.tuples(st.just("write"), _HOSTS, st.integers(1, 3), st.sampled_from([60, 300])),
    st.tuples(st.just("remove"), _HOSTS),
    st.tuples(st.sampled_from(["reload", "restart", "kill", "leave", "return"])),
)


class Life:
    """A dnslb, the primary that it follows, and what is done to them.  Serials are those of time, as people write."""

    def __init__(self, copy: Copy, stack: ExitStack, kind: PrimaryKind) -> None:
        self.copy = copy
        self.kind = kind
        self.number = 1
        self.hosts: dict[str, tuple[int, int]] = {}  # how many addresses, and the TTL
        self.lives = {one: stack.enter_context(ExitStack()) for one in ("primary", "copy")}
        self.port = free_port()
        self.primary: Primary | None = None
        self.start_primary()
        copy.policy(str(self.port))
        self.server: Server = self.lives["copy"].enter_context(copy.server())

    def start_primary(self) -> None:
        made = leading(self.kind, self.copy.directory, self.copy.port, self.text(), self.port)
        self.primary = self.lives["primary"].enter_context(made)

    def text(self) -> str:
        extra = "".join(
            f"{host} {ttl} A 198.51.100.{number}\n"
            for host, (count, ttl) in self.hosts.items() for number in range(count)
        )  # fmt: skip
        return zone(self.number, extra, "1 1 1209600")

    def do(self, step: tuple[str, ...] | tuple[str, str, int, int]) -> None:
        match step:
            case "write", str(host), int(count), int(ttl):
                self.hosts[host] = count, ttl
                self.write()
            case "remove", str(host):
                self.hosts.pop(host, None)
                self.write()
            case ["reload"]:
                os.kill(self.server.parent, signal.SIGHUP)
            case ["restart" | "kill" as how]:
                if how == "kill":
                    kill(self.server)
                self.lives["copy"].close()
                self.server = self.lives["copy"].enter_context(self.copy.server())
            case ["leave"]:
                self.lives["primary"].close()
                self.primary = None
            case ["return"] if self.primary is None:
                self.start_primary()

    def write(self) -> None:
        self.number += 1
        if self.primary is not None:
            time.sleep(1.1)  # files are compared by their times
            self.primary.write(self.text())

    def is_settled(self) -> bool:
        assert self.primary is not None
        theirs = records(self.primary.address, signed=True)
        is_last = any(f" {self.number} 1 1 1209600 60" in text for _, _, text in theirs)
        return is_last and records(self.copy.here) == theirs


@pytest.fixture(params=[KNOT, BIND], ids=lambda kind: kind.name)
def life(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Life]:
    with ExitStack() as stack:
        yield Life(Copy(tmp_path, stack), stack, request.param)


@settings(
    max_examples=6, deadline=None, phases=[Phase.generate], derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(_STEPS, min_size=3, max_size=8))
def test_in_the_end_we_hold_what_the_primary_holds(life: Life, steps: list[tuple[str, ...]]) -> None:
    """One life for all examples: each goes on where the last one ended."""
    for step in [*steps, ("return",)]:
        life.do(step)
    try:
        eventually(life.is_settled, "they differ", 30.0)
    except pytest.fail.Exception:
        pytest.fail(f"after {steps}\n{life.server.log[-3000:]}")
