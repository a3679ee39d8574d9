"""HAProxy, with defaults and tuned for failover."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comparison import l7, probing
from comparison.experiment import Lab
from comparison.l7 import HOME, PER_TRY, RETRIES, Balancer, Front
from comparison.processes import NotStartedError, Program

HAPROXY = Program("HAProxy", "haproxy", "haproxy")

# The timeouts of its manual's examples; what is not said is its default (retries 3, no redispatch).
DEFAULT = """\
  timeout connect 5s
  timeout client 50s
  timeout server 50s
"""
# A server that fails is left for another one, within the second that clients wait.
TUNED = f"""\
  timeout connect {PER_TRY * 1000:g}ms
  timeout client 50s
  timeout server {PER_TRY * 1000:g}ms
  retries {RETRIES}
  option redispatch 1
  retry-on conn-failure empty-response response-timeout 500 502 503 504
"""

AGENT = rf'agent-check agent-inter {probing.INTERVAL * 1000:g}ms agent-send "GET /agent HTTP/1.0\r\n\r\n"'


@dataclass(frozen=True, slots=True)
class HAProxy(Balancer):
    socket: Path

    def state(self, server: str, state: str, farm: str = "farm0") -> None:
        """Set it to ``drain``, ``maint`` or ``ready`` while it runs."""
        self.command(f"set server {farm}/{server} state {state}")

    def weights(self, farm: str = "farm0") -> list[int]:
        """In force, of all its servers."""
        lines = self.command(f"show servers state {farm}").splitlines()
        at = lines[1].removeprefix("# ").split().index("srv_uweight")
        return [int(line.split()[at]) for line in lines[2:] if line]

    def command(self, text: str) -> str:
        """What the runtime socket answers."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(str(self.socket))
            sock.sendall(text.encode() + b"\n")
            reply = sock.makefile().read()
        if "No such" in reply or "Unknown" in reply:
            raise NotStartedError(f"haproxy: {text}: {reply.strip()}")
        return reply


def configuration(fronts: Sequence[Front], runtime: Path, tuned: bool) -> str:
    lines = ["global", "  nbthread 1", f"  stats socket {runtime} level admin", "defaults", "  mode http",
             (TUNED if tuned else DEFAULT).rstrip()]
    for number, front in enumerate(fronts):
        lines += [f"frontend front{number}", f"  bind {front.home}:{front.port}"]
        lines += [f"  use_backend farm{number}r{route} if {{ path_beg {prefix} }}"
                  for route, (prefix, _) in enumerate(front.routes)]
        lines += [f"  default_backend farm{number}"]
    check = f"check inter {probing.INTERVAL * 1000:g}ms fall {probing.FALL} rise {probing.RISE}"
    if tuned:
        check += " observe layer4 on-marked-down shutdown-sessions"
    for name, front, servers in l7.farms(fronts):
        lines += [f"backend {name}", f"  balance {front.algorithm}", f"  option httpchk GET {probing.PATH}",
                  f"  timeout check {probing.TIMEOUT * 1000:g}ms"]
        lines += ["  cookie SERVER insert indirect nocache"] if front.sticky else []
        lines += [f"  server {server.name} {server.address}:{server.port} weight {server.weight} {check}"
                  + (f" cookie {server.name}" if front.sticky else "")
                  + (f" {AGENT} agent-port {server.port}" if front.agents else "") for server in servers]
    return "\n".join(lines) + "\n"


def start(lab: Lab, fronts: Sequence[Front], tuned: bool = False) -> HAProxy:
    name = f"haproxy-{fronts[0].port}{'' if fronts[0].home == HOME else f'-{fronts[0].home}'}"
    file, runtime = lab.directory / f"{name}.cfg", lab.directory / f"{name}.sock"
    file.write_text(configuration(fronts, runtime, tuned))
    process = lab.spawn(name, HAPROXY, "-db", "-f", file)
    running = l7.wait(process, fronts)
    return HAProxy(running.process, running.fronts, runtime)


