"""The copies of zones that come from primaries: found, and read as zone files are."""

from __future__ import annotations

from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dnslb.config import policy, replica
from dnslb.config.files import POLICY, SETTINGS, Entries, Files
from dnslb.config.named_zone import apex_of
from dnslb.config.replica import Replica
from dnslb.config.settings import Settings
from dnslb.dns import master
from dnslb.dns.name import Name
from dnslb.dns.zone import Zone
from dnslb.system import file
from dnslb.text.problem import Level, Problem


def read_copy(apex: Name, path: str, candidate: str, files: Files) -> tuple[Zone | None, list[Problem]]:
    """The zone in the second file, which is spoken of by the name of the first."""

    def read(asked: str) -> bytes:
        if asked != path:
            raise OSError(0, "what comes from a primary includes nothing")
        return files.read(candidate, file.MOST_ZONE)

    return master.load(path, apex, read)


def find_replicas(
    entries: Entries, named: Mapping[str, Name], zone_files: Container[Name], settings: Settings, state: Path
) -> dict[Name, Replica]:
    """Of the zones without a file, those whose policies name a primary."""
    found: dict[Name, Replica] = {}
    for path in entries.named(POLICY):
        apex = None if path.name == SETTINGS else apex_of(path, named, [])
        if apex is None or apex in zone_files or apex in found:
            continue
        with suppress(OSError):  # which is told later
            octets = entries.files.read(str(path), file.MOST_POLICY)
            primaries = policy.primaries(octets, str(path), settings.keys)
            if primaries is not None:
                found[apex] = Replica(primaries, replica.path(state, path.stem), str(path), octets)
    return found


def with_copy(
    apex: Name, one: Replica, files: Files, problems: list[Problem]
) -> tuple[Replica, Zone | None]:
    """The same with what came last, as far as it can be used: the primary will send it once more."""
    try:
        refreshed = files.changed(one.path)
    except OSError:
        servers = ", ".join(map(str, one.primaries))
        fact = f"nothing has come from {servers} yet, and SERVFAIL is what is answered until it has"
        problems.append(Problem(Level.WARNING, one.policy, 0, 0, fact, "see dnslb status, or the log, once it runs"))
        return one, None
    zone, mistakes = read_copy(apex, one.path, one.path, files)
    if zone is None:
        fact = f"what came last cannot be used: {mistakes[0].fact}"
        problems.append(Problem(Level.WARNING, one.path, 0, 0, fact, "it is fetched anew"))
        return one, None
    problems += mistakes
    return replace(one, refreshed=refreshed), zone
