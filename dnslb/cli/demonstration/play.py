"""The play: the scene, its visitors, and what has happened so far, kept up to date."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dnslb.admin.client import Unreachable
from dnslb.cli.demonstration.picture import KEYS, Backend, Moment
from dnslb.cli.demonstration.process import NotStarted
from dnslb.cli.demonstration.scene import ADDRESSES, HOST, NAME, PORT, Scene
from dnslb.cli.demonstration.stub import Resolver
from dnslb.cli.demonstration.visitor import WINDOW, Visitors

LOOK = 0.3      # seconds between looks at dnslb's status


@dataclass(frozen=True, slots=True)
class Event:
    at: float       # Unix time
    text: str

    @property
    def clock(self) -> str:
        return datetime.fromtimestamp(self.at).strftime("%H:%M:%S")


@dataclass
class Play:
    scene: Scene
    visitors: Visitors
    rrset: dict[str, Any]                               # dnslb's status of the pool
    events: list[Event] = field(default_factory=list)   # ours and dnslb's, as they came
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    fault: str | None = None                            # why it had to end
    prompt: str = KEYS                                  # the keys that count
    _seen: int = 0                                      # changes of dnslb's history that are in the events

    @classmethod
    async def begin(cls, scene: Scene) -> Play:
        visitors = Visitors(NAME, PORT, Resolver(HOST, scene.port))
        return cls(scene, visitors, await asyncio.to_thread(scene.status))

    async def watch(self) -> None:
        """Follow dnslb's status and history until it ends or this is cancelled."""
        while not self.ended.is_set():
            try:
                self.rrset = await asyncio.to_thread(self.scene.status)
                changes = await asyncio.to_thread(self.scene.history)
            except Unreachable as error:
                self.fault = f"dnslb has ended: {error}"
                self.ended.set()
                return
            for change in changes[self._seen:]:
                reason = f" ({change['reason']})" if change["reason"] else ""
                self.events.append(Event(change["at"], f"dnslb: {change['address']} {change['what']}{reason}"))
            self._seen = len(changes)
            await asyncio.sleep(LOOK)

    def say(self, text: str) -> None:
        self.events.append(Event(time.time(), text))

    async def kill_or_revive(self, address: str) -> None:
        if self.scene.is_alive(address):
            await self.kill(address)
        else:
            await self.revive(address)

    async def kill(self, address: str) -> None:
        self.say(f"{address} is killed")
        await asyncio.to_thread(self.scene.kill, address)

    async def revive(self, address: str) -> None:
        try:
            await asyncio.to_thread(self.scene.revive, address)
        except NotStarted as error:
            self.say(str(error))
        else:
            self.say(f"{address} is started again")

    async def drain_or_ready(self, address: str) -> None:
        """The event comes from dnslb's history."""
        mode = "ready" if self._find(address)["mode"] == "drain" else "drain"
        try:
            await asyncio.to_thread(self.scene.order, mode, address)
        except Unreachable as error:
            self.say(str(error))

    def verdict(self, address: str) -> str:
        """up or down; drain, as long as it is."""
        found = self._find(address)
        if found["mode"] != "ready":
            return str(found["mode"])
        return "up" if found["up"] else "down"

    def moment(self) -> Moment:
        visitors, now = self.visitors, time.monotonic()
        return Moment(
            question=f"dig @{HOST} -p {self.scene.port} {NAME} +short",
            answer=visitors.answer.addresses,
            ttl=self.rrset["ttl"],
            why=self.rrset["why"],
            caching=max(0.0, visitors.expires - now) if visitors.caching else None,
            backends=[self._backend(key, address) for key, address in enumerate(ADDRESSES, 1)],
            window=WINDOW,
            visits=visitors.visits,
            failed=visitors.failed,
            events=[(event.clock, event.text) for event in sorted(self.events, key=lambda event: event.at)],
            prompt=self.prompt,
        )

    def _backend(self, key: int, address: str) -> Backend:
        visits = [visit for visit in self.visitors.recent if visit.address == address]
        return Backend(
            key=str(key),
            address=address,
            alive=self.scene.is_alive(address),
            verdict=self.verdict(address),
            reason=self._find(address)["reason"],
            visits=len(visits),
            failed=sum(not visit.ok for visit in visits),
        )

    def _find(self, address: str) -> dict[str, Any]:
        found: dict[str, Any] = next(each for each in self.rrset["backends"] if each["address"] == address)
        return found
