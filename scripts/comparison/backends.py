"""The clones that requests are for: started, changed, killed, revived.

They are on 127.0.1.11 and up: of addresses nearer to 127.0.0.1, glibc prefers those with the longest common prefix, and
rotation would not be seen (RFC 6724 §5 rule 9).
"""

from __future__ import annotations

import sys
import urllib.request
from dataclasses import dataclass

from comparison.clone import READY
from comparison.experiment import Lab
from comparison.processes import Process, await_ready, free_port


def addresses(count: int) -> tuple[str, ...]:
    return tuple(f"127.0.1.{11 + number}" for number in range(count))


@dataclass
class Backend:
    """One clone.  It keeps its name and address when it gets a new process."""

    name: str
    address: str
    port: int
    redis: int | None
    process: Process

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def change(self, **settings: object) -> None:
        """Of ``delay`` and ``service`` (seconds), ``status`` and ``healthy`` (yes or no), while it runs."""
        query = "&".join(f"{key}={value}" for key, value in settings.items())
        request = urllib.request.Request(f"{self.url}/control?{query}", method="PUT")
        with urllib.request.urlopen(request, timeout=5) as reply:
            reply.read()

    def revive(self, lab: Lab) -> None:
        """A new process in the place of one that has ended."""
        self.process = spawn(lab, self.name, self.address, self.port, self.redis)
        wait(self)


def start(lab: Lab, count: int = 4, redis: int | None = None, port: int | None = None, prefix: str = "b",
          ) -> list[Backend]:
    """Clones b1, b2 ... on one port of their addresses.  With ``redis``, its port, they keep sessions there."""
    homes = addresses(count)
    port = port or free_port(homes)
    clones = [Backend(f"{prefix}{number}", home, port, redis, spawn(lab, f"{prefix}{number}", home, port, redis))
              for number, home in enumerate(homes, 1)]
    for clone in clones:
        wait(clone)
    return clones


def spawn(lab: Lab, name: str, address: str, port: int, redis: int | None) -> Process:
    return lab.spawn(f"{name}-{port}", sys.executable, "-m", "comparison.clone", name, address, port,
                     *([redis] if redis else []))


def wait(clone: Backend) -> None:
    # Its own word: on a port that is taken, somebody else would accept.
    await_ready(clone.process, lambda: clone.process.log.read_text().startswith(READY))
