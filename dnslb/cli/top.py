"""``dnslb top``: the status, live."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import click

from dnslb.cli import complete, option, report, top_view
from dnslb.cli.control import age, ask, clock
from dnslb.cli.nodes import Place, servers_options
from dnslb.cli.status import lines as status_lines
from dnslb.cli.terminal import Terminal, full_screen
from dnslb.cli.top_view import Order, Seen, View

_KEYS = 0.05  # seconds to wait for a key before it is looked whether there is an answer
_INTERVAL = option.seconds(0.1, 3600.0)


@click.command()
@click.argument("pattern", metavar="[NAME]", required=False, shell_complete=complete.pools)
@click.option("--interval", type=_INTERVAL, default="1s", metavar="DURATION", help="Between two looks; default: 1s.")
@click.option("--count", type=click.IntRange(1), help="End after so many looks; default: at q or Ctrl-C.")
@servers_options
def top(pattern: str | None, interval: float, count: int | None, places: tuple[Place, ...]) -> None:
    """Show the status of the running server, live, until q or Ctrl-C.

    NAME is a pool, or a pattern such as '*.example.net'.
    On a terminal the arrows choose an address; d drains it under that name, m puts it in maint, r makes it ready, each
    with a reason if wanted; / finds.

    \b
    Example: dnslb top '*.example.net'
    """
    target = "/status" if pattern is None else f"/status/{quote(pattern, safe='')}"
    looks: Any = itertools.repeat(None) if count is None else range(count)
    if len(places) == 1:
        ask(places[0], "GET", target)  # without a server there is nothing to show
    asked = [_Asked(place, target) for place in places]
    with ThreadPoolExecutor(len(asked) + 1) as threads:
        if not sys.stdout.isatty():
            _print(asked, threads, looks, interval)
            return
        with full_screen() as terminal:
            try:
                _Screen(terminal, asked, threads).run(looks, interval)
            except KeyboardInterrupt:
                raise SystemExit(1) from None


class _Asked:
    """One server, and what it has told at the last look."""

    def __init__(self, place: Place, target: str) -> None:
        self._place = place
        self._target = target
        self._before: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        return str(self._place or "the server")

    def look(self) -> Seen:
        """Raises click.ClickException."""
        found = ask(self._place, "GET", self._target)
        before, self._before = self._before, found
        return Seen(self.name, found, _activity(found, before or found))

    def look_again(self) -> Seen:
        """Also when it is not there: it may be being started anew."""
        try:
            return self.look()
        except click.ClickException as error:
            return Seen(self.name, None, trouble=error.message)

    def order(self, given: Order) -> str:
        """Give it; what has come of it, in a line."""
        choice = given.choice
        body = {"mode": given.mode, "addresses": [choice.address], "names": [choice.owner]}
        body["reason"] = given.reason or "by dnslb top"
        try:
            done = ask(self._place, "POST", "/orders", body)
        except click.ClickException as error:
            return error.message
        changed = any(one["changed"] for one in done["clocks"])
        return f"{given.mode} {choice.address} of {choice.owner}: {'done' if changed else 'it was so already'}"


class _Screen:
    """The terminal, as long as it is looked at."""

    def __init__(self, terminal: Terminal, asked: Sequence[_Asked], threads: ThreadPoolExecutor) -> None:
        self._terminal = terminal
        self._asked = asked
        self._threads = threads
        self._view = View()
        self._seen: list[Seen] = [Seen(one.name, None, trouble="is being asked") for one in asked]
        self._ordered: Future[str] | None = None

    def run(self, looks: Any, interval: float) -> None:
        """Until q, or until it has looked often enough."""
        for _ in looks:
            coming = [self._threads.submit(one.look_again) for one in self._asked]
            until = time.monotonic() + interval
            while time.monotonic() < until or not any(one.done() for one in coming):
                self._take(coming)
                for key in self._terminal.keys(_KEYS):
                    self._press(key)
                if self._view.is_over:
                    return

    def _take(self, coming: Sequence[Future[Seen]]) -> None:
        """Draw what has come by now."""
        self._seen = [
            one.result() if one.done() else before for one, before in zip(coming, self._seen, strict=True)
        ]
        if self._ordered is not None and self._ordered.done():
            self._view = top_view.told(self._view, self._ordered.result())
            self._ordered = None
        self._terminal.draw(top_view.lines(self._view, self._seen, *self._terminal.size))

    def _press(self, key: str) -> None:
        self._view, order = top_view.press(self._view, key, self._seen)
        if order is not None:
            self._view = top_view.told(self._view, "the order is being given")
            self._ordered = self._threads.submit(self._asked[order.choice.server].order, order)


def _print(asked: Sequence[_Asked], threads: ThreadPoolExecutor, looks: Any, interval: float) -> None:
    """One look below the other."""
    for number, _ in enumerate(looks):
        if number:
            time.sleep(interval)
        for seen in threads.map(_Asked.look_again, asked):
            if len(asked) > 1:
                click.echo(f"==> {seen.name} <==")
            told = [seen.trouble] if seen.found is None else [seen.activity, *status_lines(seen.found)]
            click.echo("\n".join((*told, "")))


def _activity(found: dict[str, Any], before: dict[str, Any]) -> str:
    """What the server has been doing since the last look."""
    server = found["server"]
    rate = ""
    if found["now"] > before["now"] and before["server"]["started"] == server["started"]:
        rate = f"{(server['queries'] - before['server']['queries']) / (found['now'] - before['now']):,.0f} queries/s, "
    restarts = f", {report.count(server['restarts'], 'restart')} of them" if server["restarts"] else ""
    workers = report.count(server["workers"], "worker")
    return f"{clock(found['now'], found['now'])}  {rate}{workers}{restarts}, up {age(found['now'] - server['started'])}"
