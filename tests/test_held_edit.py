"""What a reload would take away."""

from __future__ import annotations

import pytest

from dnslb.config.catalog import Catalog, Size
from dnslb.config.settings import Settings
from dnslb.dns import name
from dnslb.parent.held_edit import losses

APEX = name.parse("example.test.", name.ROOT)


def of(size: Size | None) -> Catalog:
    return Catalog(Settings(), {}, {}, sizes={} if size is None else {APEX: size})


@pytest.mark.parametrize(("was", "now", "told"), [
    (Size(100, None), Size(100, None), ()),
    (Size(100, None), Size(50, None), ()),
    (Size(100, None), Size(49, None), ("example.test. would shrink from 100 records to 49",)),
    (Size(21, None), Size(10, None), ("example.test. would shrink from 21 records to 10",)),
    (Size(20, None), Size(3, None), ()),  # an ordinary edit
    (Size(100, None), None, ("example.test. would be removed, with 100 records",)),
    (Size(4, 2), None, ("example.test. would be removed, with 4 records",)),
    (Size(4, 2), Size(4, None), ("example.test. would lose its policy file, with 2 pools",)),
    (Size(4, 1), Size(4, 0), ("example.test. would shrink from 1 pool to 0",)),
    (Size(4, 0), Size(4, None), ()),
    (Size(4, None), Size(4, None), ()),
    (Size(4, 4), Size(4, 1), ()),
    (Size(4, 5), Size(4, 2), ("example.test. would shrink from 5 pools to 2",)),
    (Size(4, 5), Size(4, 3), ()),
    (Size(90, 5), Size(9, 2), (
        "example.test. would shrink from 90 records to 9", "example.test. would shrink from 5 pools to 2",
    )),
    (None, Size(4, 4), ()),
])  # fmt: skip
def test_what_would_be_lost(was: Size | None, now: Size | None, told: tuple[str, ...]) -> None:
    assert losses(of(was), of(now)) == told
