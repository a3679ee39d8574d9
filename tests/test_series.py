"""The last hour in samples, and what an order would do."""

from __future__ import annotations

import json
import tracemalloc
from array import array
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from dnslb_server import eventually, started
from peers import free_port

from dnslb.admin import client
from dnslb.answer.copies import Copies
from dnslb.answer.served_pool import ServedPool
from dnslb.balance.pool import Backend, Pool
from dnslb.balance.verdicts import Verdicts
from dnslb.dns import name
from dnslb.parent.telling.series import SAMPLES, Counted, Ring, RRsetSeries

ZONE = "@ 30 SOA a b 1 1 1 1 1\n@ 30 NS a\na 30 A 192.0.2.1\na 30 A 192.0.2.2\na 30 A 192.0.2.3\n"
OWNER = name.parse("www.example.test.", name.ROOT)


def served(addresses: int = 3) -> ServedPool:
    """A pool that is not probed."""
    backends = tuple(Backend(ip_address(f"192.0.2.{number + 1}")) for number in range(addresses))
    pool = ServedPool(OWNER, Pool("www.example.test.", backends, {4: 30}), Verdicts())
    pool.begin({}, {}, Copies(), 0.0)
    return pool


def test_a_ring_keeps_the_last_numbers() -> None:
    ring = Ring(3)
    for number in (1, 2, 2, 2**40):
        ring.add(number)
    assert ring.numbers() == (2, 2, 2**32 - 1)
    assert ring.runs() == ((2, 2), (2**32 - 1, 1))
    assert array("I").itemsize == 4


def test_a_count_is_told_as_what_it_grew_by() -> None:
    counted = Counted(10, before=5)
    for count in (7, 7, 10, 3, 4):  # a count that falls began anew
        counted.sample(count)
    assert counted.ring.numbers() == (2, 0, 3, 0, 1)


def test_an_hour_of_a_pool_is_bounded_and_small() -> None:
    pool, led = served(), {ip_address("192.0.2.1").packed: 0}
    tracemalloc.start()
    try:
        series = RRsetSeries()
        for number in range(3 * SAMPLES):
            led[ip_address("192.0.2.1").packed] = number
            series.sample(pool, 4, led)
        octets, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    told = series.told("www.example.test.", 4)
    assert told.ttl == ((30, SAMPLES),)
    assert told.up == ((3, SAMPLES),)
    assert (told.of, told.available) == (3, 1.0)
    assert [(each.address, len(each.answers), each.answers[-1]) for each in told.led] == [
        ("192.0.2.1", 60, 6), ("192.0.2.2", 60, 0), ("192.0.2.3", 60, 0),
    ]  # fmt: skip
    assert octets < 8_000


def test_of_many_addresses_some_are_counted() -> None:
    series = RRsetSeries()
    series.sample(served(200), 4, {})
    assert len(list(series.told("www.example.test.", 4).led)) == 8


@pytest.fixture
def zones(tmp_path: Path) -> Path:
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(ZONE)
    (zones / "example.test.yaml").write_text("pools: {a: {}}\n")
    return zones


def post(control: Path, target: str, mode: str, *addresses: str, **more: object) -> tuple[int, Any]:
    return client.ask(control, "POST", target, {"mode": mode, "addresses": addresses, **more})


def test_the_effect_of_an_order_is_told_and_nothing_is_done(tmp_path: Path, zones: Path) -> None:
    control = tmp_path / "control"
    with started(tmp_path, "--listen", f"127.0.0.1:{free_port()}", "--workers", "1"):
        before = client.ask(control, "GET", "/status")[1]["pools"]
        status, told = post(control, "/orders/effect", "drain", "192.0.2.1", "192.0.2.2")
        assert status == 200
        [effect] = told["rrsets"]
        assert (effect["owner"], effect["type"], effect["addresses"]) == (
            "a.example.test.", "A", ["192.0.2.1", "192.0.2.2"],
        )  # fmt: skip
        assert (effect["before"], effect["after"], effect["of"], effect["fails_open"]) == (3, 1, 3, False)
        now = client.ask(control, "GET", "/status")[1]["now"]
        assert 25 < effect["expires"] - now < 32
        assert told["standing"] == []
        assert client.ask(control, "GET", "/status")[1]["pools"] == before

        assert post(control, "/orders", "drain", "192.0.2.1", names=["a.example.test"], reason="x")[0] == 200
        told = post(control, "/orders/effect", "ready", "*")[1]
        assert [(one["mode"], one["owner"], one["reason"]) for one in told["standing"]] == [
            ("drain", "a.example.test.", "x")
        ]
        assert [(one["before"], one["after"], one["expires"]) for one in told["rrsets"]] == [(2, 3, None)]

        assert post(control, "/orders/effect", "drain", "198.51.100.1")[0] == 404
        assert post(control, "/orders/effect", "drain", "192.0.2.1", **{"for": "soon"})[0] == 400


def test_what_a_reload_did_to_a_zone_and_the_name_of_the_server_are_in_the_status(tmp_path: Path, zones: Path) -> None:
    (zones / "dnslb.yaml").write_text("server_id: ns1.test\n")
    control = tmp_path / "control"
    with started(tmp_path, "--listen", f"127.0.0.1:{free_port()}", "--workers", "1"):
        status = client.ask(control, "GET", "/status")[1]
        assert status["server"]["name"] == "ns1.test"
        assert status["zones"] == [{"zone": "example.test.", "serial": 1, "changed": None, "change": "", "updated": 0}]
        (zones / "example.test.zone").write_text(ZONE.replace("b 1", "b 2") + "b 30 A 192.0.2.4\n")
        eventually(lambda: client.ask(control, "GET", "/status")[1]["zones"][0]["change"], "not reloaded", 10.0)
        [zone] = client.ask(control, "GET", "/status")[1]["zones"]
        assert zone["change"] == "serial 1 → 2, 1 record added, 0 gone"
        assert zone["changed"] > status["now"]


@pytest.mark.long
def test_the_first_sample_of_the_hour_comes_within_ten_seconds(tmp_path: Path, zones: Path) -> None:
    control = tmp_path / "control"
    with started(tmp_path, "--listen", f"127.0.0.1:{free_port()}", "--workers", "1"):
        eventually(lambda: len(client.ask(control, "GET", "/timeline")[1]["queries"]) == 1, "no sample", 15.0)
        told = client.ask(control, "GET", "/timeline/a.example.test")[1]
        assert (told["every"], told["stretch"], told["left_off"]) == (10, 60, 0)
        [rrset] = told["rrsets"]
        led = [{"address": f"192.0.2.{number}", "answers": []} for number in (1, 2, 3)]
        assert (rrset["owner"], rrset["type"], rrset["led"]) == ("a.example.test.", "A", led)
        assert (rrset["ttl"], rrset["up"], rrset["of"], rrset["available"]) == ([[30, 1]], [[3, 1]], 3, 1.0)
        assert client.ask(control, "GET", "/timeline/b.example.test")[0] == 404
        assert json.dumps(told)
