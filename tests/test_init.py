"""``dnslb init``: from nothing to a zone that is served."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import dns.message
import dns.query
import pytest
from click.testing import CliRunner
from dnslb_server import DNSLB, serving
from programs import program

from dnslb.cli import main

_SERVERS = ("--address", "127.0.1.11", "--address", "::1")


def init(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["init", *arguments], prog_name="dnslb")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_first_zone_passes_check_and_says_what_to_do_next(empty: Path) -> None:
    assert init("--zone", "Example.com.", *_SERVERS) == (0, (
        "made zones/example.com.zone\nmade zones/example.com.yaml\nmade zones/dnslb.yaml\n"
        "\nnext: dnslb serve zones\n      dig @127.0.0.1 -p 5300 www.example.com\n"
    ))  # fmt: skip
    checked = CliRunner().invoke(main, ["check"])
    assert (checked.exit_code, checked.stderr) == (0, "")
    assert "2: 127.0.1.11, ::1" in checked.stdout


@pytest.mark.parametrize(("checker", "package"), [
    (["named-checkzone", "example.com"], "bind9-utils"),
    (["nsd-checkzone", "example.com"], "nsd"),
    (["kzonecheck", "-o", "example.com"], "knot-dnssecutils"),
])  # fmt: skip
def test_others_load_the_zone_too(empty: Path, checker: list[str], package: str) -> None:
    init("--zone", "example.com", *_SERVERS)
    path = program(checker[0], package)
    done = subprocess.run([path, *checker[1:], "zones/example.com.zone"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("options", "asked", "kept"), [
    (("--path", "/healthz"), "www.example.com", "http: /healthz"),
    (("--path", "/a?b=c&d='e'"), "www.example.com", "http: /a?b=c&d='e'"),
    (("--name", "@"), "example.com", "'@':"),
    (("--name", "*.api"), "*.api.example.com", "'*.api':"),
    (("--name", "on"), "on.example.com", "'on':"),
    (("--nameserver", "2001:db8::1"), "www.example.com", "tcp: 80"),
    (("--port", "443"), "www.example.com", "tcp: 443"),
])  # fmt: skip
def test_options_are_found_in_the_files(empty: Path, options: tuple[str, ...], asked: str, kept: str) -> None:
    status, said = init("z", "--zone", "example.com", *_SERVERS, *options)
    assert (status, said.splitlines()[-1].split()[-1]) == (0, asked)
    assert kept in (empty / "z/example.com.yaml").read_text()


def test_what_was_made_is_served(empty: Path) -> None:
    # One address, and a port on which nobody listens: it fails open, and nothing but loopback is probed.
    init("--zone", "example.com", "--address", "127.0.1.11", "--address", "127.0.1.12", "--port", "9")
    with serving(empty / "zones", empty) as (address, _):
        reply = dns.query.udp(dns.message.make_query("www.example.com", "A"), address.host, 5, address.port)
    assert {rdata.address for rdata in reply.answer[0]} == {"127.0.1.11", "127.0.1.12"}


def test_no_file_is_overwritten(empty: Path) -> None:
    init("--zone", "example.com", *_SERVERS)
    files = {path: path.read_bytes() for path in (empty / "zones").iterdir()}
    status, said = init("--zone", "example.com", "--address", "127.0.1.13")
    assert status == 1
    assert "there is zones/example.com.zone and zones/example.com.yaml already; nothing was made" in said
    assert {path: path.read_bytes() for path in (empty / "zones").iterdir()} == files


def test_a_second_zone_keeps_the_settings(empty: Path) -> None:
    init("--zone", "example.com", *_SERVERS)
    (empty / "zones/dnslb.yaml").write_text("listen: 127.0.0.1:5400\n")
    status, said = init("--zone", "example.net", *_SERVERS)
    assert (status, said) == (0, (
        "made zones/example.net.zone\nmade zones/example.net.yaml\n"
        "\nnext: dnslb serve zones\n      dig @127.0.0.1 -p 5400 www.example.net\n"
    ))  # fmt: skip


def test_what_check_refuses_leaves_nothing(empty: Path) -> None:
    status, said = init("--zone", "example.com", *_SERVERS, "--path", "/a b")
    assert status == 1
    assert "zones/example.com.yaml:6:" in said
    assert list((empty / "zones").iterdir()) == []


def test_what_cannot_be_written_leaves_nothing(empty: Path) -> None:
    (empty / "zones").write_text("a file")
    status, said = init("--zone", "example.com", *_SERVERS)
    assert (status, said) == (1, "Error: zones cannot be written: File exists\n")


@pytest.mark.parametrize(("arguments", "says"), [
    ((), "--zone is missing; give it, or run the command on a terminal, where it asks"),
    (("--zone", "example.com"), "--address is missing"),
    (("--zone", "a..b", *_SERVERS), "Invalid value for --zone: the name a..b. has an empty label"),
    (("--zone", "a/b", *_SERVERS), "has other signs than letters"),
    (("--zone", "", *_SERVERS), "cannot be the name of a zone's file"),
    (("--zone", "x y", *_SERVERS), "has other signs than letters"),
    (("--zone", "é.com", *_SERVERS), "is not ASCII; write its A-labels"),
    (("--zone", "a" * 64, *_SERVERS), "a label of 64 octets"),
    (("--zone", "example.com", "--address", "127.0.1"), "'127.0.1' is no address"),
    (("--zone", "example.com", "--address", ""), "Invalid value for --address: give one address at least"),
    (("--zone", "example.com", *_SERVERS, *_SERVERS), "an address is given twice"),
    (("--zone", "example.com", *_SERVERS, "--path", "x"), "'x' is no path; begin it with a slash"),
    (("--zone", "example.com", *_SERVERS, "--port", "0"), "0 is not in the range"),
])  # fmt: skip
def test_what_is_typed_wrong_is_said(empty: Path, arguments: tuple[str, ...], says: str) -> None:
    status, said = init(*arguments)
    assert status == 2
    assert says in said
    assert not (empty / "zones").exists()


def test_on_a_terminal_it_asks_for_what_is_missing_again_and_again(empty: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"a..b\nexample.com\nnone\n127.0.1.11, 127.0.1.12\n")
        done = subprocess.run([*DNSLB, "init"], stdin=theirs, capture_output=True, text=True, timeout=20, check=False)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0, done.stderr
    assert "an empty label" in done.stdout + done.stderr
    assert "127.0.1.12" in (empty / "zones/example.com.zone").read_text()


def test_check_beside_a_named_conf_points_to_import(empty: Path) -> None:
    (empty / "named.conf").write_text("")
    done = CliRunner().invoke(main, ["check", "."])
    assert done.stderr == ".: there is no *.zone file here; dnslb import named.conf makes them from what BIND serves\n"
