"""What comes most often, in bounded memory; and which packets are looked at."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as some

from dnslb.worker.sampling import Sampling
from dnslb.worker.space_saving import Estimate, SpaceSaving, merged

STREAMS = some.lists(some.binary(max_size=1), max_size=300)


@given(STREAMS, some.integers(1, 20))
def test_no_count_is_wrong_by_more_than_it_says(stream: list[bytes], size: int) -> None:
    sketch, truth = SpaceSaving(size), Counter(stream)
    sketch.add(stream)
    found = sketch.estimates()
    assert len(found) <= size
    assert sum(estimate.most for estimate in found.values()) == sketch.total == len(stream)
    for key, (most, error) in found.items():
        assert most - error <= truth[key] <= most
        assert error <= len(stream) / size
    # Whatever is more than one in so many is there.
    assert {key for key, count in truth.items() if count > len(stream) / size} <= found.keys()


def test_a_flood_of_names_that_never_come_again_hides_nobody() -> None:
    rng, sketch = Random(1), SpaceSaving(100)
    for number in range(20_000):
        sketch.add([b"often" if rng.random() < 0.05 else b"%d" % number])
    most = max(sketch.estimates().items(), key=lambda item: item[1].most - item[1].error)
    assert most[0] == b"often"


def test_parts_are_added_up() -> None:
    first, second = {b"a": Estimate(5, 1), b"b": Estimate(2)}, {b"a": Estimate(7, 2)}
    assert merged([first, second]) == {b"a": Estimate(12, 3), b"b": Estimate(2)}


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("share", [1.0, 0.3, 0.01])
def test_a_share_of_the_packets_is_chosen(share: float, batch: int) -> None:
    sampling, packets = Sampling(share, Random(3)), 200_000 // batch * batch
    chosen = []
    for start in range(0, packets, batch):
        chosen += [start + at for at in sampling.chosen(batch)]
    assert len(chosen) == pytest.approx(share * packets, rel=0.05)
    assert chosen == sorted(set(chosen)) and all(0 <= place < packets for place in chosen)
