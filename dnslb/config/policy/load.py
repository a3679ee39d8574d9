"""``load`` in a probe: who says how busy the backends are.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

from dnslb.balance.pool import AgentCheck, Gauge, HttpCheck, Load, Probe
from dnslb.config.policy import words
from dnslb.config.policy.setting import Reader, Setting, are_sound
from dnslb.config.policy.setting import read as read_settings
from dnslb.config.policy.shares import read_percent
from dnslb.text.document import Document
from dnslb.text.yaml_tree import Node

_FULL = 1.0

# Each kind, and the keys that it has besides those that all have.
_KINDS: dict[str, tuple[str, ...]] = {
    "agent": ("interval", "timeout"),
    "header": ("full",),
    "json": ("full",),
    "prometheus": ("port", "metric", "full", "interval", "timeout"),
}


def _read_full(document: Document, node: Node) -> float | None:
    word = document.text(node)
    if word is None:
        return None
    try:
        full = float(word) if len(word) <= 20 else 0.0
    except ValueError:
        full = 0.0
    if not isfinite(full) or full <= 0:
        document.report(node, f"{word} is no number above 0", "write the number of a full load, such as 1, or 8")
        return None
    return full


def readers(interval: Reader, timeout: Reader) -> dict[str, Reader]:
    """Of all keys; those of a probe's pace are read as a probe's."""
    return {
        "agent": words.read_port,
        "header": words.read_token,
        "json": words.read_body,
        "prometheus": words.read_path,
        "metric": words.read_body,
        "port": words.read_port,
        "full": _read_full,
        "overload": read_percent,
        "interval": interval,
        "timeout": timeout,
    }


def read(document: Document, node: Node, known: Mapping[str, Reader]) -> Mapping[str, Setting] | None:
    """What is written there; None when something is wrong with it, which is reported."""
    mistakes = len(document.problems)
    found = read_settings(document, node, known, "load")
    kinds = [key for key in found if key in _KINDS]
    if len(kinds) != 1 and len(document.problems) == mistakes:
        fact = f"load has two kinds, {kinds[0]} and {kinds[1]}" if kinds else "load has no kind"
        document.report(node, fact, f"write one of {', '.join(_KINDS)}")
    for key in found if len(kinds) == 1 else ():
        if key not in (kinds[0], "overload", *_KINDS[kinds[0]]):
            document.report(found[key].node, f"load of kind {kinds[0]} has no {key}", "remove it")
    if kinds == ["prometheus"] and not {"port", "metric"} <= found.keys():
        document.report(found["prometheus"].node, "a page of metrics needs a port and a metric",
                        "add port: 9100 and metric: node_load1, or the like")
    return found if len(document.problems) == mistakes and are_sound(found.values()) else None


def build(document: Document, settings: Mapping[str, Setting], probe: Probe) -> tuple[Probe, Load | None]:
    """The pool's probe, which may tell the load as well, and who tells it; None when something is wrong with that."""
    values: dict[str, Any] = {key: setting.value for key, setting in settings.items()}
    kind = next(key for key in _KINDS if key in values)
    overload = values.get("overload")
    gauge = Gauge(kind, values.get("metric", values[kind]), values.get("full", _FULL)) if kind != "agent" else None
    if kind in ("header", "json"):
        if not isinstance(probe.check, HttpCheck):
            fact = f"load from a {'header' if kind == 'header' else 'JSON body'} comes with the answer to an http probe"
            document.report(settings[kind].node, fact, "probe by http or https, or ask an agent")
            return probe, None
        if kind == "json" and probe.check.method.upper() == "HEAD":
            document.report(settings[kind].node, "a reply to HEAD has no JSON", "write method: GET")
            return probe, None
        probe = replace(probe, check=replace(probe.check, gauge=gauge))
        return probe, Load(probe, overload)
    check = AgentCheck(values[kind]) if gauge is None else HttpCheck(values["port"], values[kind], gauge=gauge)
    interval = values.get("interval", probe.interval)
    timeout = values.get("timeout", min(probe.timeout, interval))
    if timeout > interval:
        fact = f"the timeout {timeout:g}s is longer than the interval {interval:g}s of asking for the load"
        document.report(settings["timeout"].node, fact, f"write at most timeout: {interval:g}s")
        return probe, None
    asking = Probe(check, interval, timeout=timeout, fall=probe.fall, rise=probe.rise, source=probe.source)
    return probe, Load(asking, overload)
