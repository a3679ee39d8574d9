"""Who may ask what over TCP, where everybody may connect: scripts, and also web pages in people's browsers.

Pure: a request in, a refusal out, or none.  The control socket needs no guard, since its file's mode is one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from hmac import compare_digest
from ipaddress import ip_address

from dnslb.admin.exchange import Reply, Request, failure

REGISTRATIONS = "/backends"  # where backends join and leave
_READING = ("GET", "HEAD")
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/@\[\]]+))(?::\d*)?", re.ASCII)
# What a browser says of a page that is ours, of an address that was typed; and what programs say.
_OWN_SITES = ("same-origin", "none", None)
_LONGEST_TEXT = 100  # characters of a foreign text in an answer
# RFC 6750 §3: without a token no error code, with a wrong one invalid_token.
_MISSING = (("WWW-Authenticate", 'Bearer realm="dnslb"'),)
_WRONG = (("WWW-Authenticate", 'Bearer realm="dnslb", error="invalid_token"'),)


class Role(Enum):
    """What a token opens, by the words of its file."""

    READ = "read"        # all that is told
    OPERATE = "operate"  # orders and reloads too
    REGISTER = "register"  # nothing but to join pools and to leave them, where their policies permit it


@dataclass(frozen=True, slots=True)
class Token:
    """A secret that allows what its role does."""

    octets: bytes
    name: str = ""  # of whoever has it
    role: Role = Role.OPERATE


@dataclass(frozen=True, slots=True)
class Guard:
    """What a request over TCP must bring along."""

    tokens: tuple[Token, ...] = ()  # everything but reading needs one of them; none: reading only
    hosts: tuple[str, ...] = ()  # names by which this server is asked, beside its addresses and localhost


def refusal(guard: Guard, request: Request) -> Reply | None:
    """The reply that refuses the request; None if it may be answered."""
    host, origin = request.headers.get("host"), request.headers.get("origin")
    # A page whose own name was made to point at us (DNS rebinding) asks by that name.  Only programs send no Host.
    if host is not None and not _is_ours(host, guard.hosts):
        shown = host[:_LONGEST_TEXT]
        return failure(
            421, f"{shown!r} is no name of this server", "ask by its address, or list the name in admin_hosts"
        )
    # Any page may send a request to any address; the browser then says whose page it was.
    if origin is not None and (host is None or origin.lower() not in _origins(host)):
        return failure(403, f"a page of {origin[:_LONGEST_TEXT]!r} asks", "open the page of this server itself")
    site = request.headers.get("sec-fetch-site")
    if request.method not in _READING and site not in _OWN_SITES:
        fact = f"a page of another site asks ({site[:_LONGEST_TEXT]})"
        return failure(403, fact, "open the page of this server itself")
    authorization = request.headers.get("authorization", "")
    # A token opens more of what is read, so that a wrong one is refused there too: else it could be guessed in silence.
    if request.method in _READING and (not guard.tokens or not authorization.lower().startswith("bearer ")):
        return None
    return _without_right(guard, authorization, _needed(request))


def has_wrong_token(refused: Reply) -> bool:
    """Whether the request was refused because its token is wrong, rather than missing."""
    return refused.headers == _WRONG


def known_by(guard: Guard, request: Request) -> Token | None:
    """The token that the request brings, if it is one of ours."""
    return _brought(guard, request.headers.get("authorization", ""))


def _brought(guard: Guard, authorization: str) -> Token | None:
    scheme, _, text = authorization.partition(" ")
    octets = text.strip().encode()
    # All of them are compared, and each in the time that it takes: no token can be found out by that.
    found = [token for token in guard.tokens if compare_digest(octets, token.octets)]
    return found[0] if found and scheme.lower() == "bearer" else None


def _needed(request: Request) -> tuple[Role, ...]:
    """The roles that open what is asked."""
    if request.method in _READING:
        return (Role.READ, Role.OPERATE)
    is_registration = request.target.partition("?")[0] == REGISTRATIONS
    return (Role.OPERATE, Role.REGISTER) if is_registration else (Role.OPERATE,)


def _without_right(guard: Guard, authorization: str, needed: tuple[Role, ...]) -> Reply | None:
    if not guard.tokens:
        return failure(403, "this address is for reading only", "use the control socket, or set admin_token_file")
    brought = _brought(guard, authorization)
    if brought is not None:
        return None if brought.role in needed else _too_little(brought, needed)
    fact = "the token is wrong" if authorization else "this needs a token"
    reply = failure(401, fact, "send Authorization: Bearer and the text in admin_token_file")
    return replace(reply, headers=_WRONG if authorization else _MISSING)


def _too_little(token: Token, needed: tuple[Role, ...]) -> Reply:
    # RFC 6750 §3.1
    scope = (("WWW-Authenticate", 'Bearer realm="dnslb", error="insufficient_scope"'),)
    own = {Role.READ: "reading", Role.REGISTER: "registering"}.get(token.role, "operating")
    remedy = f"use one with the role {' or '.join(role.value for role in needed)}"
    return replace(failure(403, f"the token {token.name} is for {own} only", remedy), headers=scope)


def _is_ours(authority: str, hosts: tuple[str, ...]) -> bool:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return False
    host = (match[1] or match[2]).lower().removesuffix(".")
    return host == "localhost" or host in hosts or _is_address(host)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _origins(host: str) -> tuple[str, str]:
    """Of a page that came from there; https when a proxy in front of us speaks it."""
    return f"http://{host.lower()}", f"https://{host.lower()}"
