"""What an edit would take away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dnslb.config.catalog import Catalog, ZoneSize
from dnslb.config.settings import Settings
from dnslb.dns import name
from dnslb.parent.held_edit import losses

APEX = name.parse("example.test.", name.ROOT)


ZONE = "zones/example.test.zone"


def of(size: ZoneSize | None) -> Catalog:
    return Catalog(Settings(), {}, {}, sizes={} if size is None else {APEX: size})


@pytest.mark.parametrize(("was", "now", "told"), [
    (ZoneSize(100, None), ZoneSize(100, None), ()),
    (ZoneSize(100, None), ZoneSize(50, None), ()),
    (ZoneSize(100, None), ZoneSize(49, None), ("example.test. would shrink from 100 records to 49",)),
    (ZoneSize(21, None), ZoneSize(10, None), ("example.test. would shrink from 21 records to 10",)),
    (ZoneSize(20, None), ZoneSize(3, None), ()),  # an ordinary edit
    (ZoneSize(100, None), None, ("example.test. would be removed, with 100 records",)),
    (ZoneSize(4, 2), None, ("example.test. would be removed, with 4 records",)),
    (ZoneSize(4, 2), ZoneSize(4, None), ("example.test. would lose its policy file, with 2 pools",)),
    (ZoneSize(4, 1), ZoneSize(4, 0), ("example.test. would shrink from 1 pool to 0",)),
    (ZoneSize(4, 0), ZoneSize(4, None), ()),
    (ZoneSize(4, None), ZoneSize(4, None), ()),
    (ZoneSize(4, 4), ZoneSize(4, 1), ()),
    (ZoneSize(4, 5), ZoneSize(4, 2), ("example.test. would shrink from 5 pools to 2",)),
    (ZoneSize(4, 5), ZoneSize(4, 3), ()),
    (ZoneSize(90, 5), ZoneSize(9, 2), (
        "example.test. would shrink from 90 records to 9", "example.test. would shrink from 5 pools to 2",
    )),
    (None, ZoneSize(4, 4), ()),
])  # fmt: skip
def test_what_would_be_lost(was: ZoneSize | None, now: ZoneSize | None, told: tuple[str, ...]) -> None:
    assert losses(of(was), of(now)) == told


@pytest.mark.parametrize(("was", "now", "told"), [
    (set(), {ZONE}, (f"{ZONE} ends in the middle of a line",)),
    ({ZONE}, {ZONE}, ()),  # it did before
    ({ZONE}, set(), ()),
    (set(), {"zones/new.test.zone"}, ()),
])  # fmt: skip
def test_what_is_cut_off(was: set[str], now: set[str], told: tuple[str, ...]) -> None:
    known = frozenset({(ZONE, 1, 2, 3)})
    before = replace(of(None), fingerprint=known, unfinished=frozenset(was))
    assert losses(before, replace(of(None), unfinished=frozenset(now))) == told
