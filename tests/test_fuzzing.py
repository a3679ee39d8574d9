"""What hostile octets have broken is not broken again; and some of each kind, every time (scripts/fuzz does more)."""

from __future__ import annotations

from random import Random

import pytest
from fuzzing.__main__ import CRASHES, crashes, fuzz, replay
from fuzzing.targets import Target, Wrong, targets

TARGETS = targets()


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_raised_for_any_octets(name: str) -> None:
    replay(TARGETS[name])
    assert fuzz(TARGETS[name], 200, 0.0, seed=7).faults == {}


def test_every_crash_that_is_kept_is_of_a_target() -> None:
    assert {path.name for path in CRASHES.iterdir()} <= set(TARGETS)
    assert all(crashes(path.name) for path in CRASHES.iterdir())


def test_the_same_seed_makes_the_same_inputs() -> None:
    for target in TARGETS.values():
        assert [target.make(Random(5)) for _ in range(20)] == [target.make(Random(5)) for _ in range(20)]


def test_a_fault_is_found_once_with_its_input() -> None:
    def read(octets: bytes) -> None:
        if octets[0] % 2:
            raise Wrong("odd")
    outcome = fuzz(Target("odd", "", lambda rng: rng.randbytes(1), read), 200, 0.0, seed=1)
    ((fault, octets),) = outcome.faults.items()
    assert fault.startswith("Wrong in test_fuzzing.py:") and octets[0] % 2
