"""The directory that users edit, read into one catalog, or everything wrong with it.  All that is opened goes through
``Files``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from dnslb.balance.pool import Pool
from dnslb.config import cookie_secrets, keys, policy, settings, state_directory
from dnslb.config.catalog import Catalog, ZoneSize
from dnslb.config.clients import Clients
from dnslb.config.files import POLICY, SETTINGS, ZONE, Disk, Entries, Files
from dnslb.config.keys import TsigKey
from dnslb.config.named_zone import NamedZone, apex_of
from dnslb.config.nameserver import TransferPolicy
from dnslb.config.owner import find_owner
from dnslb.config.policy import Owner, Policy
from dnslb.config.received import find_replicas, read_copy, with_copy
from dnslb.config.replica import Replica
from dnslb.config.settings import Settings
from dnslb.dns import master, name
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.dns.zone import Zone
from dnslb.system import collector, file
from dnslb.text.problem import Level, Problem, listed

_MISNAMED = ".yml"
_NAMED_CONF = "named.conf"


def load(
    directory: Path, files: Files | None = None, state: Path | None = None
) -> tuple[Catalog, list[Problem]]:
    """Everything in the directory.  With any error among the problems the catalog is not to be served.

    ``state``: where the server keeps its state; None: where the settings and the environment say.
    What keeps a file from being read is a problem.  Only what stops ``files`` itself is raised.
    """
    # Pools and records are made by the hundred thousand, and none of them is garbage.
    with collector.paused():
        return _load(directory, files or Disk(str(directory)), state)


def _load(directory: Path, files: Files, state: Path | None) -> tuple[Catalog, list[Problem]]:
    try:
        entries = Entries(directory, files)
    except FileNotFoundError:
        remedy = f"give the one that holds your *.zone files; dnslb init {directory} makes one"
        return _nothing(files, directory, "the directory does not exist", remedy)
    except NotADirectoryError:
        return _nothing(files, directory, "this is no directory", "give the one that holds your *.zone files")
    except OSError as error:
        fact = f"the directory cannot be read: {(error.strerror or str(error)).lower()}"
        return _nothing(files, directory, fact, "let this user read it")
    paths = entries.named(ZONE)
    found, problems = _settings(directory / SETTINGS, files)
    problems += [
        Problem(Level.WARNING, str(path), 0, 0, "the file is not read", f"rename it to {path.stem}{POLICY}")
        for path in entries.named(_MISNAMED)
    ]
    named = {Path(zone.file).stem: zone.apex for zone in found.zones}
    where = (str(directory), *map(str, found.include_from))
    sources: set[str] = set()
    zones: dict[Name, Zone] = {}
    zone_files: dict[Name, str] = {}
    for path in paths:
        apex = apex_of(path, named, problems)
        if apex is None:
            continue
        if apex in zone_files:
            problems.append(_error(path, f"{zone_files[apex]} is the same zone", "remove one of the two files"))
            continue
        zone_files[apex] = str(path)
        sources.add(str(path))
        read = partial(files.read, most=file.MOST_ZONE)
        zone, mistakes = master.load(str(path), apex, read, partial(_include, files, sources, where))
        problems += mistakes
        if zone is not None:
            zones[apex] = zone
    kept = state_directory.default_directory(state or found.state, os.environ, os.getuid())
    replicas = find_replicas(entries, named, zone_files, found, kept)
    if not zone_files and not replicas and not paths:
        return _nothing(files, directory, f"there is no *{ZONE} file here", _beginning(directory, entries))
    there = {path.name for path in (*paths, *(Path(one.path) for one in replicas.values()))}
    problems += _missing(found.zones, there, directory)
    for apex, replica_ in replicas.items():
        replicas[apex], zone = with_copy(apex, replica_, files, problems)
        if zone is not None:
            zones[apex] = zone
    secrets = _keys(found, files, problems)
    own = _cookie_secrets(found.cookie_secret_file, files, problems)
    sources |= {str(path) for path in (*found.keys.values(), found.cookie_secret_file) if path is not None}
    policies = _policies(entries, named, (zones, zone_files, replicas), found, problems)
    pools = {name.fold(name.parse(pool.owner, name.ROOT)): pool for one in policies.values() for pool in one.pools}
    transfers = {apex: one for apex in zones if (one := _transfers(policies.get(apex), found))}
    sizes = {
        apex: ZoneSize(_records(zone), len(policies[apex].pools) if apex in policies else None)
        for apex, zone in zones.items()
        if apex not in replicas
    }
    clients = {apex: one.clients for apex, one in policies.items() if one.clients is not None}
    updates = {apex: one.updates for apex, one in policies.items() if one.updates}
    last = (frozenset(sources), sizes, files.fingerprint(), files.unfinished(), replicas)
    return Catalog(found, zones, pools, transfers, secrets, clients, own, updates, *last), problems


def receive(was: Catalog, apexes: Iterable[Name], files: Files) -> tuple[Catalog, list[Problem]]:
    """What has just come of these zones, with the pools of their policies over it; it is kept from now on.

    The catalog holds only these.  A zone with an error is not among them.
    """
    zones: dict[Name, Zone] = {}
    pools: dict[Name, Pool] = {}
    transfers: dict[Name, TransferPolicy] = {}
    clients: dict[Name, Clients] = {}
    replicas: dict[Name, Replica] = {}
    problems: list[Problem] = []
    for apex in apexes:
        one = was.replicas[apex]
        zone, mistakes = read_copy(apex, one.path, one.candidate, files)
        problems += mistakes
        if zone is None:
            continue
        try:
            replicas[apex] = replace(one, refreshed=files.changed(one.candidate))
            files.keep(one.candidate, one.path)
        except OSError as error:
            fact = f"what has come cannot be kept: {error.strerror}"
            problems.append(Problem(Level.ERROR, one.path, 0, 0, fact, "let this user write there"))
            continue
        zones[apex] = zone
        find = partial(find_owner, zone, was.replicas.keys() | was.zones.keys())
        found, mistakes = policy.read(one.octets, one.policy, find, was.settings.keys, was.settings.transfers)
        problems += listed(mistakes, one.policy)
        pools |= {name.fold(name.parse(pool.owner, name.ROOT)): pool for pool in found.pools}
        if who := _transfers(found, was.settings):
            transfers[apex] = who
        if found.clients is not None:
            clients[apex] = found.clients
    return Catalog(was.settings, zones, pools, transfers, clients=clients, replicas=replicas), problems


def _transfers(policy: Policy | None, settings: Settings) -> TransferPolicy:
    """Who may have a zone: what its own policy says, or else what holds for all."""
    return settings.transfers if policy is None or policy.transfers is None else policy.transfers


def _keys(settings: Settings, files: Files, problems: list[Problem]) -> dict[str, TsigKey]:
    """Those of the files that the settings name."""
    found: dict[str, TsigKey] = {}
    for key, path in settings.keys.items():
        try:
            text = files.read_secret(str(path)).decode(errors="replace")
            found[key] = replace(keys.read(text, str(path)), name=key)
        except OSError as error:
            problems.append(_error(path, f"the key cannot be read: {error.strerror}", "let this user read it"))
        except Mistaken as error:
            problems.append(_error(path, error.mistake.fact, error.mistake.remedy))
    return found


def _cookie_secrets(path: Path | None, files: Files, problems: list[Problem]) -> tuple[bytes, ...]:
    """Those of the file, if the settings name one."""
    if path is None:
        return ()
    try:
        return cookie_secrets.read(files.read_secret(str(path)).decode(errors="replace"))
    except OSError as error:
        problems.append(_error(path, f"the secrets cannot be read: {error.strerror}", "let this user read them"))
    except Mistaken as error:
        problems.append(_error(path, error.mistake.fact, error.mistake.remedy))
    return ()


def _records(zone: Zone) -> int:
    return sum([len(rrset.rdatas) for node in zone.nodes.values() for rrset in node])


def _policies(
    entries: Entries,
    named: Mapping[str, Name],
    about: tuple[Mapping[Name, Zone], Mapping[Name, str], Mapping[Name, Replica]],
    settings: Settings,
    problems: list[Problem],
) -> dict[Name, Policy]:
    """Those of every policy file in the directory, by the zone; ``about``: zones, their files, and those without."""
    zones, zone_files, replicas = about
    apexes = zones.keys() | replicas.keys()
    policies: dict[Name, Policy] = {}
    paths: dict[Name, Path] = {}
    for path in entries.named(POLICY):
        apex = None if path.name == SETTINGS else apex_of(path, named, problems)
        if apex is None:
            continue
        if apex in paths:
            problems.append(_error(path, f"{paths[apex]} is for the same zone", "remove one of the two files"))
            continue
        paths[apex] = path
        # Without its zone, whose errors are told already, a policy says nothing.
        if apex in apexes:
            # Of what has not come nothing can be said yet.
            find = partial(find_owner, zones[apex], apexes) if apex in zones else lambda _: ""
            policies[apex], mistakes = _policy(path, find, settings, entries.files)
            problems += listed(mistakes, str(path))
            if policies[apex].primaries and apex in zone_files:
                fact = f"the zone has a primary, and the file {zone_files[apex]}"
                problems.append(_error(path, fact, "remove the file, or primary:"))
        elif apex not in zone_files:
            remedy = f"write {path.stem}{ZONE}, say of which primary: it comes, or rename this file"
            problems.append(_error(path, "there is no zone file of that name", remedy))
    return policies


def _policy(
    path: Path, find: Callable[[str], Owner | str], settings: Settings, files: Files
) -> tuple[Policy, list[Problem]]:
    try:
        octets = files.read(str(path), file.MOST_POLICY)
    except OSError as error:
        return Policy(), [_error(path, f"the file cannot be read: {error.strerror}", "make it a readable file")]
    return policy.read(octets, str(path), find, settings.keys, settings.transfers)


def _include(files: Files, sources: set[str], where: tuple[str, ...], path: str) -> bytes:
    """A file that a zone includes.  Raises OSError."""
    sources.add(path)
    octets = files.read_within(path, file.MOST_ZONE, where)
    if octets is None:
        raise OSError(0, f"it is outside {where[0]}, and not in include_from of {SETTINGS}")
    return octets


def _settings(path: Path, files: Files) -> tuple[Settings, list[Problem]]:
    try:
        octets = files.read(str(path), file.MOST_POLICY)
    except FileNotFoundError:
        return Settings(), []
    except OSError as error:
        return Settings(), [_error(path, f"the file cannot be read: {error.strerror}", "make it a readable file")]
    found, problems = settings.read(octets, str(path))
    return found, listed(problems, str(path))


def _missing(named: tuple[NamedZone, ...], there: Container[str], directory: Path) -> list[Problem]:
    """Of the zones that the settings name, those without a file."""
    return [
        Problem(Level.ERROR, str(directory / SETTINGS), zone.line, zone.column, f"there is no file {zone.file}",
                f"write it for {name.text(zone.apex)}, or remove the line")
        for zone in named if zone.file not in there
    ]  # fmt: skip


def _nothing(files: Files, directory: Path, fact: str, remedy: str) -> tuple[Catalog, list[Problem]]:
    return Catalog(Settings(), {}, {}, fingerprint=files.fingerprint()), [_error(directory, fact, remedy)]


def _beginning(directory: Path, entries: Entries) -> str:
    """What to do in a directory without zones."""
    if entries.has(_NAMED_CONF):
        return f"dnslb import {directory / _NAMED_CONF} makes them from what BIND serves"
    return f"write one, such as example.com.zone; dnslb init {directory} does"


def _error(path: Path, fact: str, remedy: str) -> Problem:
    return Problem(Level.ERROR, str(path), 0, 0, fact, remedy)
