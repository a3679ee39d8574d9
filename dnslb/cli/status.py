"""``dnslb status``: what a running server thinks, and since when."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click

from dnslb.cli import complete, report
from dnslb.cli.control import NoSuchName, age, ask, clock, columns
from dnslb.cli.nodes import Place, server_options

_TROUBLE, _NO_NAME, _NO_SERVER = 1, 3, 4  # exit statuses; 2 is a mistyped command's
_NAMED = 4  # RRsets in a line


@click.command()
@click.argument("pattern", metavar="[NAME]", required=False, shell_complete=complete.pools)
@click.option("--json", "as_json", is_flag=True, help="Print all of it, for programs.")
@server_options
def status(pattern: str | None, as_json: bool, control: Place) -> None:
    """Show the pools of the running server: who is up, who is handed out, the TTL and why.

    NAME is a pool, or a pattern such as '*.example.net'.
    The first lines say which pools have no address left or fail open, and whether a reload was refused or is held.

    \b
    Exit status: 0  every pool shown hands out backends that are up
                 1  one has no address left, or fails open
                 2  the command is mistyped
                 3  no pool has that name
                 4  no server answers

    \b
    Example: dnslb status www.example.net
    """
    try:
        found = ask(control, "GET", "/status" if pattern is None else f"/status/{quote(pattern, safe='')}")
    except click.ClickException as error:
        error.show()
        raise SystemExit(_NO_NAME if isinstance(error, NoSuchName) else _NO_SERVER) from None
    click.echo(json.dumps(found, indent=1) if as_json else "\n".join(lines(found)))
    raise SystemExit(_TROUBLE if _troubles(found) else 0)


def lines(found: dict[str, Any]) -> list[str]:
    """The status, for a person."""
    told = headline(found)
    for pool in found["pools"]:
        for rrset in pool["rrsets"]:
            told += ["", _heading(pool["owner"], rrset), *_hidden_load(rrset), *_rows(rrset, found["now"])]
    return told


def headline(found: dict[str, Any]) -> list[str]:
    """What is said of the server as a whole."""
    now = found["now"]
    loaded = clock(found["loaded"], now)
    told = _troubles(found)
    refused = found["refused"]
    if refused is not None:
        what = "not reloaded at" if refused["until"] is None else "held since"
        first = f"{what} {clock(refused['at'], now)}: {refused['fact']}; the data of {loaded} are served"
        told += [first, *(f"  {problem}" for problem in refused["problems"])]
        if refused["until"] is not None:
            until = clock(refused["until"], now)
            told.append(f"  it is taken at {until} unless the files change; dnslb reload takes it now")
    else:
        zones = report.count(len(found["zones"]), "zone")
        told.append(f"{found['directory']} as of {loaded}: {zones}, {_shown(found['pools'])} shown")
        told += [
            f"{report.count(one['names'], 'more name')} without a policy in {one['zone']}: see dnslb status NAME"
            for one in found.get("unlisted", ())
        ]
    if found["restart"]:
        told.append(f"RESTART NEEDED for what the files say of: {', '.join(found['restart'])}")
    told += [
        f"{report.count(zone['updated'], 'RRset')} of {zone['zone']} by updates: see dnslb updates"
        for zone in found["zones"]
        if zone.get("updated")
    ]
    told += _workers(found["server"])
    told += _replicas(found["replicas"], now)
    told += _secondaries(found["secondaries"], now)
    return told


def _shown(pools: list[dict[str, Any]]) -> str:
    """How many have a policy, and how many have none."""
    rotated = sum(pool.get("rotated", False) for pool in pools)
    text = report.count(len(pools) - rotated, "pool")
    return f"{text} and {report.count(rotated, 'name')} without a policy" if rotated else text


def _troubles(found: dict[str, Any]) -> list[str]:
    """Which pools hand out nobody, or those that are down."""
    rrsets = [(f"{pool['owner']} {rrset['type']}", rrset) for pool in found["pools"] for rrset in pool["rrsets"]]
    empty = [called for called, rrset in rrsets if rrset["empty"]]
    opened = [called for called, rrset in rrsets if rrset["fails_open"]]
    named = (("NO ADDRESS LEFT", empty), ("FAILING OPEN", opened))
    return [f"{what}: {_some(names)}" for what, names in named if names]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _workers(server: dict[str, Any]) -> list[str]:
    """What is or was wrong with them."""
    told = []
    if server["silent"]:
        told.append(f"NOT KNOWN TO ANSWER: worker {', '.join(map(str, server['silent']))} of {server['workers']}")
    if server["hung"]:
        told.append(f"{report.count(server['hung'], 'worker')} hung since the start; the log says when and why")
    if server["held"]:
        told.append(f"{server['held']:,} queries held up by the rate limit since the start; the log says of whom")
    return told


def _replicas(replicas: list[dict[str, Any]], now: float) -> list[str]:
    """A line for each zone that no primary gives, and one for all others."""
    told = []
    for one in replicas:
        lost = "NOT HELD, SERVFAIL IS ANSWERED" if one["serial"] is None else "NOT REFRESHED"
        expires = "" if one["expires"] is None else f", expires in {age(max(0.0, one['expires'] - now))}"
        since = "" if one["refreshed"] is None else f", last at {clock(one['refreshed'], now)}"
        if one["error"] or one["serial"] is None:
            told.append(f"{lost}: {one['zone']}{since}{expires}{': ' + one['error'] if one['error'] else ''}")
        elif len(replicas) <= _NAMED:
            told.append(f"{one['zone']} has serial {one['serial']}{_heard(one, since)}{expires}")
    if len(replicas) > _NAMED:
        held = sum(one["serial"] is not None and not one["error"] for one in replicas)
        told.append(f"{held} of {len(replicas)} zones that come from primaries are refreshed")
    return told


def _heard(one: dict[str, Any], since: str) -> str:
    return f" from {one['primary']}{since}" if one["primary"] else since


def _secondaries(secondaries: list[dict[str, Any]], now: float) -> list[str]:
    """A line for each that lags, and one for all that do not."""
    behind = [one for one in secondaries if one["lags"]]
    told = [f"LAGGING: the secondary {one['secondary']} with {one['zone']}{_lag(one, now)}" for one in behind]
    if len(secondaries) > len(behind):
        have = len(secondaries) - len(behind)
        told.append(f"{have} of {len(secondaries)} copies at secondaries have the last version")
    return told


def _lag(one: dict[str, Any], now: float) -> str:
    since = f", for {age(now - one['since'])}" if one["since"] else ""
    serial = "" if one["serial"] is None else f": it has serial {one['serial']} of {one['wanted']}"
    return f"{since}{serial}{': ' + one['error'] if one['error'] else ''}"


def _heading(owner: str, rrset: dict[str, Any]) -> str:
    up = sum(backend["handed_out"] and backend["up"] is True for backend in rrset["backends"])
    few = f"only {up} of {len(rrset['backends'])} up" if up else "none is up"
    alarm = f"  FAILING OPEN: {few}, all are handed out" if rrset["fails_open"] else ""
    if rrset["empty"]:
        alarm = "  NO ADDRESS LEFT: none is available, the answer is empty"
    if rrset["withheld"]:
        alarm = "  NOT JUDGED YET: queries get no reply"
    return f"{owner} {rrset['type']}  ttl {rrset['ttl']} ({rrset['why']}){alarm}"


def _hidden_load(rrset: dict[str, Any]) -> list[str]:
    """A server of an older version does not tell it."""
    load = rrset.get("hidden_load")
    return [] if load is None else [f"hidden load: {load['told']}"]


def _rows(rrset: dict[str, Any], now: float) -> list[str]:
    is_asked = any(backend.get("load_why") for backend in rrset["backends"])
    load = ("load",) if is_asked else ()
    heading = ("backend", "verdict", "for", "order", "weight", *load, "share", "led", "caches", "last probe")
    rows: list[tuple[str, ...]] = [heading]
    for backend in rrset["backends"]:
        unknown = "not judged" if backend["unsure"] else "not probed"
        verdict = {None: unknown, True: "up", False: "down"}[backend["up"]]
        since = "" if backend["since"] is None else age(now - backend["since"])
        left = f" × {backend['left']:.0%}" if is_asked and backend["left"] is not None else ""
        backup, lease = " backup" if backend["backup"] else "", _lease(backend.get("joined"), now)
        weight = f"{backend['weight']}{left}{backup}{lease}"
        share = f"{backend['share']:.0%}" if backend["handed_out"] else "-"
        # What it had of the leading answers, beside what it should have had.
        led = f"{backend['achieved']:.0%}" if backend["handed_out"] and backend["achieved"] is not None else "-"
        last = backend["unsure"] or backend["reason"]
        order, caches = _order(backend, now), _caches(backend, now)
        load = (backend["load_why"],) if is_asked else ()
        rows.append((backend["address"], verdict, since, order, weight, *load, share, led, caches, last))
    if all(backend["handed_out"] for backend in rrset["backends"]):
        rows = [(*row[:-2], row[-1]) for row in rows]
    return columns(rows)


def _lease(joined: dict[str, Any] | None, now: float) -> str:
    """Of who has joined by itself."""
    return "" if joined is None else f" joined, {age(joined['until'] - now)} left"


def _caches(backend: dict[str, Any], now: float) -> str:
    """The drain clock of what is not handed out."""
    expires = backend["expires"]
    if expires is None:
        return ""
    if expires <= now:
        return f"clear since {clock(expires, now)}"
    return f"last copy expires in {age(expires - now + 0.999)}"


def _order(backend: dict[str, Any], now: float) -> str:
    """The mode, with its end, its reason and who gave it; or the one that is to come."""
    order = backend["order"]
    if order is None:
        return str(backend["mode"])
    is_planned = order["at"] is not None and order["at"] > now
    text = f"{order['mode']} at {clock(order['at'], now)}" if is_planned else order["mode"]
    if order["until"] is not None:
        text += f" until {clock(order['until'], now)}"
    text += f" ({order['reason']})" if order["reason"] else ""
    return f"{text} by {order['by']}" if order["by"] else str(text)
