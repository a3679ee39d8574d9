"""What hooks are told when thousands of verdicts change in one moment, and what that costs the loop."""

from __future__ import annotations

import asyncio
import json
from ipaddress import ip_address
from pathlib import Path

import pytest
from crowds import look

from dnslb.balance.pool import Backend, Pool
from dnslb.config.hook import CommandHook
from dnslb.control.change import Change
from dnslb.dns import name
from dnslb.parent.balancer import Balancer
from dnslb.parent.telling import event, hooks
from dnslb.parent.telling.hooks import Hooks

SHARED = [ip_address("192.0.2.1"), ip_address("192.0.2.2")]
POOLS = {
    name.parse(f"www{number}.example.test.", name.ROOT): Pool(
        f"www{number}.example.test.", tuple(map(Backend, SHARED)), {4: 30}
    )
    for number in range(2400)
}


def verdicts() -> list[Change]:
    return [
        Change(1.0, pool.owner, str(backend.address), "down", "refused")
        for pool in POOLS.values()
        for backend in pool.backends
    ]


def test_two_servers_of_all_pools_die_and_the_loop_goes_on(tmp_path: Path) -> None:
    spent: list[float] = []

    async def story() -> None:
        balancer = Balancer(POOLS)
        balancer.start(lambda servings: None)
        made = 0

        def encode(change: Change) -> bytes:
            nonlocal made
            made += 1
            return event.encode(change, "ns1", balancer)

        told = Hooks(encode)
        told.replace([CommandHook(("/bin/sh", "-c", f"cat > {tmp_path}/event; sleep 60"))])
        looking = asyncio.create_task(look(spent))
        await asyncio.sleep(0.05)
        for change in verdicts():
            told.tell(change)
        while made < hooks.MOST_WAITING or told._task is not None:
            await asyncio.sleep(0.01)
        looking.cancel()
        await told.stop()
        balancer.stop()
        assert made == hooks.MOST_WAITING, "what would be dropped is not made"

    asyncio.run(asyncio.wait_for(story(), 30))
    assert max(spent) < 0.05


def test_an_event_tells_of_its_pool_alone_and_of_a_bounded_number_when_it_is_under_every_name() -> None:
    async def story() -> None:
        balancer = Balancer(POOLS)
        balancer.start(lambda servings: None)
        one = json.loads(event.encode(Change(1.0, "www7.example.test.", "192.0.2.1", "down", ""), "ns1", balancer))
        assert [answer["owner"] for answer in one["answers"]] == ["www7.example.test."]
        every = json.loads(event.encode(Change(1.0, None, "192.0.2.1", "drain", ""), "ns1", balancer))
        assert len(every["answers"]) == event.MOST_ANSWERS
        gone = json.loads(event.encode(Change(1.0, "gone.example.test.", "192.0.2.1", "down", ""), "ns1", balancer))
        assert gone["answers"] == []
        balancer.stop()

    asyncio.run(story())


def test_who_is_replaced_while_events_are_made_is_told_of_them(tmp_path: Path) -> None:
    async def story() -> None:
        told = Hooks(lambda change: b"x\n")
        file = tmp_path / "events"
        told.replace([CommandHook(("/bin/sh", "-c", f"cat >> {file}"))])
        told.tell(Change(1.0, None, "192.0.2.1", "drain", ""))
        told.replace([])
        async with asyncio.timeout(10):
            while not file.exists() or file.read_text() != "x\n":
                await asyncio.sleep(0.01)
        await told.stop()

    asyncio.run(story())


@pytest.mark.parametrize("count", [1, 3000])
def test_the_end_comes_at_once_however_much_waits(count: int, tmp_path: Path) -> None:
    async def story() -> None:
        told = Hooks(lambda change: b"x\n")
        told.replace([CommandHook(("/bin/sleep", "60"))])
        for _ in range(count):
            told.tell(Change(1.0, None, "192.0.2.1", "drain", ""))
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await told.stop()

    asyncio.run(story())
