"""What ``dnslb top`` shows on a terminal, and what its keys do to that.

Pure: no terminal, no clock, no server.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dnslb.cli.control import age, clock
from dnslb.cli.status import headline
from dnslb.cli.terminal import Line

_HELP = "q quit   / find   arrows choose   d drain   m maint   r ready"
_VERDICTS = {True: ("good", "up"), False: ("bad", "down")}
_WIDTHS = (15, 10, 7, 6, 6, 5)  # of address, verdict, for, order, share, led; the last probe has the rest
_LEAST = 12                     # columns of the last probe
_LONGEST_REASON = 200           # characters: of 300 that an order may have


@dataclass(frozen=True, slots=True)
class Seen:
    """One server at one look: what it has told, or why it has not."""

    name: str
    found: dict[str, Any] | None
    activity: str = ""   # what it has been doing since the last look
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """One address under one name at one server."""

    server: int
    owner: str
    type: str
    address: str


@dataclass(frozen=True, slots=True)
class Order:
    """What a key has asked for."""

    mode: str
    choice: Choice
    reason: str = ""


@dataclass(frozen=True, slots=True)
class View:
    chosen: Choice | None = None
    wanted: str = ""            # names or addresses with this in them are shown
    is_typing: bool = False     # what is wanted
    asks: Order | None = None   # whether it is meant
    is_explaining: bool = False # why, while it is asked
    said: str = ""              # what has come of the last order
    is_over: bool = False


def choices(seen: Sequence[Seen], wanted: str) -> list[Choice]:
    """All that is shown, from top to bottom."""
    return [choice for number, one in enumerate(seen) for _, some in _shown(number, one, wanted) for choice, _ in some]


def press(view: View, key: str, seen: Sequence[Seen]) -> tuple[View, Order | None]:
    """The view after the key, and the order that is given by it."""
    if view.asks is not None:
        return _answered(view, view.asks, key)
    if view.is_typing:
        return _typed(view, key), None
    shown = choices(seen, view.wanted)
    match key:
        case "q":
            return replace(view, is_over=True), None
        case "/":
            return replace(view, is_typing=True, said=""), None
        case "escape":
            return View(), None
        case "up" | "down" | "page up" | "page down" if shown:
            step = {"up": -1, "down": 1, "page up": -10, "page down": 10}[key]
            place = shown.index(view.chosen) + step if view.chosen in shown else 0
            return replace(view, chosen=shown[max(0, min(place, len(shown) - 1))], said=""), None
        case "d" | "m" | "r":
            mode = {"d": "drain", "m": "maint", "r": "ready"}[key]
            if view.chosen not in shown or view.chosen is None:
                return replace(view, said=f"choose an address with the arrows, then {key} for {mode}"), None
            return replace(view, asks=Order(mode, view.chosen), said=""), None
    return view, None


def _answered(view: View, asks: Order, key: str) -> tuple[View, Order | None]:
    """The view after an answer to the question, and the order if that was given."""
    if not view.is_explaining and key == "w":
        return replace(view, is_explaining=True), None
    if view.is_explaining and key not in ("enter", "escape"):
        return replace(view, asks=replace(asks, reason=_edited(asks.reason, key)[:_LONGEST_REASON])), None
    order = asks if key == ("enter" if view.is_explaining else "y") else None
    return replace(view, asks=None, is_explaining=False, said="" if order else "nothing was done"), order


def _typed(view: View, key: str) -> View:
    match key:
        case "enter":
            return replace(view, is_typing=False)
        case "escape":
            return replace(view, is_typing=False, wanted="")
    return replace(view, wanted=_edited(view.wanted, key))


def _edited(text: str, key: str) -> str:
    """The text after one more key."""
    if key == "erase":
        return text[:-1]
    return text + key if len(key) == 1 and key.isprintable() else text


def lines(view: View, seen: Sequence[Seen], width: int, height: int) -> list[Line]:
    """What is shown: as many lines as there are, the last of them for what the keys do."""
    body: list[Line] = []
    place = 0  # of the chosen line
    for number, one in enumerate(seen):
        if len(seen) > 1:
            body.append([("bold", f"==> {one.name} <==")])
        if one.found is None:
            body.append([("bad", one.trouble)])
            continue
        body.append([("", one.activity)])
        body += [[("bad" if _is_alarm(text) else "", text)] for text in headline(one.found)]
        for heading, some in _shown(number, one, view.wanted):
            body += [[], heading]
            for choice, backend in some:
                if choice == view.chosen:
                    place = len(body)
                body.append(_row(backend, choice == view.chosen, one.found["now"], width))
    room = max(1, height - 1)
    # The chosen line is always to be seen; without one the beginning is.
    start = max(0, min(place - room // 2, len(body) - room)) if place else 0
    shown = body[start : start + room]
    left = len(body) - start - len(shown)
    if left > 0:
        shown[-1] = [("dim", f"... {left + 1} more lines: / finds")]
    return [*shown, *([[]] * (room - len(shown))), _footer(view, seen)]


def told(view: View, text: str) -> View:
    """The view with what has come of an order."""
    return replace(view, said=text)


def _is_alarm(text: str) -> bool:
    return text[:2].isupper() or text.startswith(("not reloaded", "held"))


def _shown(number: int, one: Seen, wanted: str) -> Iterator[tuple[Line, list[tuple[Choice, dict[str, Any]]]]]:
    """Each RRset with an address that is wanted: its heading, and those."""
    word = wanted.lower()
    for pool in one.found["pools"] if one.found is not None else ():
        owner = pool["owner"]
        for rrset in pool["rrsets"]:
            some = [
                (Choice(number, owner, rrset["type"], backend["address"]), backend)
                for backend in rrset["backends"]
                if word in owner.lower() or word in backend["address"]
            ]
            if some:
                alarm = [("bad", f"  {text}") for key, text in _ALARMS.items() if rrset.get(key)]
                ttl = f"  ttl {rrset['ttl']} ({rrset['why']})"
                yield [("bold", f"{owner} {rrset['type']}"), *alarm, ("dim", ttl)], some


_ALARMS = {"empty": "NO ADDRESS LEFT", "fails_open": "FAILING OPEN", "withheld": "NOT JUDGED YET"}


def _row(backend: dict[str, Any], is_chosen: bool, now: float, width: int) -> Line:
    style, verdict = _VERDICTS.get(backend["up"], ("warned", "not judged" if backend["unsure"] else "not probed"))
    since = "" if backend["since"] is None else age(now - backend["since"])
    share = f"{backend['share']:.0%}" if backend["handed_out"] else "-"
    led = f"{backend['achieved']:.0%}" if backend["handed_out"] and backend["achieved"] is not None else "-"
    last = backend["unsure"] or backend["reason"]
    expires = backend["expires"]
    if expires is not None:
        left = f"last copy expires in {age(expires - now + 0.999)}"
        last = left if expires > now else f"clear since {clock(expires, now)}"
    cells = (backend["address"], verdict, since, backend["mode"], share, led)
    text = [f"{cell:<{size}}" for cell, size in zip(cells, _WIDTHS, strict=True)]
    mark = "> " if is_chosen else "  "
    rest = max(_LEAST, width - len(mark) - sum(map(len, text)) - len(text))
    last = last if len(last) <= rest else f"{last[: rest - 1]}…"
    if is_chosen:
        return [("chosen", f"{mark}{' '.join(text)} {last}")]
    modes = "" if backend["mode"] == "ready" else "warned"
    return [
        ("", f"{mark}{text[0]} "), (style, text[1]), ("", f" {text[2]} "), (modes, text[3]),
        ("", f" {text[4]} {text[5]} {last}"),
    ]  # fmt: skip


def _footer(view: View, seen: Sequence[Seen]) -> Line:
    if view.asks is not None and view.is_explaining:
        return [("bold", f"reason: {view.asks.reason}_"), ("dim", "   enter gives the order, escape does not")]
    if view.asks is not None:
        return [("warned", _question(view.asks, seen))]
    if view.is_typing:
        return [("bold", f"find: {view.wanted}_"), ("dim", "   enter keeps it, escape shows all")]
    found = f"   only {view.wanted!r}: escape shows all" if view.wanted else ""
    return [("warned", view.said)] if view.said else [("dim", f"{_HELP}{found}")]


def _question(order: Order, seen: Sequence[Seen]) -> str:
    """Whether it is meant, with the effect first."""
    choice, one = order.choice, seen[order.choice.server]
    where = f" at {one.name}" if len(seen) > 1 else ""
    effect = ""
    for pool in one.found["pools"] if one.found is not None else ():
        for rrset in pool["rrsets"]:
            if (pool["owner"], rrset["type"]) == (choice.owner, choice.type) and order.mode != "ready":
                out = [each["address"] for each in rrset["backends"] if each["handed_out"]]
                effect = f" {len([each for each in out if each != choice.address])} of {len(out)} left;"
    return f"{order.mode} {choice.address} of {choice.owner}{where}?{effect} y gives it, w with a reason, others do not"
