"""How a ``haproxy.cfg`` is written: sections of lines of words, and what options, times and addresses mean.

Names follow HAProxy's configuration manual, sections 2 and 4.  Pure.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from dnslb.balance.pool import Address
from dnslb.migrate.imported import Imported, Unreadable

_SECTIONS = {
    "global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist", "mailers", "program",
    "cache", "http-errors", "ring", "log-forward", "fcgi-app", "crt-store", "traces", "crt-list", "acme",
}  # fmt: skip
_TIME = re.compile(r"(\d+)(us|ms|s|m|h|d)?")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WITH_VALUE = {
    "inter", "fastinter", "downinter", "rise", "fall", "port", "addr", "weight", "slowstart", "maxconn", "minconn",
    "maxqueue", "cookie", "id", "ca-file", "crt", "verify", "sni", "check-sni", "verifyhost", "alpn", "check-alpn",
    "on-error", "on-marked-down", "on-marked-up", "error-limit", "observe", "redir", "resolvers", "resolve-prefer",
    "init-addr", "track", "namespace", "source", "proto", "check-proto", "pool-max-conn", "pool-purge-delay", "socks4",
    "ciphers", "ciphersuites", "crl-file", "ssl-min-ver", "ssl-max-ver", "tcp-ut", "agent-port",
    "agent-addr", "agent-inter", "agent-send", "log-proto", "ws", "hash-key", "shard", "guid",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """The words of one line."""

    place: str
    words: tuple[str, ...]

    @property
    def what(self) -> str:
        return " ".join(self.words)


@dataclass(slots=True)
class Section:
    """A section of the file and its lines."""

    place: str
    kind: str
    name: str
    lines: list[Line] = field(default_factory=list)


def sections(text: str, file: str, outcome: Imported) -> Iterator[Section]:
    """Raises Unreadable."""
    section: Section | None = None
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{file}:{number}"
        try:
            words = shlex.split(line.replace(r"\r\n", " "), comments=True)
        except ValueError:
            raise Unreadable(f"{place}: a quote is never closed, or a \\ ends the line; mend it") from None
        if not words:
            continue
        if words[0] in _SECTIONS and not line[0].isspace():
            if section is not None:
                yield section
            name = " ".join(words[1:2] if words[1:2] != ["from"] else [])
            section = Section(place, words[0], name, [])
            if "from" in words[:-1]:
                section.lines.append(Line(place, ("from", words[words.index("from") + 1])))
        elif words[0].startswith("."):
            outcome.leave(place, " ".join(words), "conditions are not evaluated: both branches are read")
        elif section is None:
            raise Unreadable(f"{place}: {words[0]} stands before the first section; give a haproxy.cfg")
        else:
            section.lines.append(Line(place, tuple(words)))
    if section is not None:
        yield section


def base(section: Section) -> str | None:
    return next((line.words[1] for line in section.lines if line.words[0] == "from"), None)


def settings(options: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Options of a server line; those without a value have an empty one."""
    found: dict[str, str] = {}
    words = iter(options)
    for word in words:
        found[word] = next(words, "") if word in _WITH_VALUE else ""
    return found


def request(words: list[str]) -> dict[str, str]:
    """``option httpchk [[method] uri [version]]``."""
    if not words:
        return {}
    if len(words) == 1:
        return {"path": words[0]}
    found = {"method": words[0], "path": words[1]}
    host = re.search(r"Host:\s*([^\s\\]+)", " ".join(words[2:]), re.IGNORECASE)
    return {**found, "host": host[1]} if host else found


def sent(words: list[str]) -> dict[str, str]:
    """``http-check send [meth M] [uri U] [hdr NAME VALUE]…``."""
    found: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        match word:
            case "meth":
                found["method"] = next(rest, "GET")
            case "uri":
                found["path"] = next(rest, "/")
            case "hdr":
                header, value = next(rest, ""), next(rest, "")
                if header.lower() == "host":
                    found["host"] = value
    return found


def endpoint(text: str) -> tuple[Address | None, int | None]:
    """``192.0.2.1:80``, ``[2001:db8::1]:80``, ``2001:db8::1``, ``ipv4@192.0.2.1:80``; None where it is no address."""
    text = re.sub(r"^(?:ipv4|ipv6|tcp|tcp4|tcp6|quic4|quic6)@", "", text)
    match = re.fullmatch(r"\[?([0-9a-fA-F:.]+?)\]?(?::\+?(\d+)(?:-\d+)?)?", text)
    if match is None:
        return None, None
    try:
        return ip_address(match[1]), int(match[2]) if match[2] else None
    except ValueError:
        return None, None


def number(text: str | int, place: str) -> int:
    if not str(text).isdecimal() or len(str(text)) > 9:
        raise Unreadable(f"{place}: {text} is no number; write one")
    return int(text)


def seconds(text: str, place: str) -> float:
    match = _TIME.fullmatch(text)
    if match is None:
        raise Unreadable(f"{place}: {text} is no time of HAProxy's; write 2000, 500ms, 2s")
    return int(match[1]) * _UNITS[match[2] or "ms"]


def duration(text: str, place: str) -> str:
    length = seconds(text, place)
    return f"{length:g}s" if length >= 1 else f"{length * 1000:g}ms"
