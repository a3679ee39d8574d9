"""What survives a restart: orders and their drain clocks, verdicts, history and the age of answers, in one JSON file.

``encode`` and ``decode`` are pure; ``load`` and ``save`` are the only ones that touch files.  Nothing here reads the
clock, and nothing that the file holds can keep the server from starting.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address
from math import inf, isfinite
from operator import itemgetter
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, assert_never

from dnslb.balance.health import Health
from dnslb.balance.operator_order import Mode, Order, Scope, is_over
from dnslb.balance.pool import (
    MOST_WEIGHT,
    Address,
    AgentCheck,
    Check,
    DnsCheck,
    ExecCheck,
    HttpCheck,
    Probe,
    TcpCheck,
)
from dnslb.balance.registration import Registration
from dnslb.control.change import Change
from dnslb.system import file
from dnslb.text import timestamp

NAME = "state.json"  # in the state directory
VERSION = 1          # of the format: another is not read
MOST_CHANGES = 1000    # of the history; the oldest are forgotten
MOST_ORDERS = 100_000
MOST_CLOCKS = 100_000
MOST_JOINED = 100_000
MOST_ANSWERS = 100_000  # whose last change is kept: those that changed last

_MODE = 0o640            # reasons may quote what a backend said
_DIRECTORY_MODE = 0o750
_Key = TypeVar("_Key")
_KEYS = 1 << 17          # that are remembered: making them takes longer than all the rest of a save


@dataclass(frozen=True, slots=True)
class State:
    """Orders, verdicts, how it came to them, and since when answers are as they are.

    Outcomes against a verdict (``streak``) are not kept: after a restart they begin anew.
    """

    orders: Mapping[Scope, Order] = field(default_factory=dict)
    healths: Mapping[str, Health] = field(default_factory=dict)  # by ``key``
    history: tuple[Change, ...] = ()                             # oldest first
    clocks: Mapping[Scope, float] = field(default_factory=dict)  # when caches lose what a pool does not hand out
    changed_at: Mapping[str, float] = field(default_factory=dict)  # Unix times of the last changes of answers, by RRset
    is_last: bool = False  # saved when the server left: nothing was handed out after it
    serials: Mapping[str, int] = field(default_factory=dict)  # of the last versions that secondaries may have, by zone
    registrations: Mapping[Scope, Registration] = field(default_factory=dict)  # who has joined which pool


class Damaged(ValueError):
    """The text is no state: cut off, edited wrongly, or of another version."""


@lru_cache(_KEYS)
def key(probe: Probe, target: Address) -> str:
    """The question that the probe asks of the target, as readable text; how often it is asked is no part of it.

    What may be secret is there as a digest: the values of headers, the query of a URL, the arguments of a program.
    Different questions have different texts: words are quoted as a shell would.  An outcome under one key says nothing
    about another, so that a verdict does not outlive a change of what is checked.
    """
    source = f" from {probe.source}" if probe.source is not None else ""
    return f"{shlex.join(_words(probe.check))} -> {target}{source}"


def encode(state: State) -> str:
    """The text of the state file."""
    orders = [
        {
            "owner": scope.owner,
            "address": str(scope.address),
            "mode": order.mode.value,
            "since": order.since,
            "at": order.at,
            "until": order.until,
            "reason": order.reason,
            "by": order.by,
        }
        for scope, order in state.orders.items()
    ]
    healths = {
        name: {"up": health.up, "since": health.since, "reason": health.reason, "recovered": health.recovered}
        | ({"recent": health.recent, "unsteady": health.unsteady} if health.recent else {})
        for name, health in state.healths.items()
    }
    changes = [
        {
            "at": one.at,
            "owner": one.owner,
            "address": one.address,
            "what": one.what,
            "reason": one.reason,
            "by": one.by,
        }
        for one in state.history
    ]
    clocks = [
        {"owner": scope.owner, "address": str(scope.address), "expires": expires}
        for scope, expires in _latest(state.clocks, MOST_CLOCKS)
    ]
    root = {
        "version": VERSION,
        "last": state.is_last,
        "orders": orders,
        "clocks": clocks,
        "healths": healths,
        "history": changes,
        "changed_at": dict(_latest(state.changed_at, MOST_ANSWERS)),
        "serials": dict(state.serials),
        "registrations": [
            {
                "owner": scope.owner,
                "address": str(scope.address),
                "weight": one.weight,
                "since": one.since,
                "until": one.until,
                "by": one.by,
            }
            for scope, one in state.registrations.items()
        ],
    }
    return json.dumps(root, indent=1, allow_nan=False) + "\n"


def decode(text: str, now: float) -> State:
    """The state in the text, without orders that are over at ``now``; no verdict is younger than that.

    Who was kept out by an order that is over has no clock: it may have been handed out after the state was saved.

    Raises Damaged, and nothing else.
    """
    try:
        root = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"it is no JSON ({error})") from None
    version = _part(root, "version", int)
    if version != VERSION:
        raise Damaged(f"its version is {version}, and only {VERSION} is known")
    # The last of many: they are in the order in which they were given.
    given = [(_scope(item), _order(item, now)) for item in _part(root, "orders", list)[-MOST_ORDERS:]]
    orders = {scope: order for scope, order in given if not is_over(order, now)}
    healths = {name: _health(item, now) for name, item in _part(root, "healths", dict).items()}
    # The first files of this version had none, no clocks, and did not tell whether they were the last.
    changes = _part(root, "history", list) if "history" in root else []
    history = tuple(_change(item, now) for item in changes[-MOST_CHANGES:])
    timed = _part(root, "clocks", list) if "clocks" in root else []
    clocks = {_scope(item): _time(item, "expires") for item in timed[-MOST_CLOCKS:]}
    is_last = _part(root, "last", bool) if "last" in root else False
    if not is_last:
        over = {scope for scope, order in given if is_over(order, now)}
        clocks = {scope: lost for scope, lost in clocks.items() if not {scope, Scope(None, scope.address)} & over}
    answers = _part(root, "changed_at", dict) if "changed_at" in root else {}
    changed_at = {name: _past(answers, name, now) for name in list(answers)[-MOST_ANSWERS:]}
    numbered = _part(root, "serials", dict) if "serials" in root else {}
    serials = {zone: _part(numbered, zone, int) % (1 << 32) for zone in numbered}
    joined = _part(root, "registrations", list) if "registrations" in root else []
    registrations = {_scope(item): _registration(item, now) for item in joined[-MOST_JOINED:]}
    return State(orders, healths, history, clocks, changed_at, is_last, serials, registrations)


def load(path: Path, now: float) -> tuple[State, str | None]:
    """The state in the file, and a warning for the operator if it could not be used.

    Without a file the state is empty.  A damaged one is renamed to NAME.damaged-1, -2 …, whichever is free.
    """
    try:
        octets = file.read(path, file.MOST_STATE)
    except FileNotFoundError:
        return State(), None
    except file.TooLarge as error:
        return State(), f"{path}: the state is damaged: {error.strerror}; {_set_aside(path)}; starting without it"
    except OSError as error:
        return State(), f"{path}: the state cannot be read: {_reason(error)}; starting without it"
    try:
        return decode(octets.decode(), now), None
    except UnicodeDecodeError:
        fact = "it is no UTF-8 text"
    except Damaged as damaged:
        fact = str(damaged)
    return State(), f"{path}: the state is damaged: {fact}; {_set_aside(path)}; starting without it"


def save(path: Path, state: State) -> None:
    """Write the file so that whoever reads it, after whatever crash, finds the old state or the new one, whole.

    Makes the directory if there is none.  One process at a time, one call at a time: all use the same temporary name,
    so that a crash leaves no litter.  Raises OSError, and leaves the old file, when there is no room or no permission.
    """
    octets = encode(state).encode()
    path.parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        _write(temporary, octets)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _words(check: Check) -> list[str]:
    match check:
        case TcpCheck():
            return ["tcp", f":{check.port}"]
        case HttpCheck():
            return ["https" if check.tls else "http", _path(check.path), f":{check.port}", *_refinements(check)]
        case DnsCheck():
            return ["dns", check.name, check.rrtype, f":{check.port}", f"expect={','.join(check.expect)}"]
        case ExecCheck():
            program, *arguments = check.command
            return ["exec", program, *([_digest(*arguments)] if arguments else [])]
        case AgentCheck():
            return ["agent", f":{check.port}"]
    assert_never(check)


def _path(text: str) -> str:
    path, mark, query = text.partition("?")
    return f"{path}?{_digest(query)}" if mark else path


def _digest(*texts: str) -> str:
    """Tells one secret from another; too short to find out by it which of many guesses is right."""
    return "sha256:" + sha256("\0".join(texts).encode(errors="surrogatepass")).hexdigest()[:8]


def _refinements(check: HttpCheck) -> list[str]:
    """What differs from a plain GET."""
    words = [] if check.method == "GET" else [f"method={check.method}"]
    words += [] if check.host is None else [f"host={check.host}"]
    # No name holds a colon (RFC 9110 §5.1).
    words += [f"header={name}:{_digest(value)}" for name, value in check.headers]
    words += [f"expect={','.join(f'{low}-{high}' for low, high in check.expect)}"]
    words += [] if check.body is None else [f"body={check.body}"]
    words += [] if check.body_matches is None else [f"body_matches={check.body_matches}"]
    words += [] if check.verify else ["verify=no"]
    words += [] if check.ca_file is None else [f"ca_file={check.ca_file}"]
    return words


def _latest(times: Mapping[_Key, float], most: int) -> list[tuple[_Key, float]]:
    return sorted(times.items(), key=itemgetter(1))[-most:]


def _scope(item: Any) -> Scope:
    owner = _part(item, "owner", str, NoneType)
    text = _part(item, "address", str)
    try:
        return Scope(owner, ip_address(text))
    except ValueError:
        raise Damaged(f"{text!r} is no address") from None


def _order(item: Any, now: float) -> Order:
    word = _part(item, "mode", str)
    try:
        mode = Mode(word)
    except ValueError:
        raise Damaged(f"{word!r} is no mode") from None
    return Order(
        mode,
        since=_past(item, "since", now),
        at=_time_or_none(item, "at"),
        until=_time_or_none(item, "until"),
        reason=_part(item, "reason", str),
        by=_by(item),
    )


def _health(item: Any, now: float) -> Health:
    return Health(
        up=_part(item, "up", bool),
        since=_past(item, "since", now),
        reason=_part(item, "reason", str),
        recovered=_part(item, "recovered", bool),
        recent=_part(item, "recent", int) if "recent" in item else 0,
        unsteady=_part(item, "unsteady", bool) if "recent" in item else False,
    )


def _registration(item: Any, now: float) -> Registration:
    weight = min(max(_part(item, "weight", int), 0), MOST_WEIGHT)
    return Registration(weight, _past(item, "since", now), _time(item, "until"), _by(item))


def _change(item: Any, now: float) -> Change:
    return Change(
        _past(item, "at", now),
        _part(item, "owner", str, NoneType),
        _part(item, "address", str),
        _part(item, "what", str),
        _part(item, "reason", str),
        _by(item),
    )


def _by(item: Any) -> str:
    # Who gave an order was not kept at first.
    return str(_part(item, "by", str)) if "by" in item else ""


def _time_or_none(item: Any, name: str) -> float | None:
    return None if _part(item, name, int, float, NoneType) is None else _time(item, name)


def _past(item: Any, name: str, now: float) -> float:
    # The clock was set back: without this a slow start would last until it has caught up.
    return min(_time(item, name), now)


def _time(item: Any, name: str) -> float:
    """One that the calendar knows: others cannot be shown."""
    try:
        time = float(_part(item, name, int, float))
    except OverflowError:
        time = inf
    if not isfinite(time):
        raise Damaged(f"{name!r} is no time")
    return min(max(time, 0.0), timestamp.LATEST)


def _part(item: Any, name: str, *kinds: type) -> Any:
    """What the mapping has under the name, of one of these types exactly: True is no int here."""
    if not isinstance(item, dict) or name not in item:
        raise Damaged(f"{name!r} is missing")
    if type(item[name]) not in kinds:
        raise Damaged(f"{name!r} has a wrong value")
    return item[name]


def _set_aside(path: Path) -> str:
    """Rename the file out of the way; what became of it, in words."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.damaged-{number}")):
        number += 1
    try:
        path.rename(aside)
    except OSError as error:
        return f"it cannot be set aside: {_reason(error)}"
    return f"it is set aside as {aside.name}"


def _write(path: Path, octets: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    with open(descriptor, "wb") as made:
        os.fchmod(descriptor, _MODE)  # whatever the umask took away
        made.write(octets)
        made.flush()
        os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
