"""A policy file, from its top down: defaults, pools, and the backends of each.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from dnslb.balance.near import Near, Networks, around, merged
from dnslb.balance.pool import MOST_WEIGHT, Address, AllDown, Backend, OnReturn, Pool, Probe, TtlPolicy
from dnslb.balance.rotation import RRsetOrder
from dnslb.config import clients, grants, transfers
from dnslb.config.clients import Clients
from dnslb.config.grants import Grants
from dnslb.config.nameserver import NOBODY, Nameserver, TransferPolicy
from dnslb.config.policy import checks, load, probes, setting
from dnslb.config.policy.joining import read_register
from dnslb.config.policy.probes import Draft
from dnslb.config.policy.setting import PolicySettings, Reader, Setting
from dnslb.config.policy.shares import read_least, read_percent
from dnslb.config.policy.travel import travelling
from dnslb.text import document
from dnslb.text.document import Document
from dnslb.text.problem import Level, Problem, has_errors
from dnslb.text.yaml_tree import MappingNode, Node, ScalarNode, is_null

MOST_ANSWERS = 4096
MOST_TTL = 604_800.0      # seconds: a week, the longest that resolvers keep anything
MOST_SLOWSTART = 86_400.0  # seconds

_ORDERS = tuple(order.value for order in RRsetOrder)
_ALL_DOWN = tuple(choice.value for choice in AllDown)
_ON_RETURN = tuple(choice.value for choice in OnReturn)

ALL = 0  # ``answers: all`` as a number, lest it be taken for nothing


@dataclass(frozen=True, slots=True)
class Owner:
    """What the zone file says of one owner name."""

    name: str                                   # absolute, as a master file writes it
    addresses: tuple[tuple[Address, str], ...]  # in its order, A before AAAA; each with its place, "a.zone:14"
    zone_ttls: Mapping[int, int]                # seconds, by IP version
    negative_ttl: int                           # seconds: min(SOA TTL, MINIMUM) (RFC 2308 §5)


@dataclass(frozen=True, slots=True)
class _Answers:
    """How many addresses a reply has; or ALL."""

    near: int = ALL
    far: int = ALL


@dataclass(frozen=True, slots=True)
class _Defaults:
    draft: Draft | None = None  # None: no probe
    probe: Probe | None = None  # what it makes, if that is a probe: pools without a word of their own share it
    settings: PolicySettings = field(default_factory=dict)
    misfit: Level = Level.ERROR  # that the policy does not fit the zone; a primary may change that at any time


@dataclass(frozen=True, slots=True)
class Policy:
    """What a policy file says."""

    pools: list[Pool] = field(default_factory=list)
    transfers: TransferPolicy | None = None  # None: not a word
    clients: Clients | None = None           # who is answered from the zone; None: all
    primaries: tuple[Nameserver, ...] = ()   # from which the zone comes
    updates: Grants = field(default_factory=dict)  # who may change the zone by updates


def read(
    octets: bytes,
    file: str,
    find: Callable[[str], Owner | str],
    keys: Collection[str] = (),
    general: TransferPolicy = NOBODY,
) -> tuple[Policy, list[Problem]]:
    """A policy file, and every problem in it, from top to bottom.

    ``keys``: the names of the TSIG keys that there are.  ``general``: who gets a zone whose policy does not say it.

    ``find`` has the owner of a name as it is written in the file, or says why there is none: ``fact; remedy``, or the
    fact alone.  Nothing is said of a pool when that is empty.  A pool with an error is not among the pools; with any
    error the file is not to be served from.  Where a zone comes from a primary, what the two files do not agree upon is
    a warning, and the pool is left out.
    """
    parsed = document.parse(octets, file)
    if parsed.root is None:
        return Policy(), [_with_hint(problem, octets) for problem in parsed.problems]
    found = Policy() if is_null(parsed.root) else _policy(parsed, parsed.root, find, keys, general)
    # What an anchor or the defaults lend to many pools is wrong but once.
    problems = sorted(dict.fromkeys(parsed.problems), key=lambda problem: (problem.line, problem.column))
    return found, problems


def primaries(octets: bytes, file: str, keys: Collection[str]) -> tuple[Nameserver, ...] | None:
    """Only from where the zone of a policy file comes; None: from a file.  What is wrong with that, ``read`` tells."""
    parsed = document.parse(octets, file)
    top = parsed.root.value if isinstance(parsed.root, MappingNode) else ()
    nodes = [value for key, value in top if isinstance(key, ScalarNode) and key.value == transfers.PRIMARY]
    return transfers.read_primaries(parsed, nodes[0], keys) if nodes else None


def _with_hint(problem: Problem, octets: bytes) -> Problem:
    """The apex ``@`` and wildcards mean something else to YAML, unless in quotes."""
    lines = octets.decode(errors="replace").splitlines()
    text = lines[problem.line - 1] if 0 < problem.line <= len(lines) else ""
    near = text[max(0, problem.column - 2) : problem.column]
    if "@" in near and "'@'" in problem.fact:
        return replace(problem, remedy='put the apex in quotes: "@"')
    if "*" in near and "alias" in problem.fact:
        return replace(problem, remedy='put wildcards in quotes, "*.example.com."; an alias needs its anchor before it')
    return problem


def _policy(
    parsed: Document, root: Node, find: Callable[[str], Owner | str], keys: Collection[str], general: TransferPolicy
) -> Policy:
    known = ("defaults", "pools", "update", transfers.PRIMARY, *transfers.KEYS, *clients.KEYS)
    top = parsed.mapping(root, known, "the file")
    is_transferred = not top.keys().isdisjoint(transfers.KEYS)
    found = transfers.read(parsed, top, keys) if is_transferred else None
    node = top.get(transfers.PRIMARY)
    primaries = () if node is None else transfers.read_primaries(parsed, node, keys)
    pools = list(_pools(parsed, top, find))
    if (general if found is None else found).secondaries:
        start = len(parsed.problems)
        pools = travelling(parsed, top.get("secondaries") or top.get("pools"), pools)
        if node is not None:
            _soften(parsed, start)
    asked = None if top.keys().isdisjoint(clients.KEYS) else clients.read(parsed, top)
    updates = grants.read(parsed, top["update"], keys) if "update" in top else {}
    if updates and node is not None:
        parsed.report(top["update"], "the zone comes from a primary, and is changed there", "remove one of the two")
    return Policy(pools, found, asked, primaries, updates)


def _soften(parsed: Document, start: int) -> None:
    """What was reported since then keeps nobody from serving."""
    parsed.problems[start:] = [replace(problem, level=Level.WARNING) for problem in parsed.problems[start:]]


def _pools(parsed: Document, top: Mapping[str, Node], find: Callable[[str], Owner | str]) -> Iterable[Pool]:
    defaults = _Defaults()
    if "defaults" in top and not is_null(top["defaults"]):
        defaults = _defaults(parsed, top["defaults"])
    if transfers.PRIMARY in top:
        defaults = replace(defaults, misfit=Level.WARNING)
    if "pools" not in top or is_null(top["pools"]):
        return
    seen: dict[str, tuple[str, int]] = {}
    for word, key, node in parsed.entries(top["pools"], "pools"):
        owner = find(word)
        if isinstance(owner, Owner) and not owner.addresses:
            owner = f"{owner.name} has no addresses"
        if isinstance(owner, str):
            fact, _, remedy = owner.partition("; ")
            if fact:
                remedy = remedy or "name an owner of A or AAAA records in the zone file"
                parsed.report(key, fact, remedy, defaults.misfit)
        elif owner.name in seen:
            first, line = seen[owner.name]
            parsed.report(key, f"{word} is {first} of line {line} again", "make one pool of the two")
            owner = owner.name
        else:
            seen[owner.name] = word, key.line
        pool = _pool(parsed, key, node, owner if isinstance(owner, Owner) else None, defaults)
        if pool is not None:
            yield pool


def _defaults(parsed: Document, node: Node) -> _Defaults:
    values = setting.read(parsed, node, _SHARED | {"probe": _as_node}, "defaults")
    probe = values.pop("probe", None)
    if probe is None or _is_none(probe.node):
        return _Defaults(settings=values)
    draft = probes.read(parsed, probe.node, Draft())
    # What keeps it from being one is a matter of the pools that use it.
    return _Defaults(draft, probes.build(Document(parsed.file), draft, probe.node, ""), values)


def _pool(
    parsed: Document, key: Node, node: Node, owner: Owner | None, defaults: _Defaults
) -> Pool | None:
    """The pool; None when something is wrong with it, which is reported.

    Without an owner the pool's settings are read all the same, to report what is wrong with them.
    """
    start = len(parsed.problems)
    own = {} if is_null(node) else setting.read(parsed, node, _OWN, "a pool")
    backends = own.pop("backends", None)
    overrides: dict[Address, PolicySettings] = {}
    if backends is not None and owner is not None and not is_null(backends.node):
        overrides = _backends(parsed, backends.node, owner, defaults.misfit)
    draft, probe_node = _draft(parsed, own, key, defaults.draft)
    settings = {**defaults.settings, **{key: value for key, value in own.items() if key in _SHARED}}
    is_read = not has_errors(parsed.problems[start:])
    probe = defaults.probe if draft is defaults.draft else None
    if draft is not None and probe is None:
        # Whether it is whole can be said although a value of it is wrong.
        probe = probes.build(parsed, draft, probe_node, owner.name if owner else "")
    if owner is None or not is_read or not setting.are_sound(settings.values()) or (draft and not probe):
        return None
    loaded = None
    if probe is not None and draft is not None and "load" in draft.settings:
        probe, loaded = load.build(parsed, draft.settings["load"].value, probe)
    pool = replace(_assemble(owner, settings, probe, overrides), load=loaded)
    written = checks.Written(key, settings, own.keys(), draft, backends.node if backends else key, overrides)
    at = len(parsed.problems)
    checks.check(parsed, pool, written)
    is_sound = not has_errors(parsed.problems[start:])
    if defaults.misfit is Level.WARNING:
        _soften(parsed, at)
    return pool if is_sound else None


def _draft(
    parsed: Document, own: PolicySettings, key: Node, default: Draft | None
) -> tuple[Draft | None, Node]:
    """The probe of a pool as far as it is written, and where."""
    draft, node = default, key
    if "probe" in own:
        node = own["probe"].node
        draft = None if _is_none(node) else probes.read(parsed, node, default or Draft())
    elif default is not None and default.kind is None:
        draft = None  # the defaults say how to probe, if a pool says what
    beside = {word: value for word, value in own.items() if word in probes.COMMON}
    for word, value in beside.items():
        if draft is None:
            parsed.report(value.node, f"{word} is of no use without a probe", "add probe:, or remove it")
        elif "probe" in own and _has(own["probe"].node, word):
            parsed.report(value.node, f"{word} is given twice, here and in the probe", "remove one of the two")
    return (probes.overlay(draft, beside) if draft is not None else None), node


def _has(node: Node, word: str) -> bool:
    return isinstance(node, MappingNode) and any(key.value == word for key, _ in node.value)


def _backends(parsed: Document, node: Node, owner: Owner, misfit: Level) -> dict[Address, PolicySettings]:
    """What is written of each address."""
    places = dict(owner.addresses)
    overrides: dict[Address, PolicySettings] = {}
    spelled: dict[Address, str] = {}
    for word, key, value in parsed.entries(node, "backends"):
        address = setting.parse_address(word)
        found = {} if is_null(value) else setting.read(parsed, value, _BACKEND, "a backend")
        if address is None:
            parsed.report(key, f"{word} is no address", f"write one of the addresses of {owner.name}")
        elif address in spelled:
            parsed.report(key, f"{word} is {spelled[address]} again", "remove one of the two")
        elif address not in places:
            kin = [place for other, place in owner.addresses if other.version == address.version]
            place = (kin or list(places.values()))[0]
            remedy = f"add it to those at {place}, or remove it here"
            parsed.report(key, f"{word} is no address of {owner.name}", remedy, misfit)
        else:
            spelled[address], overrides[address] = word, found
    return overrides


def _assemble(
    owner: Owner, settings: PolicySettings, probe: Probe | None, overrides: Mapping[Address, PolicySettings]
) -> Pool:
    values = {key: value.value for key, value in settings.items()}
    answers, named = values.pop("answers", _Answers()), values.pop("near_networks", Networks())
    near = None
    if answers.near != answers.far:
        near = Near(answers.near or None, around([address for address, _ in owner.addresses]), named)
    if "ttl" in values:
        bounds = {key: bound.value for key, bound in values["ttl"].items()}
        is_adaptive = bounds.pop("adaptive", None) is not None
        values["ttl"] = TtlPolicy(is_adaptive=is_adaptive, **bounds)
    backends = [
        Backend(address, **{key: value.value for key, value in overrides.get(address, {}).items()})
        for address, _ in owner.addresses
    ]
    return Pool(
        owner.name, tuple(backends), owner.zone_ttls, probe,
        answers=answers.far or None, near=near, negative_ttl=owner.negative_ttl, **values,
    )  # fmt: skip


def _as_node(_: Document, node: Node) -> Node:
    """Read later, when what lies under it is known."""
    return node


def _is_none(node: Node) -> bool:
    return is_null(node) or (isinstance(node, ScalarNode) and node.value == "none")


def _read_order(parsed: Document, node: Node) -> RRsetOrder | None:
    word = parsed.choice(node, _ORDERS)
    return RRsetOrder(word) if word is not None else None


def _read_answers(parsed: Document, node: Node) -> _Answers | None:
    """One number for all clients, or one for those who are near, and one for the others."""
    if not isinstance(node, MappingNode):
        most = _read_most(parsed, node)
        return None if most is None else _Answers(most, most)
    mistakes = len(parsed.problems)
    found = setting.read(parsed, node, {"near": _read_most, "far": _read_most}, "answers")
    return _Answers(**{key: most.value for key, most in found.items()}) if len(parsed.problems) == mistakes else None


def _read_most(parsed: Document, node: Node) -> int | None:
    if isinstance(node, ScalarNode) and node.value == "all":
        return ALL
    if isinstance(node, ScalarNode) and node.value == "0":
        parsed.report(node, "answers: 0 hands out nothing", "write 1 or more, or all")
        return None
    return parsed.number(node, 1, MOST_ANSWERS)


def _read_networks(parsed: Document, node: Node) -> Networks | None:
    mistakes = len(parsed.problems)
    networks = [setting.read_network(parsed, word, item) for word, item in parsed.texts(node)]
    return merged(filter(None, networks)) if len(parsed.problems) == mistakes else None


def _read_all_down(parsed: Document, node: Node) -> AllDown | None:
    word = parsed.choice(node, _ALL_DOWN)
    return AllDown(word) if word is not None else None


def _read_on_return(parsed: Document, node: Node) -> OnReturn | None:
    word = parsed.choice(node, _ON_RETURN)
    return OnReturn(word) if word is not None else None


def _read_seconds(parsed: Document, node: Node) -> int | None:
    """A TTL."""
    seconds = parsed.duration(node, 0, MOST_TTL)
    if seconds is None or seconds == int(seconds):
        return None if seconds is None else int(seconds)
    parsed.report(node, f"a TTL of {seconds:g}s is no whole number of seconds", "write whole seconds (RFC 2181 §8)")
    return None


def _read_ttl(parsed: Document, node: Node) -> dict[str, Setting] | None:
    """The bounds that are written, each with its place."""
    if isinstance(node, ScalarNode):
        seconds = _read_seconds(parsed, node)
        return None if seconds is None else {key: Setting(seconds, node) for key in ("min", "max")}
    mistakes = len(parsed.problems)
    found = setting.read(parsed, node, _TTL, "ttl")
    if len(parsed.problems) != mistakes:
        return None
    if "max" in found and "min" not in found:
        found["min"] = Setting(min(TtlPolicy().min, found["max"].value), found["max"].node)
    if "max" in found and found["min"].value > found["max"].value:
        low, high = found["min"], found["max"].value
        parsed.report(low.node, f"min {low.value}s is above max {high}s", "exchange them, or remove one")
        return None
    return found


def _read_weight(parsed: Document, node: Node) -> int | None:
    return parsed.number(node, 0, MOST_WEIGHT)


def _read_slowstart(parsed: Document, node: Node) -> float | None:
    return parsed.duration(node, 0, MOST_SLOWSTART)


_TTL: dict[str, Reader] = {
    "min": _read_seconds,
    "max": _read_seconds,
    "failover": lambda parsed, node: parsed.duration(node, 1, MOST_TTL),
    "adaptive": lambda parsed, node: parsed.choice(node, ("load",)),
    "mean": _read_seconds,
}

# The keys that defaults and pools share, a pool's own, and a backend's.  A pool may have the schedule of its probe
# beside the probe, as `mail` in DESIGN §1.
_SHARED: dict[str, Reader] = {
    "order": _read_order,
    "answers": _read_answers,
    "near_networks": _read_networks,
    "ttl": _read_ttl,
    "when_all_down": _read_all_down,
    "slowstart": _read_slowstart,
    "min_ready": read_least,
    "fail_open_below": read_percent,
    "on_return": _read_on_return,
    "hidden_load": Document.claim,
    "register": read_register,
}
_OWN: dict[str, Reader] = {"probe": _as_node, "backends": _as_node, **_SHARED, **probes.COMMON}
_BACKEND: dict[str, Reader] = {
    "weight": _read_weight,
    "backup": Document.claim,
    "probe_address": setting.read_target,
}
