"""Files that are none, that have no end, that lead elsewhere: refused at once, whoever reads them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dnslb_server import DNSLB

from dnslb.config import directory as directories
from dnslb.system import file
from dnslb.text.problem import Problem

ZONE = """\
$TTL 300
@    SOA  ns1 hostmaster 1 3600 900 1209600 60
     NS   ns1
ns1  A    192.0.2.53
"""


def sparse(path: Path) -> None:
    with path.open("wb") as made:
        made.truncate(2 << 30)


SPECIAL: dict[str, tuple[Callable[[Path], object], str]] = {
    "a FIFO": (os.mkfifo, "this is no regular file"),
    "a link to /dev/zero": (lambda path: path.symlink_to("/dev/zero"), "this is no regular file"),
    "a link to a terminal": (lambda path: path.symlink_to("/dev/tty"), "this is no regular file"),
    "2 GB of nothing": (sparse, "it has more than "),
    "a directory": (Path.mkdir, "Is a directory"),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_only_a_regular_file_of_bounded_size_is_read(tmp_path: Path, kind: str) -> None:
    make, reason = SPECIAL[kind]
    make(tmp_path / "it")
    with pytest.raises(OSError) as caught:
        file.read(tmp_path / "it", file.MOST_ZONE)
    assert (caught.value.strerror or "").startswith(reason)


def test_a_file_may_be_as_large_as_is_said_and_no_larger(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.write_bytes(b"x" * 100_000)
    assert file.read(path, 100_000) == b"x" * 100_000
    with pytest.raises(OSError, match="it has more than 97 kB"):
        file.read(path, 99_999)
    assert file.read("/proc/self/status", 100_000).startswith(b"Name:")  # says that it is empty
    with pytest.raises(OSError, match="it has more than 0 kB"):
        file.read("/proc/self/status", 10)


def test_a_file_that_grows_while_it_is_read_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.touch()
    over = threading.Event()

    def grow() -> None:
        with path.open("ab") as growing:
            for _ in range(300):
                growing.write(b"x" * (1 << 20))
                if over.is_set():
                    return

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        while path.stat().st_size < 8 << 20:
            pass
        with pytest.raises(OSError, match="it has more than 4 MB"):
            file.read(path, 4 << 20)
    finally:
        over.set()
        writer.join()


def problems(directory: Path) -> list[Problem]:
    return directories.load(directory)[1]


@pytest.fixture
def zones(tmp_path: Path) -> Path:
    directory = tmp_path / "zones"
    directory.mkdir()
    (directory / "example.test.zone").write_text(ZONE)
    return directory


@pytest.mark.parametrize("kind", SPECIAL)
def test_check_refuses_it_at_once(zones: Path, kind: str) -> None:
    make, reason = SPECIAL[kind]
    (zones / "including.test.zone").write_text(ZONE + "$INCLUDE included\n")
    names = ("other.test.zone", "example.test.yaml", "dnslb.yaml", "included")
    for name in names:
        make(zones / name)
    done = subprocess.run([*DNSLB, "check", str(zones)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    for name in names:
        outside = name == "included" and kind.startswith("a link")
        fact = f"it is outside {zones}" if outside else reason
        assert any(f"{zones / name}" in line and fact in line for line in done.stderr.splitlines()), name


def test_what_is_included_counts_as_often_as_it_is(zones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnslb.dns.master.inclusion.MOST_ZONE", 1 << 20)
    (zones / "twice").write_text("; " + "x" * (600 << 10) + "\n")
    (zones / "example.test.zone").write_text(ZONE + "$INCLUDE twice\n$INCLUDE twice\n")
    assert [str(one) for one in problems(zones)] == [
        f"{zones}/example.test.zone:6:10: more than 1 MB with all that is included; split the zone"
    ]


# Where a zone may include from


def test_an_include_stays_within_the_directory(zones: Path) -> None:
    outside = zones.parent / "secret"
    outside.write_text("root:$6$hash:19000\n")
    for target in ("../secret", str(outside), "link"):
        (zones / "link").unlink(missing_ok=True)
        (zones / "link").symlink_to(outside)
        (zones / "example.test.zone").write_text(ZONE + f"$INCLUDE {target}\n")
        (problem,) = problems(zones)
        assert f"cannot be read: it is outside {zones}, and not in include_from of dnslb.yaml" in str(problem)
        assert "hash" not in str(problem)


@pytest.mark.parametrize("allowed", ["{parent}", "[/nonexistent, {parent}/shared]", "/"])
def test_a_setting_lets_it_out(zones: Path, allowed: str) -> None:
    shared = zones.parent / "shared"
    shared.mkdir()
    (shared / "a").write_text("a A 192.0.2.1\n")
    (zones / "dnslb.yaml").write_text(f"include_from: {allowed.format(parent=zones.parent)}\n")
    (zones / "example.test.zone").write_text(ZONE + "$INCLUDE ../shared/a\n")
    assert problems(zones) == []
    (zones / "dnslb.yaml").write_text("include_from: [shared]\n")
    assert "shared is no absolute path; begin it with /" in str(problems(zones)[0])


def test_the_links_of_a_configmap_stay_within(tmp_path: Path) -> None:
    """As Kubernetes mounts one: every file is a link through ..data, which is a link itself."""
    mounted = tmp_path / "mounted"
    (mounted / "..2026_11_21").mkdir(parents=True)
    (mounted / "..data").symlink_to("..2026_11_21")
    for name, text in (("example.test.zone", ZONE + "$INCLUDE hosts.inc\n"), ("hosts.inc", "a A 192.0.2.1\n")):
        (mounted / "..data" / name).write_text(text)
        (mounted / name).symlink_to(f"..data/{name}")
    (tmp_path / "zones").symlink_to(mounted)
    for directory in (mounted, tmp_path / "zones"):
        assert problems(directory) == []


# What is said of files


def test_a_files_name_cannot_make_lines_of_its_own(zones: Path) -> None:
    for name in ("a\nERROR b.zone", "c\x1b[2Jd.yaml", "e\u2028f.yml"):
        (zones / name).write_text("")
    done = subprocess.run([*DNSLB, "check", str(zones)], capture_output=True, text=True, timeout=30, check=False)
    lines = done.stderr.splitlines()
    assert len(lines) > 3
    assert all(line.startswith(f"{zones}/") for line in lines[:-1])
    assert "\x1b" not in done.stderr


def test_of_very_many_mistakes_in_a_policy_a_thousand_are_listed(zones: Path) -> None:
    (zones / "example.test.yaml").write_text("".join(f"wrong{number}: 1\n" for number in range(1500)))
    told = [str(problem) for problem in problems(zones)]
    assert len(told) == 1001
    assert told[-1] == f"{zones}/example.test.yaml: warning: 500 more mistakes are not listed; mend those above first"


def test_check_ends_by_ctrl_c_while_it_reads(tmp_path: Path) -> None:
    directory = tmp_path / "zones"
    directory.mkdir()
    (directory / "example.test.zone").write_text(ZONE + "$GENERATE 1-1000000 a$ A 192.0.2.1\n")
    for signalled in (signal.SIGINT, signal.SIGTERM):
        with subprocess.Popen([*DNSLB, "check", str(directory)], stdout=subprocess.PIPE) as checking:
            with pytest.raises(subprocess.TimeoutExpired):
                checking.wait(1.0)
            checking.send_signal(signalled)
            assert checking.wait(5.0) != 0


@pytest.mark.parametrize("octets", [
    b"\0" * (2 << 20), b"a" * (2 << 20), b"a\n" * (1 << 20), b"a TXT (\n" + b"b\n" * (1 << 20) + b")\n",
], ids=["zeroes", "one word", "lines", "one entry"])  # fmt: skip
def test_what_is_no_zone_is_refused_in_bounded_time_and_memory(zones: Path, octets: bytes) -> None:
    (zones / "example.test.zone").write_bytes(octets)
    before = time.process_time()
    told = problems(zones)
    assert 0 < len(told) < 1005
    assert time.process_time() - before < 2.0  # of twenty times as many octets it took minutes
