"""nginx, as it comes and tuned.  It has no active probes: it learns from requests that fail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from comparison import l7
from comparison.experiment import Lab
from comparison.l7 import PER_TRY, RETRIES, Balancer, Front
from comparison.processes import Program

NGINX = Program("nginx", "nginx", "nginx-light")

TUNED = f"""\
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_connect_timeout {PER_TRY * 1000:g}ms;
    proxy_read_timeout {PER_TRY * 1000:g}ms;
    proxy_next_upstream error timeout http_500 http_502 http_503 http_504;
    proxy_next_upstream_tries {1 + RETRIES};
"""


def configuration(fronts: Sequence[Front], directory: Path, tuned: bool) -> str:
    blocks = []
    for name, front, servers in l7.farms(fronts):
        lines = ["least_conn;"] if front.algorithm == "leastconn" else []
        # The free version sets no cookie of its own: the user's decides.
        lines += ["hash $cookie_user consistent;"] if front.sticky else []
        lines += [f"server {server.address}:{server.port} weight={server.weight};" for server in servers]
        lines += ["keepalive 64;"] if tuned else []
        blocks.append(f"  upstream {name} {{\n    " + "\n    ".join(lines) + "\n  }")
    for number, front in enumerate(fronts):
        routes = [f"    location {prefix} {{ proxy_pass http://farm{number}r{route}; }}"
                  for route, (prefix, _) in enumerate(front.routes)]
        blocks.append("\n".join([f"  server {{\n    listen {front.home}:{front.port};", *routes,
                                 f"    location / {{ proxy_pass http://farm{number}; }}\n  }}"]))
    paths = "\n".join(f"  {kind}_temp_path {directory}/nginx-{kind};"
                      for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"""\
daemon off;
worker_processes 1;
pid {directory}/nginx-{fronts[0].port}.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000;
{paths}
{TUNED if tuned else ""}{chr(10).join(blocks)}
}}
"""


def start(lab: Lab, fronts: Sequence[Front], tuned: bool = False) -> Balancer:
    name = f"nginx-{fronts[0].port}"
    file = lab.directory / f"{name}.conf"
    file.write_text(configuration(fronts, lab.directory, tuned))
    return l7.wait(lab.spawn(name, NGINX, "-e", "stderr", "-p", lab.directory, "-c", file), fronts)
