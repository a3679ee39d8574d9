"""The directory that users edit, read into one value: settings, zones and pools, or everything wrong with them.

The only place that opens their files, all of them through ``Files``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

from dnslb.balance.pool import Pool
from dnslb.config import cookie_secrets, keys, policy, replica, settings, state_directory
from dnslb.config.clients import Clients
from dnslb.config.grants import Grants
from dnslb.config.keys import TsigKey
from dnslb.config.named_zone import NamedZone
from dnslb.config.nameserver import TransferPolicy
from dnslb.config.owner import find_owner
from dnslb.config.policy import Owner, Policy
from dnslb.config.replica import Replica
from dnslb.config.settings import Settings
from dnslb.dns import master, name
from dnslb.dns.mistake import Mistaken
from dnslb.dns.name import Name
from dnslb.dns.zone import Zone
from dnslb.system import collector, file
from dnslb.text.problem import Level, Problem, listed

SETTINGS = "dnslb.yaml"
_SUFFIX = ".zone"
_POLICY = ".yaml"
_MISNAMED = ".yml"
_NAMED_CONF = "named.conf"
_LOCK = ".#"  # how the lock files of Emacs begin, which are there while a file is edited

Fingerprint: TypeAlias = frozenset[tuple[str, int, int, int]]


@dataclass(frozen=True, slots=True)
class ZoneSize:
    """How much there is of a zone."""

    records: int
    pools: int | None  # None: there is no policy file


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a directory holds."""

    settings: Settings
    zones: Mapping[Name, Zone]  # by apex; those without errors, of which there are records
    pools: Mapping[Name, Pool]  # by owner, folded; those without errors
    transfers: Mapping[Name, TransferPolicy] = field(default_factory=dict)  # of the zones that are transferred, by apex
    keys: Mapping[str, TsigKey] = field(default_factory=dict)  # by name
    clients: Mapping[Name, Clients] = field(default_factory=dict)  # whom zones answer that do not answer all, by apex
    cookie_secrets: tuple[bytes, ...] = field(default=(), repr=False)  # none: as the server likes
    updates: Mapping[Name, Grants] = field(default_factory=dict)  # of the zones that updates may change, by apex
    sources: frozenset[str] = frozenset()  # the zone files, and the files that they include
    sizes: Mapping[Name, ZoneSize] = field(default_factory=dict)  # of the zones
    fingerprint: Fingerprint = frozenset()  # of all files, from before they were read
    unfinished: frozenset[str] = frozenset()  # of the files, those that end in the middle of a line
    replicas: Mapping[Name, Replica] = field(default_factory=dict)  # zones that come from a primary, by apex

    @property
    def absent(self) -> frozenset[Name]:
        """The zones of which nothing has come yet, or nothing for too long."""
        return frozenset(self.replicas.keys() - self.zones.keys())

    def with_received(self, received: Catalog) -> Catalog:
        """These zones, with their pools, are as they have just come."""
        rest = self.without(received.zones)
        return replace(
            rest,
            zones={**self.zones, **received.zones},  # in their order
            pools={**rest.pools, **received.pools},
            transfers={**self.transfers, **received.transfers},
            clients={**self.clients, **received.clients},
            replicas={**self.replicas, **received.replicas},
        )

    def without(self, apexes: Container[Name]) -> Catalog:
        """These zones are not answered from."""
        apex_of = partial(name.closest, among={**self.zones, **self.replicas})
        return replace(
            self,
            zones={apex: zone for apex, zone in self.zones.items() if apex not in apexes},
            pools={owner: pool for owner, pool in self.pools.items() if apex_of(owner) not in apexes},
            transfers={apex: one for apex, one in self.transfers.items() if apex not in apexes},
        )

    def at(self, now: float) -> Catalog:
        """What may be answered from at this Unix time: without the zones that have expired (RFC 1034 §4.3.5)."""
        held = [(apex, one) for apex, one in self.replicas.items() if apex in self.zones]
        expired = {apex for apex, one in held if one.expires(self.zones[apex]) <= now}
        return self.without(expired) if expired else self

    @property
    def needs_state(self) -> bool:
        """Whether there is something that must survive a restart."""
        return bool(self.pools or self.replicas or self.updates)


NOTHING = Catalog(Settings(), {}, {})


