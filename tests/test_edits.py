"""Edits that are half done: a writer that stops in the middle, a file that is gone, a change while it is read."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dnslb_server import Server, eventually, started
from peers import Address, free_port
from test_reload import ZONE, ask, listening, reloads, serving, status

from dnslb.admin import client
from dnslb.config import directory as directories
from dnslb.config import files as config_files
from dnslb.parent import reading
from dnslb.parent.reading import NotAnswered

HOSTS = "".join(f"host{number} A 192.0.2.{number}\n" for number in range(100))
POLICY = "pools: {www: {answers: 1}}\n"
WWW = "www A 192.0.2.1\n    A 192.0.2.2\n"


class Edited:
    """A running server and the files that it serves."""

    def __init__(self, directory: Path, address: Address, server: Server) -> None:
        self.directory = directory
        self.zones = directory / "zones"
        self.zone = self.zones / "example.test.zone"
        self.address = address
        self.server = server

    def status(self) -> Any:
        return client.ask(self.directory / "control", "GET", "/status")[1]

    def is_held(self) -> bool:
        refused = self.status()["refused"]
        return refused is not None and refused["until"] is not None

    def has(self, name: str, kind: str = "A") -> bool:
        return bool(ask(self.address, name, kind))


@contextmanager
def served(directory: Path, more: str = HOSTS, settings: str = "", policy: str | None = None) -> Iterator[Edited]:
    zones = directory / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(ZONE.format(serial=1) + more)
    if settings:
        (zones / "dnslb.yaml").write_text(settings)
    if policy is not None:
        (zones / "example.test.yaml").write_text(policy)
    port = free_port()
    with started(directory, *listening(port)) as server:
        yield Edited(directory, Address("127.0.0.1", port), server)


# A writer that is slow


def test_a_file_that_is_written_slowly_is_never_served_by_half(tmp_path: Path) -> None:
    """As ``cat >``, scp and some editors do: the half is a valid zone."""
    with served(tmp_path) as edited:
        text = ZONE.format(serial=2) + HOSTS
        half = text.index("host30 ")
        with edited.zone.open("w") as writer:
            writer.write(text[:half])
            writer.flush()
            until = time.monotonic() + 2.0
            while time.monotonic() < until:
                assert edited.has("host90"), "half of the zone is served"
                time.sleep(0.02)
            writer.write(text[half:])
        eventually(serving(edited.address, 2), "the whole file was not read")
        assert edited.has("host90")
        lines = [line for line in edited.server.log.splitlines() if "not reloaded" in line]
        assert len(lines) == 1 and " WARNING " in lines[0]
        assert "example.test. would shrink from 105 records to 35; the old data go on being served until " in lines[0]
        eventually(lambda: edited.status()["refused"] is None, "the status still complains")


def test_a_file_that_is_cut_off_in_a_line_is_held_however_much_is_there(tmp_path: Path) -> None:
    """192.0.2.9 was served for 192.0.2.90."""
    with served(tmp_path) as edited:
        text = ZONE.format(serial=2) + HOSTS
        cut = text.index("host90 A 192.0.2.90") + len("host90 A 192.0.2.9")
        with edited.zone.open("w") as writer:
            writer.write(text[:cut])
            writer.flush()
            eventually(edited.is_held, "it is not held")
            assert edited.status()["refused"]["problems"] == [f"{edited.zone} ends in the middle of a line"]
            assert ask(edited.address, "host90", "A") == ["192.0.2.90"]
            writer.write(text[cut:].removesuffix("\n"))
        eventually(edited.is_held, "it is not held")
        assert client.ask(edited.directory / "control", "POST", "/reload")[0] == 200
        # It is meant: so the next edit is none that was cut off.
        edited.zone.write_text(text.replace('"2"', '"3"').removesuffix("\n"))
        eventually(lambda: ask(edited.address, "a") == ["3"], "the next edit is held too")


def test_a_file_that_is_written_all_the_time_is_read_when_it_is_quiet(tmp_path: Path) -> None:
    """No matter that each state of it would be valid and large enough."""
    with served(tmp_path, settings="settle: 1s\n") as edited:
        with edited.zone.open("a") as writer:
            for number in range(20):
                writer.write(f"more{number} A 192.0.2.1\n")
                writer.flush()
                time.sleep(0.15)
        assert reloads(edited.server) == 0
        eventually(lambda: edited.has("more19"), "the file was not read when it was quiet")
        eventually(lambda: reloads(edited.server) == 1, "it was read more than once")


def test_another_settle_holds_from_the_edit_on_that_brings_it(tmp_path: Path) -> None:
    with served(tmp_path, more=WWW) as edited:
        (edited.zones / "dnslb.yaml").write_text("settle: 3s\n")
        eventually(lambda: edited.server.log.endswith(": settings: settle\n"), "it was not read, or more than it")
        began = time.monotonic()
        edited.zone.write_text(ZONE.format(serial=2) + WWW)
        eventually(serving(edited.address, 2), "the edit was not read")
        assert time.monotonic() - began > 2.5


def test_files_that_are_never_quiet_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text("import dnslb.parent.watch\ndnslb.parent.watch._UNREST = 1.0\n")
    monkeypatch.setenv("PYTHONPATH", f"{hook}:{os.environ.get('PYTHONPATH', '')}")
    with served(tmp_path, settings="settle: 2s\n") as edited:
        unquiet = edited.zones / "log.yaml"
        until = time.monotonic() + 10.0
        while "edits are not read" not in edited.server.log and time.monotonic() < until:
            with unquiet.open("a") as writer:
                writer.write("# a line\n")
            time.sleep(0.1)
        (line,) = [line for line in edited.server.log.splitlines() if "edits are not read" in line]
        assert line.endswith(f" WARNING edits are not read: for 1 s no file was left alone for 2 s; last: {unquiet}")


# What takes much away


@pytest.mark.parametrize("how", ["dnslb reload", "SIGHUP", "unchanged"])
def test_a_shrunk_zone_is_held_until_somebody_means_it(tmp_path: Path, how: str) -> None:
    with served(tmp_path, settings="confirm: 2s\n" if how == "unchanged" else "") as edited:
        edited.zone.write_text(ZONE.format(serial=2))
        began = time.monotonic()
        eventually(edited.is_held, "it is not held")
        assert edited.has("host90")
        said = status(edited.directory)
        assert said[0].startswith("held since ") and "this may be half of an edit; " in said[0]
        assert said[1] == "  example.test. would shrink from 105 records to 5"
        assert said[2].startswith("  it is taken at ")
        assert said[2].endswith(" unless the files change; dnslb reload takes it now")
        match how:
            case "dnslb reload":
                assert client.ask(edited.directory / "control", "POST", "/reload")[0] == 200
            case "SIGHUP":
                os.kill(edited.server.parent, signal.SIGHUP)
        eventually(serving(edited.address, 2), "it was not taken")
        assert how != "unchanged" or time.monotonic() - began > 2.5  # 0.5 s until it is read
        eventually(lambda: not edited.has("host90"), "the old workers have not left")
        eventually(lambda: edited.status()["refused"] is None, "the status still complains")
        assert edited.server.log.count("would shrink") == 1


def test_a_held_edit_is_logged_whatever_the_level(tmp_path: Path) -> None:
    with served(tmp_path, settings="log_level: error\n") as edited:
        edited.zone.write_text(ZONE.format(serial=2))
        eventually(edited.is_held, "it is not held")
        (line,) = edited.server.log.splitlines()
        assert " WARNING not reloaded: " in line and "example.test. would shrink from 105 records to 5; " in line


def test_what_is_held_is_taken_only_if_it_stays_as_it_is(tmp_path: Path) -> None:
    with served(tmp_path, settings="confirm: 3s\n") as edited:
        edited.zone.write_text(ZONE.format(serial=2))
        eventually(edited.is_held, "it is not held")
        first = edited.status()["refused"]["until"]
        time.sleep(1.0)
        edited.zone.write_text(ZONE.format(serial=3))
        eventually(lambda: edited.status()["refused"]["until"] > first + 0.9, "the clock does not begin anew")
        eventually(serving(edited.address, 3), "it was not taken", 12)
        eventually(lambda: "serial 1 → 3" in edited.server.log, "it is not logged")


def test_a_zone_file_that_vanishes_is_held_and_nothing_when_it_is_back(tmp_path: Path) -> None:
    with served(tmp_path, more="") as edited:
        other = edited.zones / "other.test.zone"
        other.write_text(ZONE.format(serial=7))
        eventually(lambda: "other.test. added" in edited.server.log, "the new zone was not read")
        other.unlink()
        eventually(edited.is_held, "it is not held")
        assert edited.status()["refused"]["problems"] == ["other.test. would be removed, with 5 records"]
        other.write_text(ZONE.format(serial=8))
        eventually(lambda: "other.test. serial 7 → 8" in edited.server.log, "it was not read when it was back")
        eventually(lambda: edited.status()["refused"] is None, "the status still complains")
        assert "removed," not in edited.server.log.replace("would be removed,", "")


@pytest.mark.parametrize("how", ["vanishes", "is cut off"])
def test_a_policy_that_is_gone_is_held(tmp_path: Path, how: str) -> None:
    with served(tmp_path, more=WWW, policy=POLICY, settings="confirm: 2s\n") as edited:
        policy = edited.zones / "example.test.yaml"
        if how == "vanishes":
            policy.unlink()
        else:
            policy.write_text("")
        eventually(edited.is_held, "it is not held")
        assert len(ask(edited.address, "www", "A")) == 1
        eventually(lambda: len(ask(edited.address, "www", "A")) == 2, "it was not taken")


def test_most_of_a_small_zone_may_go_at_once(tmp_path: Path) -> None:
    with served(tmp_path, more=WWW) as edited:
        edited.zone.write_text("$TTL 300\n@ SOA ns1 h 2 3600 900 1209600 60\n  NS ns1\nns1 A 192.0.2.53\n")
        eventually(lambda: "serial 1 → 2" in edited.server.log, "it was not read")
        assert "WARNING" not in edited.server.log


def test_with_confirm_0_nothing_is_held(tmp_path: Path) -> None:
    with served(tmp_path, settings="confirm: 0s\n") as edited:
        edited.zone.write_text(ZONE.format(serial=2))
        eventually(serving(edited.address, 2), "it was not read")
        assert "would shrink" not in edited.server.log


# One edit is one reload


def rename(zones: Path) -> None:
    for path in (zones / "example.test.zone", zones / "example.test.yaml"):
        new = path.with_suffix(".new")
        new.write_text(path.read_text().replace("answers: 1", "answers: 2").replace('"1"', '"2"'))
        new.replace(path)


def rsync(zones: Path) -> None:
    """As rsync does, which also keeps the times of the original."""
    new = zones.parent / "new"
    shutil.copytree(zones, new)
    rename(new)
    for path in sorted(new.iterdir()):
        shutil.copy2(path, zones / f".{path.name}.Ab3dE5")
        (zones / f".{path.name}.Ab3dE5").rename(zones / path.name)


def git_checkout(zones: Path) -> None:
    subprocess.run(["git", "-C", str(zones), "checkout", "-q", "next"], check=True)


def prepare_git(zones: Path) -> None:
    def git(*words: str) -> None:
        me = ("-c", "user.name=me", "-c", "user.email=me@example.test")
        subprocess.run(["git", "-C", str(zones), *me, *words], check=True, capture_output=True)

    git("init", "-b", "main")
    git("add", ".")
    git("commit", "-m", "now")
    git("checkout", "-b", "next")
    rename(zones)
    git("commit", "-a", "-m", "next")
    git("checkout", "main")


def prepare_mount(zones: Path) -> None:
    """As a ConfigMap is mounted."""
    first, second = zones / "..first", zones / "..second"
    first.mkdir()
    for path in list(zones.glob("example.test.*")):
        path.rename(first / path.name)
        path.symlink_to(Path("..data") / path.name)
    shutil.copytree(first, second)
    rename(second)
    (zones / "..data").symlink_to("..first")


def mount_anew(zones: Path) -> None:
    (zones / "..new").symlink_to("..second")
    (zones / "..new").replace(zones / "..data")
    shutil.rmtree(zones / "..first")


@pytest.mark.parametrize(("prepare", "edit"), [
    (lambda zones: None, rename),
    (lambda zones: None, rsync),
    (prepare_git, git_checkout),
    (prepare_mount, mount_anew),
], ids=["an editor's rename", "rsync", "git checkout", "a ConfigMap"])  # fmt: skip
def test_an_edit_of_two_files_is_one(
    tmp_path: Path, prepare: Callable[[Path], None], edit: Callable[[Path], None]
) -> None:
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(ZONE.format(serial=1) + WWW)
    (zones / "example.test.yaml").write_text(POLICY)
    prepare(zones)
    port = free_port()
    address = Address("127.0.0.1", port)
    with started(tmp_path, *listening(port)) as server:
        assert len(ask(address, "www", "A")) == 1
        edit(zones)
        eventually(serving(address, 2), "the edit was not read")
        eventually(lambda: reloads(server) == 1, "it is not logged")
        assert len(ask(address, "www", "A")) == 2
        time.sleep(1.5)
        assert reloads(server) == 1


# Edits that come too early


SLOW_START = """\
import time
from pathlib import Path

