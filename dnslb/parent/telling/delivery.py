"""One event to one hook: a program with it on its standard input, or a POST.  Both are done as probes are."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from ipaddress import ip_address

from dnslb.balance.health import Outcome
from dnslb.balance.pool import Address, HttpCheck
from dnslb.config.hook import CommandHook, Hook, UrlHook
from dnslb.config.policy.setting import parse_address
from dnslb.probe import http, program
from dnslb.probe.outcome import Failed, Progress, explain, judge
from dnslb.system import file as files

_TIMEOUT = 10.0  # seconds for all of it
_TOKEN = re.compile(r"[!-~]+")


async def deliver(hook: Hook, event: bytes) -> Outcome:
    """Whether the hook has taken the event.  Never raises for anything that the hook does."""
    match hook:
        case CommandHook():
            return await judge(partial(program.attempt, hook.command, {}, event), _TIMEOUT)
        case UrlHook():
            return await judge(partial(_post, hook, event), _TIMEOUT)


async def _post(hook: UrlHook, event: bytes, progress: Progress) -> str:
    request = hook.request if hook.token_file is None else _with_token(hook.request, hook.token_file)
    progress.lacks = f"address of {hook.host}"
    address = parse_address(hook.host) or await _look_up(hook.host)
    progress.lacks = "connection"
    return await http.attempt(request, address, None, event, progress)


def _with_token(request: HttpCheck, file: str) -> HttpCheck:
    try:
        token = files.read(file, files.MOST_SECRET).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = explain(error) if isinstance(error, OSError) else "it is no text"
        raise Failed(f"cannot read the token file {file}: {reason}") from None
    # What h11 would refuse, it would quote: nobody may find it in the log.
    if not _TOKEN.fullmatch(token):
        raise Failed(f"the token file {file} holds no token in one line of ASCII")
    return replace(request, headers=(*request.headers, ("Authorization", f"Bearer {token}")))


async def _look_up(host: str) -> Address:
    """By the system's resolver, which would block us: so a program asks it."""
    status, output = await program.run(("getent", "ahosts", host), {}, b"")
    if status or not output:
        raise Failed(f"the name {host} has no address")
    return ip_address(output.split()[0].decode())
