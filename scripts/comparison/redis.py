"""Redis, for sessions that all clones share."""

from __future__ import annotations

from comparison.experiment import Lab
from comparison.processes import Process, Program, accepts, await_ready, free_port

REDIS = Program("Redis", "redis-server", "redis-server")


def start(lab: Lab) -> tuple[Process, int]:
    """It keeps nothing on disk.  The process and its port on 127.0.0.1."""
    port = free_port(["127.0.0.1"])
    process = lab.spawn("redis", REDIS, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no",
                        "--dir", lab.directory)
    await_ready(process, lambda: accepts("127.0.0.1", port))
    return process, port
