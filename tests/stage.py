"""The demonstration has one stage, 127.0.1.11 to 13 port 8080: who plays there waits for others to leave."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path


@contextmanager
def alone() -> Iterator[None]:
    with Path(tempfile.gettempdir(), "dnslb-stage.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        yield
