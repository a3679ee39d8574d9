"""``named.conf``, the configuration of BIND: its zones and what of its options has an equivalent.

Every statement gets a remark.  The zone files are copied as they are; only the paths of their ``$INCLUDE`` change,
since BIND takes these from its working directory and we from the file (``zones/README.md``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from dnslb.migrate.imported import Imported, Unreadable
from dnslb.text.statements import NotStatements, Statement, parse

_DEEPEST = 16             # includes within one another
_MOST_INCLUDED = 1000     # files of one import
_INCLUDE = re.compile(rb'^(\$INCLUDE[ \t]+)("[^"\n]*"|[^ \t\n;]+)', re.IGNORECASE | re.MULTILINE)

Read = Callable[[str], bytes]  # a file by its path; raises OSError


# What of options has an equivalent in dnslb.yaml, and what needs none.
_NEVER_RECURSES = "dnslb never recurses: nothing to do"
_NEEDLESS = {
    "recursion": _NEVER_RECURSES, "allow-recursion": _NEVER_RECURSES, "allow-query-cache": _NEVER_RECURSES,
    "forwarders": _NEVER_RECURSES, "forward": _NEVER_RECURSES, "dnssec-validation": _NEVER_RECURSES,
    "minimal-responses": "dnslb always is minimal", "auth-nxdomain": "dnslb always sets AA in its zones",
    "empty-zones-enable": "dnslb serves no zone that is not written",
}  # fmt: skip
_TOLD = {"version": "server_version", "server-id": "server_id"}
_ORDERS = {"cyclic": "cyclic", "random": "random", "fixed": "none", "none": "none"}


@dataclass(slots=True)
class _Import:
    """One named.conf, on its way to a directory of ours."""

    read: Read
    main: Path
    outcome: Imported = field(default_factory=Imported)
    working: Path = Path()                                # BIND's working directory
    settings: dict[str, object] = field(default_factory=dict)
    zones: dict[str, str] = field(default_factory=dict)   # where each was found, by name
    included: int = 0

    def statements(self, path: Path, depth: int = 0) -> list[Statement]:
        """Those of a file, with those that it includes in their place.  Raises Unreadable."""
        self.included += 1
        if depth > _DEEPEST or self.included > _MOST_INCLUDED:
            raise Unreadable(f"{path}: includes go on without end; remove the one that closes the loop")
        try:
            text = self.read(str(path)).decode(errors="replace")
        except OSError as error:
            raise Unreadable(f"{path} cannot be read: {error.strerror}; give a file that can") from None
        try:
            read = parse(text, str(path))
        except NotStatements as error:
            raise Unreadable(str(error)) from None
        found: list[Statement] = []
        for one in read:
            if one.first == "include" and len(one.words) == 2:
                found += self.statements(self.nearby(Path(one.words[1]), path.parent), depth + 1)
            else:
                found.append(one)
        return found

    def nearby(self, path: Path, directory: Path) -> Path:
        """A file that named.conf names: where it says; of a copied configuration, below or beside named.conf."""
        home = self.main.parent
        copies = [home / path.name] if path.is_absolute() else [home / path, home / path.name]
        is_at_home = path.is_absolute() and path.is_relative_to(home.resolve())
        candidates = [directory / path, *copies] if is_at_home or not path.is_absolute() else [*copies, path]
        return next((candidate for candidate in candidates if candidate.exists()), directory / path)

    def options(self, options: Statement) -> None:
        self.working = self.nearby(Path(options.argument("directory") or "."), self.main.parent)
        for one in options.block or ():
            self.option(one)

    def option(self, one: Statement) -> None:
        what = " ".join(one.words)
        match one.first:
            case "directory":
                self.outcome.take(one.place, what, "where the zone files were looked for")
            case "listen-on" | "listen-on-v6":
                self.listen(one)
            case "version" | "server-id" if one.words[-1] not in ("none", "hostname"):
                self.set(_TOLD[one.first], one.words[-1], one)
            case "tcp-clients" if one.words[-1].isdecimal():
                self.set("tcp_connections", int(one.words[-1]), one)
            case "tcp-idle-timeout" if one.words[-1].isdecimal():
                self.set("tcp_idle", f"{int(one.words[-1]) / 10:g}s", one)
            case "rrset-order":
                for rule in one.block or ():
                    self.order(rule)
            case first if first in _NEEDLESS:
                self.outcome.take(one.place, what, _NEEDLESS[first])
            case _:
                self.outcome.leave(one.place, what, "no equivalent")

    def set(self, key: str, value: object, one: Statement) -> None:
        self.settings[key] = value
        self.outcome.take(one.place, " ".join(one.words), f"{key}: {value}")

    def listen(self, one: Statement) -> None:
        port = one.words[one.words.index("port") + 1] if "port" in one.words[:-1] else "53"
        for word in (" ".join(inner.words) for inner in one.block or ()):
            what = f"{one.first} {word}"
            try:
                address = ip_address(word)
            except ValueError:
                self.outcome.leave(one.place, what, "write the addresses themselves into listen: of dnslb.yaml")
                continue
            endpoint = f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"
            listen = self.settings.setdefault("listen", [])
            assert isinstance(listen, list)
            listen.append(endpoint)
            self.outcome.take(one.place, what, f"listen: {endpoint}")

    def order(self, rule: Statement) -> None:
        what = "rrset-order " + " ".join(rule.words)
        order = _ORDERS.get(rule.words[-1].lower())
        if order is None:
            self.outcome.leave(rule.place, what, "no such order here; cyclic, spread, random, none and sticky are")
        elif {"name", "type"} & {word.lower() for word in rule.words}:
            self.outcome.leave(rule.place, what, f"write order: {order} into the pool of that name")
        else:
            self.set("order", order, rule)

    def zone(self, zone: Statement, view: str = "") -> None:
        written = zone.words[1] if len(zone.words) > 1 else ""
        apex = written.rstrip(".").lower()
        what = f"zone {written}{view}"
        kind = zone.argument("type") or ("forward" if zone.find("forwarders") else "none")
        if len(zone.words) > 2 and zone.words[2].upper() != "IN":
            self.outcome.leave(zone.place, what, f"class {zone.words[2]}: dnslb serves IN only")
        elif kind in ("hint", "forward", "stub", "static-stub", "redirect", "delegation-only"):
            self.outcome.leave(zone.place, what, f"type {kind}: {_NEVER_RECURSES}")
        elif kind not in ("master", "primary"):
            self.outcome.leave(zone.place, what, f"type {kind}: fetch it: dnslb import ADDRESS DIRECTORY --zone {apex}")
        elif apex in self.zones:
            self.outcome.leave(zone.place, what, f"is there already, from {self.zones[apex]}; dnslb has no views")
        else:
            self.copy(zone, apex, what)

    def copy(self, zone: Statement, apex: str, what: str) -> None:
        source = zone.argument("file")
        if source is None or (zone.argument("masterfile-format") or "text") != "text":
            self.outcome.leave(zone.place, what, "no file of text; make one with named-compilezone -F text")
            return
        path = self.nearby(Path(source), self.working)
        try:
            file = self.outcome.add_zone(apex, self.with_includes(self.read(str(path)), 0))
        except (OSError, Unreadable) as error:
            why = f"{path} cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
            self.outcome.leave(zone.place, what, why)
            return
        self.zones[apex] = zone.place
        self.outcome.take(zone.place, what, f"{file}, a copy of {path}")
        for one in zone.block or ():
            if one.first not in ("type", "file", "masterfile-format"):
                self.outcome.leave(one.place, f"zone {apex}: {' '.join(one.words)}", "no equivalent")

    def with_includes(self, text: bytes, depth: int) -> bytes:
        """A zone file with the paths of its includes as they are with us, and those files besides."""
        if depth > _DEEPEST:
            raise Unreadable("$INCLUDE goes on without end; remove the one that closes the loop")

        def renamed(match: re.Match[bytes]) -> bytes:
            path = self.nearby(Path(match[2].decode(errors="replace").strip('"')), self.working)
            file = f"{path.stem.lstrip('.')}.inc"
            inner = self.with_includes(self.read(str(path)), depth + 1)
            number = 2
            while self.outcome.files.get(file, inner) != inner:
                file, number = f"{path.stem.lstrip('.')}-{number}.inc", number + 1
            self.outcome.files[file] = inner
            return match[1] + f'"{file}"'.encode()

        return _INCLUDE.sub(renamed, text)


def read(main: Path, read_file: Read) -> Imported:
    """Everything that a named.conf says, and its zone files.  Raises Unreadable."""
    job = _Import(read_file, main)
    statements = job.statements(main)
    for one in statements:
        if one.first == "options":
            job.options(one)
    for one in statements:
        match one.first:
            case "options":
                pass
            case "zone":
                job.zone(one)
            case "view":
                _view(job, one)
            case _:
                job.outcome.leave(one.place, " ".join(one.words), "no equivalent")
    job.outcome.add_settings(job.settings)
    return job.outcome


def _view(job: _Import, view: Statement) -> None:
    name = f" of view {view.words[1]}" if len(view.words) > 1 else ""
    for one in view.block or ():
        if one.first == "zone":
            job.zone(one, name)
        else:
            job.outcome.leave(one.place, " ".join(one.words) + name, "no equivalent; dnslb has no views")
