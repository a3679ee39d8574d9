"""``dnslb import``: what BIND and HAProxy are told, as a directory that passes ``check``; nothing is lost silently."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from dnslb.cli import main
from dnslb.config.directory import load
from dnslb.dns import name
from dnslb.migrate import haproxy, named_conf
from dnslb.migrate.imported import Imported, Unreadable
from dnslb.text.problem import has_errors
from dnslb.text.statements import NotStatements, Statement, parse

_WITHIN = ("include", "options", "view", "channel", "category", "type", "file")
MIGRATE = Path(__file__).parent / "migrate"


def imported(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["import", *arguments], prog_name="dnslb")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def read_conf(tmp_path: Path, text: str) -> Imported:
    (tmp_path / "named.conf").write_text(text)
    return named_conf.read(tmp_path / "named.conf", lambda path: Path(path).read_bytes())


def pools(cfg: str) -> dict[str, dict[str, object]]:
    outcome = haproxy.read(cfg, "haproxy.cfg", "example.com")
    found = yaml.safe_load(outcome.files["example.com.yaml"])["pools"]
    assert isinstance(found, dict)
    return found


# named.conf


def test_a_named_conf_becomes_a_directory_that_passes_check(tmp_path: Path) -> None:
    status, said = imported(str(MIGRATE / "bind/named.conf"), str(tmp_path / "zones"))
    assert status == 0, said
    catalog, problems = load(tmp_path / "zones")
    assert not has_errors(problems)
    assert sorted(map(name.text, catalog.zones)) == [
        "0/25.2.0.192.in-addr.arpa.", "2.0.192.in-addr.arpa.", "example.com.", "example.net.",
    ]  # fmt: skip
    zone = catalog.zones[name.parse("example.com.", name.ROOT)]
    assert {"printer.example.com.", "printer.office.example.com."} <= set(map(name.text, zone.nodes))
    assert [(str(one.address), one.port) for one in catalog.settings.listen] == [("127.0.0.1", 5300), ("::1", 5300)]
    assert catalog.settings.server_id == "ns1"
    assert (tmp_path / "zones/import.txt").read_text().splitlines() == said.partition("\n\nmade")[0].splitlines()


def test_every_statement_of_a_named_conf_is_in_the_report(tmp_path: Path) -> None:
    shutil.copytree(MIGRATE / "bind", tmp_path / "bind")
    _, said = imported(str(tmp_path / "bind/named.conf"), str(tmp_path / "zones"))
    for file in ("named.conf", "named.conf.local", "named.conf.options"):
        text = re.sub(r"(?s)/\*.*?\*/|//[^\n]*|#[^\n]*", "", (tmp_path / "bind" / file).read_text())
        for number, line in enumerate(text.splitlines(), 1):
            first = line.split()[:1]
            # What stands within an own block is told of with the statement around it.
            if re.match(r"(    )?[a-z]", line) and first[0] not in _WITHIN:
                assert f"{file}:{number} " in said, line


@pytest.mark.parametrize(("zone", "file"), [
    ("0/25.2.0.192.in-addr.arpa", "0-25.2.0.192.in-addr.arpa.zone"),
    (".".join(["a" * 63] * 3 + ["b" * 60]), f"{'.'.join(['a' * 63] * 3)}.{'b' * 48}.zone"),
    (".", "root.zone"),
])  # fmt: skip
def test_a_zone_that_no_file_can_be_called_after_is_named_in_the_settings(tmp_path: Path, zone: str, file: str) -> None:
    (tmp_path / "db").write_text("$TTL 60\n@ SOA a. b. 1 1 1 1 1\n@ NS ns.example.net.\n")
    (tmp_path / "named.conf").write_text(f'zone "{zone}" {{ type master; file "db"; }};')
    status, said = imported(str(tmp_path / "named.conf"), str(tmp_path / "zones"))
    assert status == 0, said
    catalog, _ = load(tmp_path / "zones")
    assert list(catalog.zones) == [name.parse(zone.rstrip(".") + ".", name.ROOT)]
    assert (tmp_path / "zones" / file).exists()


def test_a_file_that_a_zone_needs_another_has_already() -> None:
    outcome = Imported()
    files = [outcome.add_zone(zone, b"") for zone in ("0/1.test", "0-1.test", "0/1.TEST")]
    assert files == ["0-1.test.zone", "0-1.test-2.zone", "0-1.TEST.zone"]
    assert outcome.named == {"0/1.test": files[0], "0-1.test": files[1], "0/1.TEST": files[2]}


def test_include_keeps_its_origin_and_twins_keep_apart(tmp_path: Path) -> None:
    for directory, address in (("a", 1), ("b", 2)):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "hosts").write_text(f"h{address} A 192.0.2.{address}\n")
    zone = "$TTL 60\n@ SOA a b 1 1 1 1 1\n NS ns.example.net.\n$include a/hosts x ; one\n$INCLUDE \"b/hosts\"\n"
    (tmp_path / "db").write_text(zone)
    outcome = read_conf(tmp_path, 'zone "z.test" { type master; file "db"; };')
    expected = zone.replace("a/hosts", '"hosts.inc"').replace('"b/hosts"', '"hosts-2.inc"')
    assert outcome.files["z.test.zone"].decode() == expected
    assert outcome.files["hosts-2.inc"] == b"h2 A 192.0.2.2\n"


@pytest.mark.parametrize(("text", "says"), [
    ("zone \"a\" {", "named.conf:1: the { is never closed"),
    ("};", "named.conf:1: a } without its {"),
    ("options {\n  recursion no\n};", "named.conf:2: recursion no is not ended"),
    ("/* for ever", "named.conf:1: a comment or a quote is never closed"),
    ('zone "a', "named.conf:1: a comment or a quote is never closed"),
    ('include "named.conf";', "includes go on without end"),
    ('include "nowhere";', "nowhere cannot be read: No such file"),
    ("{" * 100, "nested more than 16 deep"),
])  # fmt: skip
def test_a_named_conf_that_cannot_be_understood(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Unreadable, match=re.escape(says)):
        read_conf(tmp_path, text)


def test_a_zone_that_includes_itself_is_left_and_said(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("$INCLUDE db\n")
    outcome = read_conf(tmp_path, 'zone "z.test" { type master; file "db"; };')
    assert [remark.said for remark in outcome.remarks] == [
        "$INCLUDE goes on without end; remove the one that closes the loop"
    ]


def test_signs_within_quotes_and_comments_are_no_signs() -> None:
    text = 'a "x; } {" /* ; */ b; // }\n# {\nc/d { };'
    assert parse(text, "f") == [
        Statement("f:1", ("a", "x; } {", "b")), Statement("f:3", ("c/d",), ())
    ]  # fmt: skip


@given(st.text(alphabet='az09 "{};/*#\n\\:.-'))
def test_any_text_is_a_named_conf_or_is_refused(text: str) -> None:
    try:
        parse(text, "f")
    except NotStatements as refused:
        assert str(refused).startswith("f:")


# haproxy.cfg


def test_a_haproxy_cfg_becomes_a_directory_that_passes_check(tmp_path: Path) -> None:
    status, said = imported(str(MIGRATE / "haproxy.cfg"), str(tmp_path / "zones"), "--zone", "example.com")
    assert status == 0, said
    catalog, problems = load(tmp_path / "zones")
    assert not has_errors(problems)
    assert {name.text(owner).partition(".")[0] for owner in catalog.pools} == {"api", "mysql", "web-servers"}


def test_every_line_of_a_haproxy_cfg_is_in_the_report(tmp_path: Path) -> None:
    _, said = imported(str(MIGRATE / "haproxy.cfg"), str(tmp_path / "zones"), "--zone", "example.com")
    for number, line in enumerate((MIGRATE / "haproxy.cfg").read_text().splitlines(), 1):
        if line.strip() and line[0] == " ":
            assert f"haproxy.cfg:{number} " in said, line


@pytest.mark.parametrize(("lines", "expected"), [
    ("server a 127.0.1.1:80 check\nserver b 127.0.1.2:80 check",
     {"probe": {"tcp": 80, "interval": "2s", "timeout": "2s", "fall": 3, "rise": 2}}),
    ("option httpchk\nserver a 127.0.1.1:80 check inter 500 fastinter 1s downinter 1m fall 5 rise 1",
     {"probe": {"http": "/", "port": 80, "expect": ["200-399"], "interval": "500ms", "fast_interval": "1s",
                "down_interval": "60s", "timeout": "0.5s", "fall": 5, "rise": 1}}),
    ("option httpchk HEAD /x\nserver a 127.0.1.1:443 check ssl verify none",
     {"probe": {"https": "/x", "port": 443, "method": "HEAD", "verify": False, "expect": ["200-399"], "interval": "2s",
                "timeout": "2s", "fall": 3, "rise": 2}}),
    ("balance source\nserver a 127.0.1.1:80\nserver b 127.0.1.2:80", {"order": "sticky", "answers": 1}),
    ("server a 127.0.1.1:80 weight 256\nserver b 127.0.1.2:80 backup",
     {"backends": {"127.0.1.1": {"weight": 256}, "127.0.1.2": {"backup": True}}, "answers": 1}),
    ("server a 127.0.1.1:80 slowstart 30s\nserver b ipv6@[::1]:80", {"slowstart": "30s"}),
    ("server a 127.0.1.1:80 check agent-check agent-port 8888\nserver b 127.0.1.2:80 check",
     {"probe": {"tcp": 80, "interval": "2s", "timeout": "2s", "fall": 3, "rise": 2,
                "load": {"agent": 8888, "interval": "2s"}}, "answers": 1}),
    ("default-server check addr 127.0.1.9 port 8\nserver a 127.0.1.1:80\nserver b 127.0.1.2",
     {"probe": {"tcp": 8, "interval": "2s", "timeout": "2s", "fall": 3, "rise": 2},
      "backends": {"127.0.1.1": {"probe_address": "127.0.1.9"}, "127.0.1.2": {"probe_address": "127.0.1.9"}}}),
])  # fmt: skip
def test_a_backend_becomes_a_pool(lines: str, expected: dict[str, object]) -> None:
    assert pools(f"backend w\n  {lines.replace(chr(10), chr(10) + '  ')}\n") == {"w": expected}


@pytest.mark.parametrize(("cfg", "says"), [
    ("", "there is no backend with a server"),
    ("frontend x\n bind :80\n", "there is no backend with a server"),
    ("server a 127.0.1.1:80\n", "haproxy.cfg:1: server stands before the first section"),
    ("backend w\n server a\n", "haproxy.cfg:2: a server without an address"),
    ("backend w\n server a 127.0.1.1:80 check inter soon\n", "haproxy.cfg:2: soon is no time"),
    ("backend w\n server a 127.0.1.1:80 weight heavy\n", "haproxy.cfg:2: heavy is no number"),
    ("backend w\n timeout check 1y\n server a 127.0.1.1:80\n", "haproxy.cfg:2: 1y is no time"),
    ("backend w\n acl x hdr \"y\n", "haproxy.cfg:2: a quote is never closed"),
])  # fmt: skip
def test_a_haproxy_cfg_that_cannot_be_understood(cfg: str, says: str) -> None:
    with pytest.raises(Unreadable, match=re.escape(says)):
        haproxy.read(cfg, "haproxy.cfg", "example.com")


_WORDS = st.sampled_from([
    "server", "backend", "listen", "defaults", "option", "httpchk", "a", "127.0.1.1:80", "[::1]", "check", "inter",
    "2s", "balance", "source", "weight", "3", "backup", "timeout", "http-check", "expect", "status", "200", "'", "x:1",
    "default-server", "port", "addr", "from", ".if", "hdr", "send", "99999999999:9", "\n", "\n ",
])  # fmt: skip


@given(st.lists(_WORDS).map(" ".join))
def test_any_lines_are_a_haproxy_cfg_or_are_refused(cfg: str) -> None:
    try:
        outcome = haproxy.read(cfg, "f", "example.com")
    except Unreadable:
        return
    assert set(outcome.files) == {"example.com.zone", "example.com.yaml"}


# The command


@pytest.mark.parametrize(("arguments", "status", "says"), [
    (("nowhere.conf",), 1, "Error: nowhere.conf cannot be read: No such file or directory; give a file that can"),
    (("nowhere.cfg", "--zone", "a.test"), 1, "Error: nowhere.cfg cannot be read: No such file or directory"),
    ((str(MIGRATE / "haproxy.cfg"),), 2, "--zone is to be given once"),
    (("192.0.2.53",), 2, "--zone is missing; name the zones that shall be fetched"),
    (("ns1.example.com", "--from", "primary"), 2, "ns1.example.com is no address; write it as 192.0.2.53"),
    (("192.0.2.53", "--zone", "a..b"), 2, "an empty label; remove the extra dot"),
    (("192.0.2.53", "--zone", "a", "--key", "none"), 1, "the key none cannot be read: No such file or directory"),
    (("127.0.0.1:1", "--zone", "a.test"), 1, "zone a.test: connection refused; it must answer here"),
    ((str(MIGRATE / "haproxy.cfg"), "--zone", "a..b"), 2, "an empty label"),
    ((str(MIGRATE / "bind/named.conf"), "full"), 1, "Error: full is not empty; give a new directory"),
    ((str(MIGRATE / "bind/named.conf.options"),), 1, "has no zone that could be taken; nothing was made"),
])  # fmt: skip
def test_what_is_typed_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], status: int, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a").write_text("mine")
    got, said = imported(*arguments)
    assert (got, says in said) == (status, True), said
    assert not (tmp_path / "zones").exists()
    assert (tmp_path / "full/a").read_text() == "mine"