class Files(Protocol):
    """What ``load`` wants to know of the disk.  All raise OSError."""

    def names(self, directory: str) -> list[str]:
        """Of the entries of a directory."""

    def read(self, path: str, most: int) -> bytes:
        """A file of at most so many octets."""

    def read_within(self, path: str, most: int, directories: tuple[str, ...]) -> bytes | None:
        """The same; None when the path leads out of all these directories."""

    def read_secret(self, path: str) -> bytes:
        """A file that nobody else can read."""

    def changed(self, path: str) -> float:
        """The Unix time at which a file was last written, or said to be."""

    def keep(self, candidate: str, path: str) -> None:
        """What was read from the one is what is to be read from the other."""

    def fingerprint(self) -> Fingerprint:
        """Of what was there before it was read; raises nothing."""

    def unfinished(self) -> frozenset[str]:
        """Of the files that were read, those that end in the middle of a line; raises nothing."""


class Disk:
    """The files as they are, and what was there before they were read."""

    def __init__(self, directory: str, sources: frozenset[str] = frozenset()) -> None:
        """``sources`` are those of the last catalog."""
        self._directory = directory
        self._found = fingerprint(directory, sources)
        self._known = {path for path, *_ in self._found} | sources
        self._unfinished: set[str] = set()

    def names(self, directory: str) -> list[str]:
        return os.listdir(directory)

    def read(self, path: str, most: int) -> bytes:
        return self._read(path, most)

    def read_within(self, path: str, most: int, directories: tuple[str, ...]) -> bytes | None:
        if path not in self._known:
            self._known.add(path)
            self._found |= _fingerprints([path])
        return self._read(path, most) if file.is_within(path, directories) else None

    def read_secret(self, path: str) -> bytes:
        if path not in self._known:
            self._known.add(path)
            self._found |= _fingerprints([path])
        return file.read_secret(path)

    def changed(self, path: str) -> float:
        return os.stat(path).st_mtime

    def keep(self, candidate: str, path: str) -> None:
        os.replace(candidate, path)

    def fingerprint(self) -> Fingerprint:
        return self._found

    def unfinished(self) -> frozenset[str]:
        return frozenset(self._unfinished)

    def has_changed(self) -> bool:
        """Whether anything has been edited since: what was read may be half of it."""
        return fingerprint(self._directory, frozenset(self._known)) != self._found

    def _read(self, path: str, most: int) -> bytes:
        octets = file.read(path, most)
        if octets and not octets.endswith(b"\n"):
            self._unfinished.add(path)
        return octets


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
        entries = _Entries(directory, files)
    except FileNotFoundError:
        remedy = f"give the one that holds your *.zone files; dnslb init {directory} makes one"
        return _nothing(files, directory, "the directory does not exist", remedy)
    except NotADirectoryError:
        return _nothing(files, directory, "this is no directory", "give the one that holds your *.zone files")
    except OSError as error:
        fact = f"the directory cannot be read: {(error.strerror or str(error)).lower()}"
        return _nothing(files, directory, fact, "let this user read it")
    paths = entries.named(_SUFFIX)
    found, problems = _settings(directory / SETTINGS, files)
    problems += [
        Problem(Level.WARNING, str(path), 0, 0, "the file is not read", f"rename it to {path.stem}{_POLICY}")
        for path in entries.named(_MISNAMED)
    ]
    named = {Path(zone.file).stem: zone.apex for zone in found.zones}
    where = (str(directory), *map(str, found.include_from))
    sources: set[str] = set()
    zones: dict[Name, Zone] = {}
    zone_files: dict[Name, str] = {}
    for path in paths:
        apex = _apex(path, named, problems)
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
    replicas = _replicas(entries, named, zone_files, found, kept)
    if not zone_files and not replicas and not paths:
        return _nothing(files, directory, f"there is no *{_SUFFIX} file here", _beginning(directory, entries))
    there = {path.name for path in (*paths, *(Path(one.path) for one in replicas.values()))}
    problems += _missing(found.zones, there, directory)
    for apex, replica_ in replicas.items():
        replicas[apex], zone = _held(apex, replica_, files, problems)
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
        zone, mistakes = _read_replica(apex, one.path, one.candidate, files)
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


def _read_replica(apex: Name, path: str, candidate: str, files: Files) -> tuple[Zone | None, list[Problem]]:
    """The zone in the second file, which is spoken of by the name of the first."""

    def read(asked: str) -> bytes:
        if asked != path:
            raise OSError(0, "what comes from a primary includes nothing")
        return files.read(candidate, file.MOST_ZONE)

    return master.load(path, apex, read)