import dnslb.config.directory

load = dnslb.config.directory.load

def slow(*arguments, **more):
    loaded = load(*arguments, **more)
    while Path({flag!r}).exists():
        Path({flag!r} + ".seen").touch()
        time.sleep(0.02)
    return loaded

dnslb.config.directory.load = slow
"""


def test_an_edit_during_a_long_start_is_noticed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook, flag = tmp_path / "hook", tmp_path / "loading"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(SLOW_START.format(flag=str(flag)))
    monkeypatch.setenv("PYTHONPATH", f"{hook}:{os.environ.get('PYTHONPATH', '')}")
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(ZONE.format(serial=1) + "$INCLUDE more.inc\n")
    (zones / "more.inc").write_text("c TXT one\n")
    flag.touch()

    def edit() -> None:
        eventually(Path(f"{flag}.seen").exists, "it does not start", 20)
        (zones / "more.inc").write_text("c TXT two\n")
        flag.unlink()

    editing = threading.Thread(target=edit)
    editing.start()
    port = free_port()
    with started(tmp_path, *listening(port)) as server:
        editing.join()
        eventually(lambda: ask(Address("127.0.0.1", port), "c") == ["two"], "the edit was not noticed")
        time.sleep(1.5)
        assert reloads(server) == 1


def test_an_include_that_an_edit_adds_is_watched(tmp_path: Path) -> None:
    with served(tmp_path, more="") as edited:
        (edited.zones / "more.inc").write_text("c TXT one\n")
        edited.zone.write_text(ZONE.format(serial=2) + "$INCLUDE more.inc\n")
        eventually(lambda: ask(edited.address, "c") == ["one"], "the edit was not read")
        time.sleep(1.5)
        assert reloads(edited.server) == 1
        (edited.zones / "more.inc").write_text("c TXT two\n")
        eventually(lambda: ask(edited.address, "c") == ["two"], "the edit of the included file was not noticed")
        time.sleep(1.5)
        assert reloads(edited.server) == 2


@pytest.mark.parametrize("before", [None, "c TXT\n"], ids=["missing", "wrong"])
def test_an_include_that_keeps_an_edit_from_being_read_is_watched(tmp_path: Path, before: str | None) -> None:
    with served(tmp_path, more="") as edited:
        if before is not None:
            (edited.zones / "more.inc").write_text(before)
        edited.zone.write_text(ZONE.format(serial=2) + "$INCLUDE more.inc\n")
        eventually(lambda: edited.server.log.count("not reloaded") == 1, "the edit was not refused")
        time.sleep(1.5)
        assert edited.server.log.count("not reloaded") == 1
        (edited.zones / "more.inc").write_text("c TXT one\n")
        eventually(lambda: ask(edited.address, "c") == ["one"], "the edit of the included file was not noticed")


# Reading


def read(directory: Path) -> reading.Reading:
    return asyncio.run(reading.read(directory, directory, frozenset(), 0.1))


def test_what_is_read_comes_back_whole(tmp_path: Path) -> None:
    zones = tmp_path / "zones"
    shutil.copytree("zones", zones)
    many = "".join(f"host{number} A 192.0.2.1\nsub{number} NS ns1\n" for number in range(1000))
    (zones / "many.test.zone").write_text(ZONE.format(serial=1) + many + "$INCLUDE more.inc\n")
    (zones / "more.inc").write_text("c TXT one\nc TXT one\n")
    found, (catalog, problems) = read(zones), directories.load(zones)
    assert found.problems == problems and problems
    assert found.catalog == catalog
    assert list(found.catalog.zones) == list(catalog.zones)
    many_test = next(zone for apex, zone in catalog.zones.items() if apex.startswith(b"\4many"))
    place = max(rrset.place for node in many_test.nodes.values() for rrset in node)
    assert found.catalog.zones[many_test.apex].places.locate(place) == many_test.places.locate(place)


def test_what_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pass that read half of an edit gives nothing."""
    zone = tmp_path / "example.test.zone"
    zone.write_text(ZONE.format(serial=1))
    load = directories.load

    def edited(directory: Path, files: config_files.Files, state: Path) -> Any:
        loaded = load(directory, files, state)
        if '"1"' in zone.read_text():
            zone.write_text(ZONE.format(serial=2))
        return loaded

    monkeypatch.setattr(directories, "load", edited)
    found = read(tmp_path).catalog
    assert [one.serial for one in found.zones.values()] == [2]
    assert found.fingerprint == config_files.fingerprint(str(tmp_path), found.sources)


def test_what_never_stops_changing_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = tmp_path / "example.test.zone"
    zone.write_text(ZONE.format(serial=1))
    load = directories.load

    def edited(directory: Path, files: config_files.Files, state: Path) -> Any:
        loaded = load(directory, files, state)
        zone.write_text(zone.read_text() + "; more\n")
        return loaded

    monkeypatch.setattr(directories, "load", edited)
    with pytest.raises(NotAnswered, match="the files go on changing while they are read"):
        read(tmp_path)


def test_no_thread_lives_when_a_worker_is_forked(tmp_path: Path) -> None:
    """Not even while a large zone is read: then a worker may die at any moment."""
    more = "".join(f"host{number} A 192.0.2.{number % 250}\n" for number in range(40_000))
    with served(tmp_path, more=more) as edited:
        most, tasks = 0, Path(f"/proc/{edited.server.parent}/task")
        edited.zone.write_text(ZONE.format(serial=2) + more)
        os.kill(edited.server.parent, signal.SIGHUP)
        until = time.monotonic() + 30.0
        while " reloaded " not in edited.server.log:
            most = max(most, len(list(tasks.iterdir())))
            assert time.monotonic() < until
        assert most == 1
