"""The command line by its exact output: check, lookup, the help, and all the reasons for which serve refuses."""

from __future__ import annotations

import os
import pwd
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import dns.edns
import dns.message
import dns.query
import dns.rdataclass
import pytest
from click import Context
from click.testing import CliRunner
from dnslb_server import DNSLB, ZONE, launched, started
from peers import STARTING, Address, free_port, is_served
from programs import program

from dnslb.cli import main

SAMPLE_ZONES = Path(__file__).parent.parent / "zones"
GOOD = "$TTL 300\n@ SOA ns1 hostmaster 7 3600 900 1209600 60\n@ NS ns1\nns1 A 192.0.2.53\n"
NO_ZONE = "zones: there is no *.zone file here; write one, such as example.com.zone; dnslb init zones does\n"
BROKEN = GOOD + "www A 192.0.2.300\nftp CNAME www\nftp A 192.0.2.1\nmail FOO 1\n"
BROKEN_SAYS = """\
zones/broken.test.zone:5:7: 192.0.2.300 is no IPv4 address; write four numbers from 0 to 255, as in 192.0.2.1
zones/broken.test.zone:7:5: ftp.broken.test. has CNAME and A; a CNAME must be alone (RFC 1034 §3.6.2)
zones/broken.test.zone:8:6: FOO is no TTL, class or type; write owner, TTL, class, type and data; or TYPEnnn
"""
UNEQUAL = GOOD + "www 30 A 192.0.2.1\nwww 60 A 192.0.2.2\n"
UNEQUAL_SAYS = (
    "zones/unequal.test.zone:6:5: warning: www.unequal.test. has A records of TTL 30 and 60; "
    "give them one TTL; the lowest, at most 30, is used (RFC 2181 §5.2)\n"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    status: int
    stdout: str
    stderr: str


def run(*arguments: str) -> Outcome:
    """The command in this process, as if its working directory were the test's."""
    result = CliRunner().invoke(main, arguments, prog_name="dnslb")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def serve(*arguments: str, timeout: float = STARTING) -> Outcome:
    """``dnslb serve``, which must refuse, and so end by itself."""
    with TemporaryDirectory() as directory:
        command = [*DNSLB, "serve", *arguments, "--control", f"{directory}/control"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def zones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory ``zones`` in the working directory."""
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "zones"
    directory.mkdir()
    return directory


# check


@pytest.mark.parametrize(("files", "outcome"), [
    ({"good.test.zone": GOOD}, Outcome(0, "good.test.  serial 7, 3 records, 2 names\n", "")),
    ({"good.test.zone": GOOD, "a.zone": GOOD}, Outcome(
        0, "a.          serial 7, 3 records, 2 names\ngood.test.  serial 7, 3 records, 2 names\n", ""
    )),
    ({"unequal.test.zone": UNEQUAL}, Outcome(0, "unequal.test.  serial 7, 5 records, 3 names\n", UNEQUAL_SAYS)),
    ({"broken.test.zone": BROKEN, "good.test.zone": GOOD}, Outcome(
        1, "good.test.  serial 7, 3 records, 2 names\n", f"{BROKEN_SAYS}3 errors, 0 warnings\n"
    )),
    ({"broken.test.zone": BROKEN, "unequal.test.zone": UNEQUAL, "dnslb.yaml": "worker: 2\n"}, Outcome(
        1,
        "unequal.test.  serial 7, 5 records, 3 names\n",
        "zones/dnslb.yaml:1:1: the file has no key worker; did you mean workers?\n"
        f"{BROKEN_SAYS}{UNEQUAL_SAYS}4 errors, 1 warning\n",
    )),
    ({"good.test.zone": GOOD, "good.test.yml": "pools: {}\n"}, Outcome(
        0,
        "good.test.  serial 7, 3 records, 2 names\n",
        "zones/good.test.yml: warning: the file is not read; rename it to good.test.yaml\n",
    )),
    ({}, Outcome(1, "", NO_ZONE)),
    ({"example.com": GOOD, "example.com.zone.bak": GOOD}, Outcome(1, "", NO_ZONE)),
    ({"a..b.zone": GOOD}, Outcome(
        1, "", "zones/a..b.zone: the name a..b. has an empty label; name the file after its zone: example.com.zone\n"
    )),
    ({"Good.test.zone": GOOD, "good.test.zone": GOOD}, Outcome(
        1,
        "good.test.  serial 7, 3 records, 2 names\n",
        "zones/good.test.zone: zones/Good.test.zone is the same zone; remove one of the two files\n",
    )),
    ({"good.test.zone": GOOD, "Good.test.yaml": "pools: {}\n", "good.test.yaml": "pools: {}\n"}, Outcome(
        1,
        "good.test.  serial 7, 3 records, 2 names\n",
        "zones/good.test.yaml: zones/Good.test.yaml is for the same zone; remove one of the two files\n",
    )),
    ({
        "test.zone": GOOD + "www.good A 192.0.2.9\n", "good.test.zone": GOOD, "test.yaml": "pools: {www.good: {}}\n",
    }, Outcome(
        1,
        "good.test.  serial 7, 3 records, 2 names\ntest.       serial 7, 4 records, 3 names\n",
        "zones/test.yaml:1:9: www.good.test. is answered for by the zone good.test.; "
        "move it to the policy file of that zone\n",
    )),
])  # fmt: skip
def test_check(zones: Path, files: dict[str, str], outcome: Outcome) -> None:
    for name, text in files.items():
        (zones / name).write_text(text)
    assert run("check") == outcome


def test_check_of_the_sample_zones_finds_nothing_wrong() -> None:
    outcome = run("check", str(SAMPLE_ZONES))
    assert (outcome.status, outcome.stderr) == (0, "")
    zones, pools = outcome.stdout.split("\n\n", 1)
    assert len(zones.splitlines()) == len(list(SAMPLE_ZONES.glob("*.zone")))
    assert pools.startswith("www.example.net.\n  backends  3: ")


def test_check_of_a_file_instead_of_a_directory(zones: Path) -> None:
    (zones / "x.zone").write_text(GOOD)
    assert run("check", "zones/x.zone") == Outcome(
        1, "", "zones/x.zone: this is no directory; give the one that holds your *.zone files\n"
    )


def test_check_of_a_directory_that_has_a_zones_name(zones: Path) -> None:
    (zones / "x.zone").mkdir()
    assert run("check") == Outcome(1, "", "zones/x.zone: cannot be read: Is a directory; give a file that can\n")


# lookup

HEADER = """\
;; ->>HEADER<<- opcode: QUERY, status: {}
;; flags: qr{}; QUERY: 1, ANSWER: {}, AUTHORITY: {}, ADDITIONAL: {}

"""
SOA = """
;; AUTHORITY SECTION:
example.com.            60      IN      SOA     ns1.example.com. hostmaster.example.com. 2026112001 3600 900 1209600 60
"""


@pytest.mark.parametrize(("arguments", "printed"), [
    ("db-ro.example.com", HEADER.format("NOERROR", " aa", 3, 0, 0) + """\
;; QUESTION SECTION:
;db-ro.example.com.             IN      A

;; ANSWER SECTION:
db-ro.example.com.      30      IN      A       192.0.2.41
db-ro.example.com.      30      IN      A       192.0.2.42
db-ro.example.com.      30      IN      A       192.0.2.43
"""),
    ("NS1.Example.com. aaaa", HEADER.format("NOERROR", " aa", 1, 0, 0) + """\
;; QUESTION SECTION:
;NS1.Example.com.               IN      AAAA

;; ANSWER SECTION:
ns1.example.com.        300     IN      AAAA    2001:db8::1
"""),
    ("img.example.com MX", HEADER.format("NOERROR", " aa", 0, 1, 0) + """\
;; QUESTION SECTION:
;img.example.com.               IN      MX
""" + SOA),
    ("nope.example.com A", HEADER.format("NXDOMAIN", " aa", 0, 1, 0) + """\
;; QUESTION SECTION:
;nope.example.com.              IN      A
""" + SOA),
    ("static.example.com A", HEADER.format("NOERROR", " aa", 3, 0, 0) + """\
;; QUESTION SECTION:
;static.example.com.            IN      A

;; ANSWER SECTION:
static.example.com.     300     IN      CNAME   img.example.com.
img.example.com.        30      IN      A       192.0.2.21
img.example.com.        30      IN      A       192.0.2.22
"""),
    ("host.office.example.com", HEADER.format("NOERROR", "", 0, 1, 1) + """\
;; QUESTION SECTION:
;host.office.example.com.         IN      A

;; AUTHORITY SECTION:
office.example.com.     300     IN      NS      ns.office.example.com.

;; ADDITIONAL SECTION:
ns.office.example.com.  300     IN      A       203.0.113.1
"""),
    ("example.org", HEADER.format("REFUSED", "", 0, 0, 0) + """\
;; QUESTION SECTION:
;example.org.                   IN      A
"""),
    ("example.com AXFR", HEADER.format("REFUSED", "", 0, 0, 0) + """\
;; QUESTION SECTION:
;example.com.                   IN      AXFR
"""),
    ("img.example.com TYPE65280", HEADER.format("NOERROR", " aa", 0, 1, 0) + """\
;; QUESTION SECTION:
;img.example.com.               IN      TYPE65280
""" + SOA),
])  # fmt: skip
def test_lookup(arguments: str, printed: str) -> None:
    outcome = run("lookup", *arguments.split(), str(SAMPLE_ZONES))
    assert outcome == Outcome(0, printed, "")


@pytest.mark.parametrize(("arguments", "error"), [
    (("www.example.com", "FOO"), "FOO is no record type; write A, AAAA, MX … or TYPE65280"),
    (("www.example.com", "TYPE65536"), "TYPE65536 is no record type; write A, AAAA, MX … or TYPE65280"),
    (("a..b",), "the name a..b has an empty label; remove the extra dot"),
    (("café.example.com",), "the name is not ASCII; write its A-labels (xn--…), or its octets as \\DDD"),
    (("\udcff",), "the name is not ASCII; write its A-labels (xn--…), or its octets as \\DDD"),
    ((), "Missing argument 'NAME'."),
    (("www.example.com", "--client", "10.0.0"), "10.0.0 is no address; write an IPv4 or IPv6 address"),
])  # fmt: skip
def test_lookup_of_what_cannot_be_asked(arguments: tuple[str, ...], error: str) -> None:
    usage = "Usage: dnslb lookup [OPTIONS] NAME [TYPE] [DIRECTORY]\nTry 'dnslb lookup --help' for help.\n\n"
    assert run("lookup", *arguments, "--zones", str(SAMPLE_ZONES)) == Outcome(2, "", f"{usage}Error: {error}\n")


def test_lookup_of_a_pool_shows_what_it_serves_at_rest(zones: Path) -> None:
    addresses = "".join(f"www A 192.0.2.{host}\n" for host in range(1, 5))
    (zones / "pools.test.zone").write_text(f"{GOOD}{addresses}alias CNAME www\n")
    (zones / "pools.test.yaml").write_text("""\
pools:
  www:
    probe: {tcp: 80, interval: 5s, timeout: 2s}
    ttl: {failover: 30s}
    answers: 2
    backends: {192.0.2.1: {backup: true}}
""")
    for asked in ("www.pools.test", "alias.pools.test"):
        records = [line.split() for line in run("lookup", asked).stdout.splitlines() if line.startswith("www")]
        assert [(record[1], record[-1]) for record in records] == [("12", "192.0.2.2"), ("12", "192.0.2.3")]


def test_lookup_in_broken_zones_says_what_check_says(zones: Path) -> None:
    (zones / "broken.test.zone").write_text(BROKEN)
    assert run("lookup", "www.broken.test") == Outcome(1, "", f"{BROKEN_SAYS}3 errors, 0 warnings\n")


# help and version


@pytest.mark.parametrize("command", [(), *((name,) for name in main.commands)], ids=str)
def test_every_help_has_an_example(command: tuple[str, ...]) -> None:
    outcome = run(*command, "--help")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert f"\n  Example: dnslb {''.join(command)}" in outcome.stdout
    assert run(*command, "-h") == outcome


def test_every_option_is_explained() -> None:
    context = Context(main)
    for name in main.commands:
        command = main.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            assert parameter.param_type_name == "argument" or getattr(parameter, "help", None), parameter.name


def test_version() -> None:
    assert run("--version") == Outcome(0, "dnslb, version 0.1.0\n", "")


def test_a_misspelt_command_is_corrected() -> None:
    assert run("serv").stderr.endswith("Error: No such command 'serv'. Did you mean 'serve'?\n")


@pytest.mark.parametrize("command", [[sys.executable, "-m", "dnslb"], [str(Path(sys.executable).with_name("dnslb"))]])
def test_the_module_and_the_script_are_the_same_command(command: list[str]) -> None:
    done = subprocess.run([*command, "check", str(SAMPLE_ZONES)], capture_output=True, text=True, check=True)
    assert done.stdout == run("check", str(SAMPLE_ZONES)).stdout
    assert done.stderr == ""


# serve refuses


def test_serve_refuses_broken_zones_with_every_mistake(zones: Path) -> None:
    (zones / "broken.test.zone").write_text(BROKEN)
    (zones / "good.test.zone").write_text(GOOD)
    assert serve() == Outcome(1, "", f"{BROKEN_SAYS}3 errors, 0 warnings\n")


IN_USE = "address already in use; stop the server that has the port (ss -lnptu 'sport = {}' names it) or choose another"
LOW = (
    "permission denied; "
    "ports below 1024 need privileges: start as root with --user, or choose --listen 127.0.0.1:5300"
)
FOREIGN = "cannot assign requested address; this machine has no such address: see ip address"
USAGE = """\
Usage: dnslb serve [OPTIONS] [DIRECTORY]
Try 'dnslb serve --help' for help.

Error: Invalid value for '{}': {}
"""


@pytest.mark.parametrize(("arguments", "outcome"), [
    (["nowhere"], Outcome(
        1, "", "nowhere: the directory does not exist; give the one that holds your *.zone files; "
        "dnslb init nowhere makes one\n"
    )),
    (["empty"], Outcome(
        1, "", "empty: there is no *.zone file here; write one, such as example.com.zone; dnslb init empty does\n"
    )),
    (["--listen", "192.0.2.1:5300"], Outcome(1, "", f"Error: cannot listen on 192.0.2.1:5300: {FOREIGN}\n")),
    (["--listen", "[2001:db8::1]:5300"], Outcome(1, "", f"Error: cannot listen on [2001:db8::1]:5300: {FOREIGN}\n")),
    (["--user", "no-such-user", "--listen", "127.0.0.1:{port}"], Outcome(
        1, "", "Error: there is no user no-such-user; create it: adduser --system --group no-such-user\n"
    )),
    (["--listen", "localhost"], Outcome(2, "", USAGE.format(
        "--listen", "localhost is no address and port; write 192.0.2.1:53 or [2001:db8::1]:53"
    ))),
    (["--workers", "0"], Outcome(2, "", USAGE.format("--workers", "0 is not in the range 1<=x<=64."))),
    (["--tcp-idle", "5"], Outcome(2, "", USAGE.format(
        "--tcp-idle", "5 is no duration; write a number and a unit: 500ms, 5s, 2m, 1h"
    ))),
    (["--tcp-idle", "2h"], Outcome(2, "", USAGE.format("--tcp-idle", "2h is out of range; write 0.1s to 3600s"))),
    (["--server-id", "x" * 256], Outcome(2, "", USAGE.format(
        "--server-id", "the text is no UTF-8 or longer than 255 octets; shorten it"
    ))),
    (["--admin", "localhost:80"], Outcome(2, "", USAGE.format(
        "--admin", "localhost:80 is no address and port; write 127.0.0.1:5380 or [::1]:5380"
    ))),
    (["--admin-hosts", "http://a"], Outcome(2, "", USAGE.format(
        "--admin-hosts", "http://a is no host name; write it without port, as in ns1.example.com"
    ))),
    (["--admin", "192.0.2.1"], Outcome(
        1, "", f"Error: cannot listen on 192.0.2.1:5380 for admin: {FOREIGN}, or choose another with --admin\n"
    )),
    (["--server-version", b"\xff"], Outcome(2, "", USAGE.format(
        "--server-version", "the text is no UTF-8 or longer than 255 octets; shorten it"
    ))),
])  # fmt: skip
def test_serve_refuses_in_one_line(zones: Path, arguments: list[str], outcome: Outcome) -> None:
    (zones / "good.test.zone").write_text(GOOD)
    Path("empty").mkdir()
    port = str(free_port())
    given = [word.replace("{port}", port) if isinstance(word, str) else word for word in arguments]
    assert serve(*given) == outcome


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_serve_refuses_a_port_that_is_taken(kind: socket.SocketKind, host: str) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind((host, free_port()))
        if kind == socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        outcome = serve(str(SAMPLE_ZONES), "--listen", f"127.0.0.1:{port}")
    assert outcome == Outcome(1, "", f"Error: cannot listen on 127.0.0.1:{port}: {IN_USE.format(port)}\n")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_refuses_the_port_of_another_dnslb(tmp_path: Path, workers: str) -> None:
    """Though the kernel would let both have it, and split the clients between them."""
    port = free_port()
    with started(tmp_path, "--workers", workers, "--listen", f"127.0.0.1:{port}") as server:
        outcome = serve(str(SAMPLE_ZONES), "--listen", f"127.0.0.1:{port}")
        assert outcome == Outcome(1, "", f"Error: cannot listen on 127.0.0.1:{port}: {IN_USE.format(port)}\n")
        assert is_served("example.test.", Address("127.0.0.1", port))
        assert server.log == ""


# Imports all that is needed, from files that only root may read; then becomes nobody.
AS_NOBODY = """
import os, sys
import dnslb.cli.serve
from dnslb.cli import main
try:
    main(["check", sys.argv[1]])
except SystemExit:
    pass
os.setgroups([])
os.setgid({gid})
os.setuid({uid})
main(sys.argv[2:], prog_name="dnslb")
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become nobody")
@pytest.mark.parametrize(("arguments", "error"), [
    (["serve", "{zones}", "--control", "{control}", "--listen", "127.0.0.1:853"],
     f"Error: cannot listen on 127.0.0.1:853: {LOW}"),
    (["serve", "{zones}", "--control", "{control}", "--listen", "127.0.0.1:{port}", "--user", "daemon"],
     "Error: only root can become daemon; start as root, or leave `user` out"),
    (["check", "{secret}"], "{secret}: the directory cannot be read: permission denied; let this user read it"),
    (["check", "{zones}"], "{zones}/dnslb.yaml: the file cannot be read: Permission denied; make it a readable file"),
])  # fmt: skip
def test_nobody_is_refused_in_one_line(arguments: list[str], error: str) -> None:
    if "853" in arguments[-1] and int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 1024:
        pytest.skip("every user may bind low ports on this machine")
    entry = pwd.getpwnam("nobody")
    # pytest's own temporary directory is root's alone.
    directory = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    try:
        directory.chmod(0o777)
        zones, secret = directory / "zones", directory / "secret"
        zones.mkdir()
        (zones / "good.test.zone").write_text(GOOD)
        if arguments == ["check", "{zones}"]:
            (zones / "dnslb.yaml").touch(0o600)
        secret.mkdir(0o700)
        words = {"zones": str(zones), "secret": str(secret), "port": free_port(), "control": str(directory / "control")}
        command = [sys.executable, "-c", AS_NOBODY.format(uid=entry.pw_uid, gid=entry.pw_gid), str(zones)]
        done = subprocess.run(
            [*command, *(word.format_map(words) for word in arguments)],
            capture_output=True, text=True, timeout=STARTING, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr == error.format_map(words) + "\n"
    finally:
        subprocess.run(["rm", "-r", str(directory)], check=True)


# serve serves


def test_serve_prints_what_it_serves_and_a_dig_command_that_works(tmp_path: Path) -> None:
    port = free_port()
    dig = program("dig", "bind9-dnsutils")
    with started(tmp_path, "--workers", "1", "--listen", f"127.0.0.1:{port}", "--listen", f"[::1]:{port}") as server:
        assert server.said == (
            f"dnslb 0.1.0 serves {tmp_path}/zones on 127.0.0.1:{port}, [::1]:{port} (UDP and TCP), 1 worker\n"
            f"  example.test.  serial 2026112001, 365 records, 6 names\n"
            f"try: dig @127.0.0.1 -p {port} many.example.test.\n"
        )
        command = server.said.rpartition("try: dig ")[2].split()
        printed = subprocess.check_output([dig, *command, "+tcp"], text=True, timeout=10)
        assert "status: NOERROR" in printed
        assert printed.count("192.0.2.") == 100


@pytest.mark.parametrize(("listen", "try_at"), [
    ("0.0.0.0:{}", "@127.0.0.1 -p {}"),
    ("[::]:{}", "@::1 -p {}"),
    ("[::1]:{}", "@::1 -p {}"),
    ("127.0.0.7:{}", "@127.0.0.7 -p {}"),
])  # fmt: skip
def test_the_dig_command_asks_an_address_that_answers(tmp_path: Path, listen: str, try_at: str) -> None:
    port = free_port()
    with started(tmp_path, "--workers", "2", "--listen", listen.format(port)) as server:
        assert f"on {listen.format(port)} (UDP and TCP), 2 workers\n" in server.said
        host = re.search(r"try: dig (@(\S+) -p \d+) many", server.said)
        assert host is not None
        assert host[1] == try_at.format(port)
        assert is_served("example.test.", Address(host[2], port))


def test_a_zone_without_addresses_has_a_dig_command_too(tmp_path: Path) -> None:
    zone = "$TTL 1\n@ SOA ns1.example.net. h 1 1 1 1 1\n@ NS ns1.example.net.\n"
    port = free_port()
    with started(tmp_path, "--workers", "1", "--listen", f"127.0.0.1:{port}", zone=zone) as server:
        assert server.said.endswith(f"try: dig @127.0.0.1 -p {port} example.test. SOA\n")


YAML = """\
listen: [127.0.0.1:{port}, '[::1]:{port}']
workers: 2
order: none
server_id: from the file
server_version: from the file
tcp_connections: 50
tcp_per_client: 3
tcp_idle: 700ms
"""


def test_every_setting_of_the_file_is_in_force(tmp_path: Path) -> None:
    port = free_port()
    with_settings(tmp_path, YAML.format(port=port))
    with started(tmp_path) as server:
        assert f"on 127.0.0.1:{port}, [::1]:{port} (UDP and TCP), 2 workers\n" in server.said
        assert len(server.workers()) == 2
        assert told(port) == ("from the file", "from the file", 7)
        assert leaders(port, 6) == {"192.0.2.1"}


def test_options_override_the_file(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    with_settings(tmp_path, YAML.format(port=other))
    options = ["--listen", f"127.0.0.1:{port}", "--workers", "1", "--order", "cyclic", "--server-id", "an option"]
    options += ["--server-version", "an option", "--tcp-idle", "3s", "--tcp-connections", "9", "--tcp-per-client", "9"]
    with started(tmp_path, *options) as server:
        assert f"on 127.0.0.1:{port} (UDP and TCP), 1 worker\n" in server.said
        assert len(server.workers()) == 1
        assert told(port) == ("an option", "an option", 30)
        assert leaders(port, 4) == {f"192.0.2.{number}" for number in range(1, 5)}
        assert not is_served("example.test.", Address("127.0.0.1", other))


def test_an_option_overrides_a_setting_and_leaves_the_others(tmp_path: Path) -> None:
    port = free_port()
    with_settings(tmp_path, YAML.format(port=port))
    with started(tmp_path, "--server-id", "an option") as server:
        assert told(port) == ("an option", "from the file", 7)
        assert len(server.workers()) == 2


def test_without_settings_the_server_does_not_say_who_it_is(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, "--listen", f"127.0.0.1:{port}") as server:
        assert told(port) == (None, None, 100)
        assert len(server.workers()) == min(len(os.sched_getaffinity(0)), 4)


def test_the_user_of_the_file_is_become(tmp_path: Path) -> None:
    """Whoever runs the tests: becoming oneself is allowed to all."""
    me = pwd.getpwuid(os.getuid()).pw_name
    port = free_port()
    with_settings(tmp_path, f"user: {me}\nlisten: 127.0.0.1:{port}\n")
    with started(tmp_path):
        assert is_served("example.test.", Address("127.0.0.1", port))


def test_the_same_address_twice_is_one(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, *("--listen", f"127.0.0.1:{port}") * 2, "--workers", "1") as server:
        assert f"on 127.0.0.1:{port} (UDP and TCP), 1 worker\n" in server.said


def test_warnings_do_not_keep_the_server_from_serving(zones: Path, tmp_path: Path) -> None:
    (zones / "unequal.test.zone").write_text(UNEQUAL)
    port = free_port()
    command = [*DNSLB, "serve", "zones", "--listen", f"127.0.0.1:{port}", "--control", str(tmp_path / "control")]
    with launched(command, tmp_path) as server:
        while not is_served("unequal.test.", Address("127.0.0.1", port)):
            assert server.popen.poll() is None
        assert server.log == UNEQUAL_SAYS
        os.kill(server.parent, signal.SIGINT)
        assert server.ends_within(2.0) == 0


def with_settings(directory: Path, text: str) -> None:
    zones = directory / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(ZONE)
    (zones / "dnslb.yaml").write_text(text)


def told(port: int) -> tuple[str | None, str | None, int]:
    """id.server, version.bind, and the idle time in tenths of a second, as the server tells them."""

    def text(name: str) -> str | None:
        query = dns.message.make_query(name, "TXT", dns.rdataclass.CH)
        reply = dns.query.udp(query, "127.0.0.1", 5.0, port)
        return str(reply.answer[0][0]).strip('"') if reply.answer else None

    keepalive = dns.edns.GenericOption(dns.edns.OptionType.make(11), b"")
    query = dns.message.make_query("www.example.test.", "MX", options=[keepalive])
    (option,) = dns.query.tcp(query, "127.0.0.1", 5.0, port).options
    return text("id.server."), text("version.bind."), int.from_bytes(option.to_wire() or b"")


def leaders(port: int, count: int) -> set[str]:
    query = dns.message.make_query("www.example.test.", "A")
    return {str(dns.query.udp(query, "127.0.0.1", 5.0, port).answer[0][0]) for _ in range(count)}