def _replicas(
    entries: _Entries, named: Mapping[str, Name], zone_files: Container[Name], settings: Settings, state: Path
) -> dict[Name, Replica]:
    """Of the zones without a file, those whose policies name a primary."""
    found: dict[Name, Replica] = {}
    for path in entries.named(_POLICY):
        apex = None if path.name == SETTINGS else _apex(path, named, [])
        if apex is None or apex in zone_files or apex in found:
            continue
        with suppress(OSError):  # which is told later
            octets = entries.files.read(str(path), file.MOST_POLICY)
            primaries = policy.primaries(octets, str(path), settings.keys)
            if primaries is not None:
                found[apex] = Replica(primaries, replica.path(state, path.stem), str(path), octets)
    return found


def _held(
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
    zone, mistakes = _read_replica(apex, one.path, one.path, files)
    if zone is None:
        fact = f"what came last cannot be used: {mistakes[0].fact}"
        problems.append(Problem(Level.WARNING, one.path, 0, 0, fact, "it is fetched anew"))
        return one, None
    problems += mistakes
    return replace(one, refreshed=refreshed), zone


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
    entries: _Entries,
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
    for path in entries.named(_POLICY):
        apex = None if path.name == SETTINGS else _apex(path, named, problems)
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
            remedy = f"write {path.stem}{_SUFFIX}, say of which primary: it comes, or rename this file"
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


def fingerprint(directory: str, sources: frozenset[str]) -> Fingerprint:
    """Of every file that ``load`` would read: name, inode, size and time of change.  Another one means an edit.

    The time of change (ctime) also tells of permissions, and of copies that keep the time of the original (rsync).
    ``sources`` are those of the last catalog: they tell of included files.
    """
    with suppress(OSError):
        names = (entry for entry in os.listdir(directory) if entry.endswith((_SUFFIX, _POLICY)))
        sources |= {os.path.join(directory, entry) for entry in names if _is_meant(entry)}
    return _fingerprints(sources)


def _fingerprints(sources: Iterable[str]) -> Fingerprint:
    """Of those files that are there."""
    found = set()
    for source in sources:
        with suppress(OSError):
            there = os.stat(source)
            found.add((source, there.st_ino, there.st_size, there.st_ctime_ns))
    return frozenset(found)


class _Entries:
    """The directory as it was when we looked."""

    def __init__(self, directory: Path, files: Files) -> None:
        """Raises OSError."""
        self.files = files
        self._paths = sorted(directory / entry for entry in files.names(str(directory)) if _is_meant(entry))

    def named(self, suffix: str) -> list[Path]:
        return [path for path in self._paths if path.suffix == suffix]

    def has(self, entry: str) -> bool:
        return any(path.name == entry for path in self._paths)


def _is_meant(entry: str) -> bool:
    return not entry.startswith(_LOCK)


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


def _apex(path: Path, named: Mapping[str, Name], problems: list[Problem]) -> Name | None:
    """The zone that the file is named after, or that the settings say."""
    if path.stem in named:
        return named[path.stem]
    try:
        return name.fold(name.parse(path.stem.rstrip(".") + ".", name.ROOT))
    except Mistaken as error:
        problems.append(_error(path, error.mistake.fact, "name the file after its zone: example.com.zone"))
        return None


def _missing(named: tuple[NamedZone, ...], there: Container[str], directory: Path) -> list[Problem]:
    """Of the zones that the settings name, those without a file."""
    return [
        Problem(Level.ERROR, str(directory / SETTINGS), zone.line, zone.column, f"there is no file {zone.file}",
                f"write it for {name.text(zone.apex)}, or remove the line")
        for zone in named if zone.file not in there
    ]  # fmt: skip


def _nothing(files: Files, directory: Path, fact: str, remedy: str) -> tuple[Catalog, list[Problem]]:
    return Catalog(Settings(), {}, {}, fingerprint=files.fingerprint()), [_error(directory, fact, remedy)]


def _beginning(directory: Path, entries: _Entries) -> str:
    """What to do in a directory without zones."""
    if entries.has(_NAMED_CONF):
        return f"dnslb import {directory / _NAMED_CONF} makes them from what BIND serves"
    return f"write one, such as example.com.zone; dnslb init {directory} does"


def _error(path: Path, fact: str, remedy: str) -> Problem:
    return Problem(Level.ERROR, str(path), 0, 0, fact, remedy)
