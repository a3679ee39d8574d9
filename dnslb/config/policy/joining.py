"""``register:`` of a pool: who may join it, and what is wrong with that.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from dnslb.balance.pool import JoinPolicy, Pool
from dnslb.config.policy import setting
from dnslb.config.policy.setting import PolicySettings, Reader
from dnslb.text.document import Document
from dnslb.text.problem import Level
from dnslb.text.yaml_tree import MappingNode, Node

MOST_JOINED = 4096
LEAST_LEASE, MOST_LEASE = 5.0, 86_400.0  # seconds
_REMEDY = "write {networks: [192.0.2.0/24]}"


def read_register(document: Document, node: Node) -> JoinPolicy | None:
    """Who may join; None when something is wrong with it, which is reported."""
    mistakes = len(document.problems)
    found = setting.read(document, node, _READERS, "register")
    values: dict[str, Any] = {key: value.value for key, value in found.items()}
    if isinstance(node, MappingNode) and not values.get("networks") and len(document.problems) == mistakes:
        document.report(node, "register names no network from which backends may join", _REMEDY)
    return JoinPolicy(**values) if len(document.problems) == mistakes else None


def check_register(document: Document, pool: Pool, settings: PolicySettings, own: Collection[str]) -> None:
    """``settings``: the pool's own over the defaults; ``own``: the keys that the pool itself has."""
    # As a default it is meant for the pools that it is of use to.
    if pool.register is None or "register" not in own:
        return
    node = settings["register"].node
    if pool.probe is None:
        document.report(node, f"who joins {pool.owner} would be handed out unprobed", "add probe:, or remove register")
    elif pool.answers == 1 and not pool.slowstart:
        fact = f"who joins {pool.owner} gets its full share at once, before it is warm"
        document.report(node, fact, "add slowstart: 30s, or what your servers need", Level.WARNING)


def _read_networks(document: Document, node: Node) -> tuple[Any, ...] | None:
    found = [setting.read_network(document, word, item) for word, item in document.texts(node)]
    return tuple(network for network in found if network is not None)


_READERS: dict[str, Reader] = {
    "networks": _read_networks,
    "limit": lambda document, node: document.number(node, 1, MOST_JOINED),
    "lease": lambda document, node: document.duration(node, LEAST_LEASE, MOST_LEASE),
    "others": Document.claim,
}
