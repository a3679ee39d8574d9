"""The directory that users edit, read into one value: settings, zones and pools, or everything wrong with them.

The only place that opens their files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from dnslb import settings
from dnslb.balance import policy
from dnslb.balance.pool import Pool
from dnslb.catalog.owner import find_owner
from dnslb.dns import master, name
from dnslb.dns.name import BadName, Name
from dnslb.dns.zone import Zone
from dnslb.problem import Level, Problem
from dnslb.settings import Settings

SETTINGS = "dnslb.yaml"
_SUFFIX = ".zone"
_POLICY = ".yaml"
_MISNAMED = ".yml"
_LOCK = ".#"  # how the lock files of Emacs begin, which are there while a file is edited

Fingerprint: TypeAlias = frozenset[tuple[str, int, int, int]]


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a directory holds."""

    settings: Settings
    zones: Mapping[Name, Zone]  # by apex; those without errors
    pools: Mapping[Name, Pool]  # by owner, folded; those without errors
    sources: frozenset[str] = frozenset()  # the zone files, and the files that they include


def load(directory: Path) -> tuple[Catalog, list[Problem]]:
    """Everything in the directory.  With any error among the problems the catalog is not to be served."""
    try:
        paths = _files(directory, _SUFFIX)
    except FileNotFoundError:
        return _nothing(directory, "the directory does not exist", "give the one that holds your *.zone files")
    except NotADirectoryError:
        return _nothing(directory, "this is no directory", "give the one that holds your *.zone files")
    except OSError as error:
        fact = f"the directory cannot be read: {(error.strerror or str(error)).lower()}"
        return _nothing(directory, fact, "let this user read it")
    if not paths:
        return _nothing(directory, f"there is no *{_SUFFIX} file here", "write one, such as example.com.zone")
    found, problems = _settings(directory / SETTINGS)
    problems += [
        Problem(Level.WARNING, str(path), 0, 0, "the file is not read", f"rename it to {path.stem}{_POLICY}")
        for path in _files(directory, _MISNAMED)
    ]
    sources: set[str] = set()
    zones: dict[Name, Zone] = {}
    files: dict[Name, str] = {}
    for path in paths:
        apex = _apex(path, problems)
        if apex is None:
            continue
        if apex in files:
            problems.append(_error(path, f"{files[apex]} is the same zone", "remove one of the two files"))
            continue
        files[apex] = str(path)
        zone, mistakes = master.load(str(path), apex, partial(_read, sources))
        problems += mistakes
        if zone is not None:
            zones[apex] = zone
    pools = _pools(directory, zones, files, problems)
    return Catalog(found, zones, pools, frozenset(sources)), problems


def _pools(
    directory: Path, zones: Mapping[Name, Zone], files: Mapping[Name, str], problems: list[Problem]
) -> dict[Name, Pool]:
    """Those of every policy file in the directory."""
    pools: dict[Name, Pool] = {}
    policies: dict[Name, Path] = {}
    for path in _files(directory, _POLICY):
        apex = None if path.name == SETTINGS else _apex(path, problems)
        if apex is None:
            continue
        if apex in policies:
            problems.append(_error(path, f"{policies[apex]} is for the same zone", "remove one of the two files"))
            continue
        policies[apex] = path
        # Without its zone, whose errors are told already, a policy says nothing.
        if apex in zones or apex not in files:
            problems += _add_pools(path, apex, zones, pools)
    return pools


def _add_pools(path: Path, apex: Name, zones: Mapping[Name, Zone], pools: dict[Name, Pool]) -> list[Problem]:
    """Read the policy file of a zone."""
    if apex not in zones:
        return [_error(path, "there is no zone file of that name", f"write {path.stem}{_SUFFIX}, or rename this file")]
    try:
        octets = path.read_bytes()
    except OSError as error:
        return [_error(path, f"the file cannot be read: {error.strerror}", "make it a readable file")]
    found, problems = policy.read(octets, str(path), partial(find_owner, zones[apex], zones))
    pools.update({name.fold(name.parse(pool.owner, name.ROOT)): pool for pool in found})
    return problems


def fingerprint(directory: Path, sources: frozenset[str]) -> Fingerprint:
    """Of every file that ``load`` would read: name, inode, size and time of change.  Another one means an edit.

    The time of change (ctime) also tells of permissions, and of copies that keep the time of the original (rsync).
    ``sources`` are those of the last catalog: they tell of included files.
    """
    with suppress(OSError):
        sources |= {str(path) for path in _files(directory, _SUFFIX, _POLICY)}
    prints = set()
    for source in sources:
        with suppress(OSError):
            found = os.stat(source)
            prints.add((source, found.st_ino, found.st_size, found.st_ctime_ns))
    return frozenset(prints)


def _files(directory: Path, *suffixes: str) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.suffix in suffixes and not path.name.startswith(_LOCK))


def _read(sources: set[str], path: str) -> bytes:
    sources.add(path)
    return Path(path).read_bytes()


def _settings(path: Path) -> tuple[Settings, list[Problem]]:
    try:
        octets = path.read_bytes()
    except FileNotFoundError:
        return Settings(), []
    except OSError as error:
        return Settings(), [_error(path, f"the file cannot be read: {error.strerror}", "make it a readable file")]
    return settings.read(octets, str(path))


def _apex(path: Path, problems: list[Problem]) -> Name | None:
    """The zone that the file is named after."""
    try:
        return name.fold(name.parse(path.stem.rstrip(".") + ".", name.ROOT))
    except (BadName, UnicodeEncodeError) as bad:
        fact = bad.fact if isinstance(bad, BadName) else f"{path.stem} is no domain name"
        problems.append(_error(path, fact, "name the file after its zone: example.com.zone"))
        return None


def _nothing(directory: Path, fact: str, remedy: str) -> tuple[Catalog, list[Problem]]:
    return Catalog(Settings(), {}, {}), [_error(directory, fact, remedy)]


def _error(path: Path, fact: str, remedy: str) -> Problem:
    return Problem(Level.ERROR, str(path), 0, 0, fact, remedy)
