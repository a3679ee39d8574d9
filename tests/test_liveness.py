"""When a worker is not counted on, and when it hangs: by its silence, and by what the system tells of it."""

from __future__ import annotations

import pytest

from dnslb.config.settings import Settings
from dnslb.parent.liveness import FIRST_READY, LOOK, Liveness
from dnslb.system.usage import Usage
from dnslb.worker.messages import Counts

SETTINGS = Settings(worker_timeout=4.0, tcp_idle=10.0)
NONE_OPEN = Counts(udp={}, tcp={}, packed=0, accepted=0, evicted=0, open=0, bugs=0)
SOME_OPEN = Counts(udp={}, tcp={}, packed=0, accepted=0, evicted=0, open=3, bugs=0)


class Scene:
    """A worker that answers, and is looked at again and again."""

    def __init__(self, *, is_up: bool = True, is_asked: bool = True, state: str = "S") -> None:
        self.worker = Liveness("worker 1 (pid 7)", SETTINGS, 0.0)
        self.worker.is_up, self.worker.is_asked = is_up, is_asked
        self.state = state
        self.now = 0.0

    def watch(self, seconds: float, *, connections_wait: bool = False) -> str | None:
        """The first fact by which it hangs, within these seconds."""
        until = self.now + seconds
        while self.now < until:
            self.now += LOOK
            usage = Usage(memory=0, cpu=0.0, state=self.state)
            if (fact := self.worker.look(self.now, usage, connections_wait)) is not None:
                return fact
        return None


def test_a_silent_worker_is_doubted_at_half_of_the_timeout_and_hangs_after_all_of_it() -> None:
    scene = Scene()
    assert scene.watch(1.75) is None
    assert scene.worker.is_known
    assert scene.watch(0.5) is None
    assert not scene.worker.is_known
    assert scene.watch(10) == "it has said nothing for 4 s"
    assert scene.worker.is_hanging


def test_a_word_ends_the_doubt_but_brings_nobody_back_who_hangs() -> None:
    scene = Scene()
    scene.watch(3)
    scene.worker.end_silence()
    assert scene.worker.is_known
    assert scene.watch(3.75) is None
    scene.watch(1)
    scene.worker.end_silence()
    assert not scene.worker.is_known


@pytest.mark.parametrize(("scene", "seconds"), [
    (Scene(is_asked=False), None),            # it owes us no word
    (Scene(state="R"), 4 * 4.0),              # it works, and has said nothing for four times as long
    (Scene(is_up=False), 4.0),                # before its first word
    (Scene(is_up=False, state="R"), FIRST_READY),  # what it is born with may take it a while
])  # fmt: skip
def test_how_long_a_silence_is_waited_for(scene: Scene, seconds: float | None) -> None:
    fact = scene.watch(2 * FIRST_READY)
    assert (fact is None) == (seconds is None)
    assert seconds is None or scene.now == pytest.approx(seconds, abs=LOOK)


@pytest.mark.parametrize(("counts", "seconds"), [
    (NONE_OPEN, 4.0),
    (SOME_OPEN, 14.0),  # it may be out of descriptors, until idle connections are closed
])  # fmt: skip
def test_a_worker_that_accepts_no_connection_hangs(counts: Counts, seconds: float) -> None:
    scene = Scene(is_asked=False)
    scene.worker.take_counts(counts)
    fact = scene.watch(30, connections_wait=True)
    assert fact == f"TCP connections wait, and it has accepted none for {seconds:.0f} s"


def test_connections_that_are_accepted_meanwhile_are_no_stall() -> None:
    scene = Scene(is_asked=False)
    for _ in range(10):
        assert scene.watch(3, connections_wait=True) is None
        scene.worker.take_counts(Counts(udp={}, tcp={}, packed=0, accepted=1, evicted=0, open=0, bugs=0))
