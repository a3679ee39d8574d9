"""A network of our own for an experiment: what runs inside meets nobody outside, and ends with it.

    python -m comparison.enclosure EXPERIMENT DIRECTORY SEED REPEATS [quick] >outcome.json

``unshare`` gives the inner process network, mounts and process ids of its own (namespaces(7)).  When it ends, however
it ends, the kernel ends all that it has started, and takes interfaces and mounts away.  Inside, port 53 and every
address are free, and /etc/resolv.conf says what we want.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comparison.experiment import Lab
from comparison.processes import NotStartedError, Program

UNSHARE = Program("unshare", "unshare", "util-linux")
SETPRIV = Program("setpriv", "setpriv", "util-linux")
IP = Program("ip", "ip", "iproute2")
NEEDS = (UNSHARE, SETPRIV, IP)
TICK = 0.2      # seconds from look to look whether the inner process has ended
OUTCOME = "outcome.json"
FAILURE = "not started: "
PROGRESS = "progress: "


def perform(lab: Lab, experiment: str) -> Any:
    """What ``inside`` of the experiment's module gives back, made in a network of its own.  Raises NotStartedError."""
    name = f"enclosed-{experiment}"
    own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    process = lab.spawn(
        name, SETPRIV, "--pdeathsig", "KILL", UNSHARE, *own, "--net", "--mount", "--pid", "--fork", "--kill-child",
        "--mount-proc", sys.executable, "-m", "comparison.enclosure", experiment, lab.directory, lab.seed, lab.repeats,
        *(["quick"] if lab.quick else []))
    # unshare(1) itself waits for its child and ignores SIGTERM; its death is the child's, by SIGKILL.
    lab.stack.callback(process.popen.kill)
    said = 0
    while True:
        has_ended = process.has_ended
        lines = process.log.read_text(errors="replace").splitlines()
        for line in lines[said:]:
            if line.startswith(PROGRESS):
                lab.progress(line.removeprefix(PROGRESS))
        said = len(lines)
        if has_ended:
            break
        time.sleep(TICK)
    if process.popen.returncode:
        raise NotStartedError(f"{name}: {process.last_words().removeprefix(FAILURE)}")
    return json.loads((lab.directory / OUTCOME).read_text())


# Inside.


def ip(*words: object, by: Sequence[str] = ()) -> None:
    """Change the network; ``by`` is the beginning of a command line that runs elsewhere.  Raises NotStartedError."""
    done = subprocess.run([*by, str(IP), *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotStartedError(f"ip {' '.join(map(str, words))}: {done.stderr.strip()}")


def mount(*words: object) -> None:
    """What only those inside see.  Raises NotStartedError."""
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotStartedError(f"mount {' '.join(map(str, words))}: {done.stderr.strip()}")


def resolve_by(directory: Path, address: str) -> None:
    """All that runs inside asks that resolver."""
    file = directory / "resolv.conf"
    file.write_text(f"nameserver {address}\n")
    mount("--bind", file, "/etc/resolv.conf")


def say(text: str) -> None:
    """To whoever waits outside."""
    print(f"{PROGRESS}{text}", flush=True)


def inside(lab: Lab) -> dict[str, Any]:
    """What there is before anything is made, for tests."""
    return {"interfaces": sorted(name for _, name in socket.if_nameindex()),
            "processes": sum(entry.name.isdigit() for entry in Path("/proc").iterdir())}


def main() -> None:
    experiment, directory, seed, repeats, *quick = sys.argv[1:]
    lab = Lab(int(seed), bool(quick), int(repeats), Path(directory), say)
    try:
        ip("link", "set", "lo", "up")
        with lab.part():
            outcome = importlib.import_module(f"comparison.{experiment}").inside(lab)
    except NotStartedError as error:
        sys.exit(f"{FAILURE}{error}")
    (lab.directory / OUTCOME).write_text(json.dumps(outcome))


if __name__ == "__main__":
    main()
