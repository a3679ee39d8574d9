"""How the commands reach a running server."""

from __future__ import annotations

import os
import re
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from dnslb.admin import client
from dnslb.admin.control_socket import SYSTEM, default_path
from dnslb.cli.nodes import Place

# Seconds: an order waits for every worker and for the disk, a reload for the first round of its probes too.
_PATTERN = re.compile(r"[0-9.*?\[\]!-]+|[0-9a-f:.*?\[\]!-]*:[0-9a-f:.*?\[\]!-]*", re.ASCII | re.IGNORECASE)
_PATIENCE = {"/backends": 60.0, "/orders": 60.0, "/reload": 600.0}


class NoServer(click.ClickException):
    """Nobody answers."""


class NoSuchName(click.ClickException):
    """The server knows no such name or address."""


def ask(place: Place, method: str, target: str, value: object = None) -> Any:
    """The answer of the server; when there is none, or a refusal, the command ends with 1 and says why."""
    try:
        status, answer = client.ask(place or default(), method, target, value, _PATIENCE.get(target, client.PATIENCE))
    except client.Unreachable as error:
        raise NoServer(str(error)) from None
    if status == 200:
        return answer
    for problem in answer.get("problems", ()):
        click.echo(problem, err=True)
    refusal = NoSuchName if status == 404 else click.ClickException
    # Who is asked by a command needs no header.
    remedy = "give its file with --token-file" if status == 401 else answer["remedy"]
    raise refusal(f"{answer['error']}; {remedy}")


def clock(unix: float, now: float) -> str:
    """Local time; with the date when it is not today's."""
    at = datetime.fromtimestamp(unix)
    return at.strftime("%H:%M:%S" if at.date() == datetime.fromtimestamp(now).date() else "%Y-%m-%d %H:%M:%S")


def age(seconds: float) -> str:
    """In the largest unit that makes sense."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def columns(rows: list[tuple[str, ...]], indent: str = "  ") -> list[str]:
    """The rows as aligned text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (indent + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def is_address(text: str) -> bool:
    """Whether it is an address, or a pattern of some, rather than a name."""
    try:
        ip_address(text)
    except ValueError:
        return _PATTERN.fullmatch(text) is not None
    return True


def default() -> Path:
    """The control socket where none is given."""
    # A user's own server before the system's.
    own = default_path(os.environ)
    return own if own.exists() or not SYSTEM.exists() else SYSTEM
