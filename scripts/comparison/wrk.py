"""wrk: how many requests a second are taken at most.  A closed loop: its latencies mean nothing here."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

from comparison.experiment import Lab
from comparison.processes import NotStartedError, Program
from comparison.stub import Endpoint

WRK = Program("wrk", "wrk", "wrk")
CONNECTIONS = 32
THREADS = 4         # each sends to one address

# wrk would send all threads to the first address of a name.
SCRIPT = """\
local addresses = {{ {addresses} }}
local turn = 0
function setup(thread)
  turn = turn % #addresses + 1
  thread.addr = wrk.lookup(addresses[turn], "{port}")[1]
end
"""


def maximum(
    lab: Lab, targets: Sequence[Endpoint], seconds: int, connections: int = CONNECTIONS, *, kept: bool = True
) -> float:
    """Replies per second, evenly from all targets, which have one port; over kept connections, or a new one for each.
    """
    threads = min(THREADS, connections)
    script = lab.directory / "spread.lua"
    quoted = ", ".join(f'"{target.address}"' for target in targets)
    script.write_text(SCRIPT.format(addresses=quoted, port=targets[0].port))
    command = [str(WRK), "-t", str(threads), "-c", str(connections), "-d", f"{seconds}s", "-s", str(script),
               *([] if kept else ["-H", "Connection: close"]), f"http://{targets[0].address}:{targets[0].port}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 20)
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if not found or "Non-2xx" in done.stdout:
        raise NotStartedError(f"wrk: {(done.stderr or done.stdout).strip()[-200:]}")
    return float(found[1])
