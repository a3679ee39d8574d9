"""The TCP address of the API and the status page: its socket, and the token that opens more than reading."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from pathlib import Path

from dnslb.admin.control_socket import CannotControl
from dnslb.admin.guard import Role, Token
from dnslb.config.settings import Endpoint
from dnslb.system import file

_BACKLOG = 64
_LONGEST_TOKEN = 4096  # octets
_MOST_TOKENS = 100     # each is compared with what every request brings
# RFC 6750 §2.1: no colon in it
_TOKEN = re.compile(rb"(?:([A-Za-z0-9._@-]{1,64})(?:[ \t]+(read|operate|register))?:[ \t]*)?([A-Za-z0-9._~+/-]+=*)")
_ROLES = {role.value for role in Role}
_REMEDY = "make one: umask 077; openssl rand -hex 32 >"


def listen(endpoint: Endpoint) -> socket.socket:
    """A socket that listens on this address.  Raises CannotControl."""
    family = socket.AF_INET6 if endpoint.address.version == 6 else socket.AF_INET
    try:
        sock = socket.create_server((str(endpoint.address), endpoint.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        remedy = {
            errno.EADDRINUSE: f"stop the server that has the port (ss -lntp 'sport = {endpoint.port}' names it)",
            errno.EACCES: "ports below 1024 need privileges: start as root",
            errno.EADDRNOTAVAIL: "this machine has no such address: see ip address",
            errno.EAFNOSUPPORT: "this machine has no IPv6",
        }.get(error.errno or 0, "see ip address")
        # create_server appends the address to the text.
        reason = os.strerror(error.errno or 0).lower()
        fact = f"cannot listen on {endpoint} for admin: {reason}"
        raise CannotControl(f"{fact}; {remedy}, or choose another with --admin") from None
    sock.setblocking(False)
    return sock


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Read the file: one token, or several lines of a name, perhaps a role, a colon and a token each.

    Raises CannotControl; also when the file is everybody's to read.
    """
    try:
        descriptor = file.opened(path)
        try:
            mode = os.fstat(descriptor).st_mode
            text = os.read(descriptor, file.MOST_SECRET + 1).strip()
        finally:
            os.close(descriptor)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CannotControl(f"cannot read the token file {path}: {reason}; {_REMEDY} {path}") from None
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise CannotControl(f"others can read the token file {path}; chmod o= {path}")
    if not text:
        raise CannotControl(f"the token file {path} is empty; {_REMEDY} {path}")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    matches = [_TOKEN.fullmatch(line) if len(line) <= _LONGEST_TOKEN else None for line in lines]
    tokens = tuple(_token(match) for match in matches if match is not None)
    # Whose name is a role's meant the role: it must not open more than that by mistake.
    names = {token.name for token in tokens}
    is_clear = (len(tokens) == 1 or "" not in names) and not names & _ROLES
    if len(text) > file.MOST_SECRET or len(tokens) < len(lines) or len(lines) > _MOST_TOKENS or not is_clear:
        raise CannotControl(f"the token file {path} holds more than a token: letters, digits, -._~+/; {_REMEDY} {path}")
    return tokens


def _token(match: re.Match[bytes]) -> Token:
    name, role, octets = match.groups(b"")
    return Token(octets, name.decode(), Role(role.decode()) if role else Role.OPERATE)
