"""What a reload changes: every setting and everything of a pool is compared, and what needs a start is named."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from dnslb.balance.near import Near, Networks
from dnslb.balance.pool import AllDown, Backend, JoinPolicy, Least, Load, OnReturn, Pool, Probe, TcpCheck, TtlPolicy
from dnslb.balance.rotation import RRsetOrder
from dnslb.config.catalog import Catalog
from dnslb.config.settings import Settings
from dnslb.dns import name
from dnslb.parent import difference

REFERENCE = Path(__file__).parent.parent / "zones" / "README.md"
OWNER = name.parse("www.example.test.", name.ROOT)
POOL = Pool("www.example.test.", (Backend(ip_address("192.0.2.1")),), {4: 300})
OTHER: dict[str, Any] = {
    "owner": "WWW.example.test.",
    "backends": (Backend(ip_address("192.0.2.1"), weight=2),),
    "zone_ttls": {4: 301},
    "probe": Probe(TcpCheck(80)),
    "order": RRsetOrder.STICKY,
    "answers": 1,
    "ttl": TtlPolicy(max=5),
    "when_all_down": AllDown.NONE,
    "slowstart": 1.0,
    "negative_ttl": 60,
    "near": Near(1, Networks()),
    "delay": 2.0,
    "min_ready": Least(backends=1),
    "fail_open_below": 50,
    "on_return": OnReturn.MANUAL,
    "hidden_load": True,
    "register": JoinPolicy((ip_network("192.0.2.0/24"),)),
    "load": Load(Probe(TcpCheck(80))),
}
CALLED = {
    "zone_ttls": "the zone's TTLs", "negative_ttl": "the zone's negative TTL", "near": "who is near",
    "delay": "whether it travels to secondaries",
}  # fmt: skip


def only_at_a_start() -> set[str]:
    """As the reference has it."""
    (sentence,) = re.findall(r"((?:`\w+`,?\s+(?:and\s)?)+)change only at a start", REFERENCE.read_text())
    return set(re.findall(r"`(\w+)`", sentence))


@pytest.mark.parametrize("key", [field.name for field in fields(Settings)])
def test_every_setting_is_compared(key: str) -> None:
    other: Any = object()
    now = replace(Settings(), **{key: other})
    fixed = key in only_at_a_start()
    assert difference.settings(Settings(), now) == (() if fixed else (key,))
    assert difference.waiting(Settings(), now) == ((key,) if fixed else ())


@pytest.mark.parametrize("key", [field.name for field in fields(Pool)])
def test_everything_of_a_pool_is_compared(key: str) -> None:
    was, now = (Catalog(Settings(), {}, {OWNER: pool}) for pool in (POOL, replace(POOL, **{key: OTHER[key]})))
    (told,) = filter(None, difference.pools(was, now))
    assert told.endswith(f"changed ({CALLED.get(key, key)})")
    assert not any(difference.pools(was, was))
