"""The ``probe`` mapping: read over the default one, then made into a Probe.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dnslb.balance.pool import Check, DnsCheck, ExecCheck, HttpCheck, Probe, TcpCheck
from dnslb.config.policy import load, words
from dnslb.config.policy.setting import PolicySettings, Reader, Setting, are_sound, read_target
from dnslb.config.policy.shares import read_unsteady
from dnslb.text.document import Document
from dnslb.text.yaml_tree import MappingNode, Node

LEAST_INTERVAL, MOST_INTERVAL = 0.1, 3600.0  # seconds
LEAST_TIMEOUT, MOST_TIMEOUT = 0.01, 300.0    # seconds
MOST_OUTCOMES = 100                          # rise and fall


def _read_interval(document: Document, node: Node) -> float | None:
    return document.duration(node, LEAST_INTERVAL, MOST_INTERVAL)


def _read_timeout(document: Document, node: Node) -> float | None:
    return document.duration(node, LEAST_TIMEOUT, MOST_TIMEOUT)


def _read_outcomes(document: Document, node: Node) -> int | None:
    return document.number(node, 1, MOST_OUTCOMES)


# What every probe has, whatever its kind.
SCHEDULE: dict[str, Reader] = {
    "interval": _read_interval,
    "fast_interval": _read_interval,
    "down_interval": _read_interval,
    "timeout": _read_timeout,
    "rise": _read_outcomes,
    "fall": _read_outcomes,
    "source": read_target,
    "unsteady": read_unsteady,
}

_LOAD = load.readers(_read_interval, _read_timeout)

# What a probe of any kind may have, and what may stand beside it.
COMMON: dict[str, Reader] = {**SCHEDULE, "load": lambda document, node: load.read(document, node, _LOAD)}

_HTTP: dict[str, Reader] = {
    "port": words.read_port,
    "host": words.read_host,
    "method": words.read_method,
    "headers": words.read_headers,
    "expect": words.read_statuses,
    "body": words.read_body,
    "body_matches": words.read_expression,
}

# What a probe of a kind has besides; the kind itself is a key.
_KINDS: dict[str, dict[str, Reader]] = {
    "tcp": {"tcp": words.read_port},
    "http": {"http": words.read_path, **_HTTP},
    "https": {"https": words.read_path, **_HTTP, "verify": Document.claim, "ca_file": words.read_file_name},
    "dns": {
        "dns": words.read_dns_name,
        "type": words.read_rrtype,
        "port": words.read_port,
        "expect": words.read_rcodes,
    },
    "exec": {"exec": words.read_command},
}

_KEYS = list(dict.fromkeys([*_KINDS, *COMMON, *[key for keys in _KINDS.values() for key in keys]]))


@dataclass(frozen=True, slots=True)
class Draft:
    """A probe as far as it is written: what defaults leave out, a pool fills in."""

    kind: str | None = None
    settings: PolicySettings = field(default_factory=dict)
    is_whole: bool = True  # False: some key was not understood, and may have been anything

    @property
    def is_sound(self) -> bool:
        return are_sound(self.settings.values())


def read(document: Document, node: Node, base: Draft) -> Draft:
    """The probe that is written there, over ``base``: a new kind replaces the kind and what belongs to it."""
    values = document.mapping(node, _KEYS, "a probe")
    is_known = isinstance(node, MappingNode) and len(values) == len(node.value)
    kinds = [key for key in values if key in _KINDS]
    if len(kinds) > 1:
        document.report(values[kinds[1]], f"the probe has two kinds, {kinds[0]} and {kinds[1]}", "keep one of them")
        # What the rest belongs to is unknown.
        values = {key: value for key, value in values.items() if key in COMMON or key == kinds[0]}
    kind = kinds[0] if kinds else base.kind
    readers = COMMON | (_KINDS[kind] if kind is not None else {})
    found = {key: setting for key, setting in base.settings.items() if key in COMMON or kind == base.kind}
    for key, value in values.items():
        if key in readers:
            found[key] = Setting(readers[key](document, value), value)
        elif kind is None:
            document.report(value, f"{key} depends on the kind of the probe", f"add {_either(_owners(key))} beside it")
        else:
            document.report(value, f"a probe of kind {kind} has no {key}", f"remove it; {_either(_owners(key))} has it")
    is_whole = base.is_whole and is_known and len(kinds) < 2 and (kind is not None or values.keys() <= COMMON.keys())
    return Draft(kind, found, is_whole)


def overlay(draft: Draft, schedule: Mapping[str, Setting]) -> Draft:
    return replace(draft, settings={**draft.settings, **schedule}) if schedule else draft


def build(document: Document, draft: Draft, node: Node, owner: str) -> Probe | None:
    """The probe of a pool; None when something is wrong with it, which is reported."""
    if not draft.is_whole:
        return None
    if draft.kind is None:
        document.report(node, "the probe has no kind", f"add {_either(list(_KINDS))}")
        return None
    values = {key: setting.value for key, setting in draft.settings.items()}
    at = draft.settings[draft.kind].node
    if draft.kind == "https" and "host" not in values and values.get("verify", True):
        host = owner.rstrip(".") if owner[:1] not in "*." else "www.example.com"
        fact = "an https probe without host has no name to verify the certificate for"
        document.report(at, fact, f"add host: {host}, or verify: false")
        return None
    if str(values.get("method")).upper() == "HEAD" and not values.keys().isdisjoint({"body", "body_matches"}):
        document.report(draft.settings["method"].node, "a reply to HEAD has no body to look at", "write GET")
        return None
    if not draft.is_sound:
        return None
    probe = Probe(_check(draft.kind, values), **{key: value for key, value in values.items() if key in SCHEDULE})
    if "timeout" not in values:
        # A timeout that nobody wrote gives way to intervals that somebody did.
        intervals = (probe.interval, probe.fast_interval, probe.down_interval)
        probe = replace(probe, timeout=min(probe.timeout, *filter(None, intervals)))
    if probe.timeout > probe.interval * probe.fall:
        fact = (
            f"the timeout {probe.timeout:g}s is longer than fall × interval, {probe.fall} × {probe.interval:g}s:"
            " a backend would be out before one probe is"
        )
        timeout = draft.settings.get("timeout")
        document.report(timeout.node if timeout else at, fact, f"write at most timeout: {probe.interval:g}s")
        return None
    return probe


def _check(kind: str, values: Mapping[str, Any]) -> Check:
    own = {key: value for key, value in values.items() if key in _KINDS[kind] and key != kind}
    match kind:
        case "tcp":
            return TcpCheck(values[kind])
        case "dns":
            if "type" in own:
                own["rrtype"] = own.pop("type")
            return DnsCheck(values[kind], **own)
        case "exec":
            return ExecCheck(values[kind])
        case _:
            tls = kind == "https"
            return HttpCheck(path=values[kind], tls=tls, **{"port": 443 if tls else 80, **own})


def _owners(key: str) -> list[str]:
    """The kinds that have the key."""
    return [kind for kind, readers in _KINDS.items() if key in readers]


def _either(kinds: list[str]) -> str:
    return f"{', '.join(kinds[:-1])} or {kinds[-1]}" if len(kinds) > 1 else kinds[0]
