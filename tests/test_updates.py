"""Updates (RFC 2136) against a running server: nsupdate, dnspython, and what neither of them would send."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.tsig
import dns.tsigkeyring
import dns.update
import dns.xfr
import dns.zone
import pytest
from dnslb_server import DNSLB, Server, eventually, started
from peers import free_port
from programs import module, program

from dnslb.config import keys
from dnslb.config.keys import TsigKey

ZONE = """\
$TTL 300
@     SOA    ns1 hostmaster 7 3600 900 1209600 60
      NS     ns1
ns1   A      192.0.2.53
www   A      192.0.2.1
      A      192.0.2.2
host.lan A   192.0.2.9
"""
POLICY = """\
pools:
  www: {}
update:
  acme: {names: ["_acme-challenge.*"], types: [TXT]}
  dhcp: {names: ["*.lan"], types: [A, AAAA, TXT, DHCID]}
  admin: {names: ["*"], types: all}
"""
NSUPDATE = """\
server 127.0.0.1 {port}
zone example.test
prereq nxdomain new.lan.example.test.
update add new.lan.example.test. 60 A 192.0.2.30
update add new.lan.example.test. 60 TXT "by dhcp"
update delete host.lan.example.test. A
send
"""
SECRET = bytes(range(32))
B64 = b64encode(SECRET).decode()
ACME = dns.name.from_text("acme")
KEYS = ("acme", "dhcp", "admin", "stranger")


def kill(server: Server) -> None:
    """All of it, while a new generation may begin: who was forked last too."""
    os.kill(server.parent, signal.SIGKILL)
    for pid in server.processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.ends_within(10)


class Site:
    """A directory with a zone that keys may change, and the server in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        zones = directory / "zones"
        zones.mkdir()
        self.zone, self.policy = zones / "example.test.zone", zones / "example.test.yaml"
        self.zone.write_text(ZONE)
        self.policy.write_text(POLICY)
        for name in KEYS:
            path = directory / f"{name}.key"
            path.touch(mode=0o600)
            path.write_text(keys.text(TsigKey(f"{name}.", "hmac-sha256", SECRET)))
        known = "".join(f"  {name}: {directory}/{name}.key\n" for name in KEYS)
        (zones / "dnslb.yaml").write_text(f"keys:\n{known}")
        self.port = 0

    @contextmanager
    def server(self) -> Iterator[Server]:
        self.port = free_port()  # another process may have taken the last one meanwhile
        with started(self.directory, "--listen", f"127.0.0.1:{self.port}", "--workers", "1") as server:
            yield server

    def message(self, key: str | None = "acme", zone: str = "example.test") -> dns.update.UpdateMessage:
        if key is None:
            return dns.update.UpdateMessage(zone)
        keyring, name = dns.tsigkeyring.from_text({key: B64}), dns.name.from_text(key)
        return dns.update.UpdateMessage(zone, keyring=keyring, keyname=name, keyalgorithm="hmac-sha256")

    def send(self, message: dns.message.Message, *, over_tcp: bool = True) -> str:
        ask = dns.query.tcp if over_tcp else dns.query.udp
        return dns.rcode.to_text(ask(message, "127.0.0.1", port=self.port, timeout=10).rcode())

    def add(self, name: str, kind: str, text: str, key: str = "acme", *, over_tcp: bool = True) -> str:
        message = self.message(key)
        message.add(name, 60, kind, text)
        return self.send(message, over_tcp=over_tcp)

    def ask(self, name: str, kind: str) -> list[str]:
        """The records, as texts; the rcode when there are none."""
        query = dns.message.make_query(f"{name}.example.test" if name != "@" else "example.test", kind)
        reply = dns.query.udp(query, "127.0.0.1", port=self.port, timeout=5)
        found = [rdata.to_text() for rrset in reply.answer for rdata in rrset]
        return sorted(found) or [dns.rcode.to_text(reply.rcode())]

    def serial(self) -> int:
        return int(self.ask("@", "SOA")[0].split()[2])

    def has_serial(self, serial: int) -> None:
        """The generation before may answer for a moment still."""
        eventually(lambda: self.serial() == serial, f"the serial is not {serial}", 3)

    def answers(self, name: str, kind: str, *texts: str) -> None:
        eventually(lambda: self.ask(name, kind) == sorted(texts), f"{name} {kind} is not {texts}", 3)

    def run(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [*DNSLB, *words, "--control", str(self.directory / "control")], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def site() -> Iterator[Site]:
    # A socket's path is at most 107 octets long.
    with tempfile.TemporaryDirectory() as directory:
        yield Site(Path(directory))


def test_a_challenge_comes_is_answered_within_a_second_and_goes(site: Site) -> None:
    with site.server() as server:
        began = time.monotonic()
        assert site.add("_acme-challenge.www", "TXT", '"token"') == "NOERROR"
        while site.ask("_acme-challenge.www", "TXT") != ['"token"']:
            assert time.monotonic() < began + 3, server.log
            time.sleep(0.02)
        site.has_serial(8)
        assert site.add("_acme-challenge", "TXT", '"apex"', over_tcp=False) == "NOERROR"
        site.answers("_acme-challenge", "TXT", '"apex"')
        message = site.message()
        message.delete("_acme-challenge.www", "TXT", '"token"')
        assert site.send(message) == "NOERROR"
        site.answers("_acme-challenge.www", "TXT", "NXDOMAIN")
        site.has_serial(10)
        assert site.send(message) == "NOERROR"
        time.sleep(0.7)
        assert site.serial() == 10, "nothing has changed"
        assert site.zone.read_text() == ZONE


@pytest.mark.parametrize(("key", "change", "rcode"), [
    (None, ("add", "_acme-challenge", 60, "TXT", "x"), "REFUSED"),
    ("stranger", ("add", "_acme-challenge", 60, "TXT", "x"), "REFUSED"),
    ("acme", ("add", "_acme-challenge", 60, "A", "192.0.2.3"), "REFUSED"),
    ("acme", ("add", "other", 60, "TXT", "x"), "REFUSED"),
    ("acme", ("delete", "www"), "REFUSED"),
    ("acme", ("delete", "_acme-challenge"), "NOERROR"),
    ("admin", ("add", "www", 60, "A", "192.0.2.3"), "REFUSED"),  # a pool
    ("admin", ("add", "@", 60, "SOA", "ns1 hostmaster 99 1 1 1 1"), "REFUSED"),
    ("admin", ("delete", "@", "SOA"), "NOERROR"),
    ("admin", ("delete", "@", "NS"), "NOERROR"),
    ("admin", ("delete", "@", "NS", "ns1"), "NOERROR"),
    ("admin", ("delete", "@"), "NOERROR"),
    ("admin", ("add", "www.example.org.", 60, "TXT", "x"), "NOTZONE"),
    ("admin", ("present", "nope"), "NXDOMAIN"),
    ("admin", ("present", "www", "TXT"), "NXRRSET"),
    ("admin", ("absent", "www"), "YXDOMAIN"),
    ("admin", ("absent", "www", "A"), "YXRRSET"),
    ("admin", ("present", "www", "A", "192.0.2.1"), "NXRRSET"),
])  # fmt: skip
def test_what_is_refused_changes_nothing(site: Site, key: str | None, change: tuple[str, ...], rcode: str) -> None:
    with site.server() as server:
        message = site.message(key)
        what, *words = change
        getattr(message, what)(*words)
        if what in {"present", "absent"}:
            message.add("new", 60, "TXT", "x")
        for over_tcp in (True, False):
            assert site.send(message, over_tcp=over_tcp) == rcode, server.log
        time.sleep(0.6)
        assert site.serial() == 7
        assert site.ask("@", "NS") == ["ns1.example.test."]
        assert site.ask("new", "TXT") == ["NXDOMAIN"]
        assert not (site.directory / "state" / "updates.journal").exists()
        if rcode == "REFUSED":
            assert "an update is refused to 127.0.0.1: " in server.log


def test_signatures_that_do_not_hold_and_other_zones(site: Site) -> None:
    with site.server():
        wrong = dns.tsigkeyring.from_text({"acme": "AAAA"})
        message = dns.update.UpdateMessage("example.test", keyring=wrong, keyname=ACME, keyalgorithm="hmac-sha256")
        message.add("_acme-challenge", 60, "TXT", "x")
        with pytest.raises(dns.exception.DNSException):
            site.send(message)
        elsewhere = site.message("acme", "example.org")
        elsewhere.add("_acme-challenge", 60, "TXT", "x")
        assert site.send(elsewhere) == "NOTAUTH"
        assert site.ask("_acme-challenge", "TXT") == ["NXDOMAIN"]


def test_what_is_malformed_gets_formerr_and_the_server_goes_on(site: Site) -> None:
    with site.server() as server:
        whole = site.message()
        whole.add("_acme-challenge", 60, "TXT", "x")
        octets = whole.to_wire()
        with socket.socket(type=socket.SOCK_DGRAM) as udp:
            udp.connect(("127.0.0.1", site.port))
            udp.settimeout(5)
            for broken in (octets[:40], octets[:12], octets[:4] + b"\0\2" + octets[6:], octets + b"x"):
                udp.send(broken)
                assert udp.recv(512)[3] & 15 in {1, 9}, broken
            flood = octets[:8] + b"\xff\xff" + octets[10:12] + (b"\0\0\1\0\1" + bytes(6)) * 1000
            for _ in range(2000):
                udp.send(flood[:9000])
        assert site.add("_acme-challenge", "TXT", "y") == "NOERROR"
        site.answers("_acme-challenge", "TXT", '"y"')
        assert server.log.count("malformed") < 20


def test_a_killed_server_has_lost_nothing_that_was_acknowledged(site: Site) -> None:
    for number in range(4):
        with site.server() as server:
            for each in range(5):
                assert site.add(f"h{number}-{each}.lan", "A", f"192.0.2.{10 * number + each}", "dhcp") == "NOERROR"
            kill(server)
    with site.server():
        for number in range(4):
            for each in range(5):
                site.answers(f"h{number}-{each}.lan", "A", f"192.0.2.{10 * number + each}")
        site.has_serial(27)


def test_half_a_line_of_the_journal_was_never_acknowledged(site: Site) -> None:
    with site.server() as server:
        assert site.add("a.lan", "A", "192.0.2.3", "dhcp") == "NOERROR"
        kill(server)
    journal = site.directory / "state" / "updates.journal"
    journal.write_text(f'nonsense\n{journal.read_text()}{{"zone": "exam')
    with site.server() as server:
        site.answers("a.lan", "A", "192.0.2.3")
        assert "updates.journal:1 cannot be read" in server.log
        assert site.add("b.lan", "A", "192.0.2.4", "dhcp") == "NOERROR"
        assert "nonsense" not in journal.read_text()


def test_the_operator_edits_the_file_below_and_sees_and_drops_what_was_changed(site: Site) -> None:
    with site.server() as server:
        assert site.add("_acme-challenge", "TXT", '"token"') == "NOERROR"
        message = site.message("dhcp")
        message.delete("host.lan", "A")
        message.add("new.lan", 60, "A", "192.0.2.3")
        assert site.send(message) == "NOERROR"
        site.answers("new.lan", "A", "192.0.2.3")
        site.zone.write_text(ZONE.replace(" 7 ", " 8 ") + "more A 192.0.2.7\nnew.lan CNAME www\n")
        site.answers("more", "A", "192.0.2.7")
        site.answers("_acme-challenge", "TXT", '"token"')
        site.answers("host.lan", "A", "NXDOMAIN")
        site.answers("new.lan", "CNAME", "www.example.test.")
        assert "new.lan.example.test.: an update and the zone file do not go together" in server.log
        site.has_serial(10)
        status, said = site.run("updates")
        assert status == 0
        assert '_acme-challenge.example.test. 60 TXT "token"' in said
        assert "removed: host.lan.example.test. A 192.0.2.9" in said
        assert "3 RRsets of example.test. by updates" in site.run("status")[1]
        assert site.run("updates", "--drop", "host.lan.example.test")[0] == 0
        site.answers("host.lan", "A", "192.0.2.9")
        assert site.run("updates", "--drop", "example.test")[0] == 0
        site.answers("_acme-challenge", "TXT", "NXDOMAIN")
        assert site.run("updates")[1].strip() == "zones are as their files say"
        site.policy.write_text(POLICY.partition("update:")[0])
        site.run("reload")
        with pytest.raises(dns.exception.FormError, match="requires a TSIG"):  # a worker refuses it, unread
            site.send(site.message())


def test_who_gets_the_zone_gets_what_was_changed_in_it(site: Site) -> None:
    """As external-dns looks at a zone before it changes it."""
    site.policy.write_text(f"transfer_to: [admin]\n{POLICY}")
    with site.server():
        keyring = dns.tsigkeyring.from_text({"admin": B64})

        def transferred() -> dns.zone.Zone:
            name, algorithm = dns.name.from_text("admin"), dns.tsig.HMAC_SHA256
            messages = dns.query.xfr("127.0.0.1", "example.test", port=site.port, keyring=keyring, keyname=name,
                                     keyalgorithm=algorithm)  # fmt: skip
            return dns.zone.from_xfr(messages)

        def serial() -> int:
            try:
                return int(transferred().get_soa().serial)
            except dns.xfr.TransferError:  # there is no version yet
                return 0

        eventually(lambda: serial() > 0, "there is no version")
        before = serial()
        assert site.add("new", "TXT", "x", "admin") == "NOERROR"
        eventually(lambda: serial() > before, "there is no new version")
        assert transferred().find_rdataset("new", "TXT").ttl == 60
        site.has_serial(serial())


def test_what_was_changed_is_measured_and_checked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with site.server():
        assert site.add("_acme-challenge", "TXT", "x") == "NOERROR"
        assert site.add("other", "TXT", "x") == "REFUSED"
        assert site.add("nope", "TXT", "x", "stranger") == "REFUSED"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(site.directory / "control"))
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: dnslb\r\nConnection: close\r\n\r\n")
            text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        for line in ('dnslb_updates_total{rcode="NOERROR"} 1', 'dnslb_updates_total{rcode="REFUSED"} 2',
                     'dnslb_zone_updated_rrsets{zone="example.test."} 1'):  # fmt: skip
            assert line in text
        monkeypatch.setenv("XDG_STATE_HOME", str(site.directory))
        (site.directory / "dnslb").symlink_to(site.directory / "state")
        command = [*DNSLB, "check", str(site.directory / "zones")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "example.test.  1 RRset by updates, in " in done.stdout


def test_nsupdate(site: Site) -> None:
    nsupdate = program("nsupdate", "bind9-dnsutils")
    with site.server():
        script = NSUPDATE.format(port=site.port)
        command = [nsupdate, "-v", "-k", str(site.directory / "dhcp.key")]
        done = subprocess.run(command, input=script, text=True, capture_output=True, timeout=20, check=False)
        assert done.returncode == 0, done.stderr
        site.answers("new.lan", "A", "192.0.2.30")
        site.answers("new.lan", "TXT", '"by dhcp"')
        site.answers("host.lan", "A", "NXDOMAIN")
        again = subprocess.run(command, input=script, text=True, capture_output=True, timeout=20, check=False)
        assert "YXDOMAIN" in again.stderr


@pytest.mark.parametrize("signs", [False, True])
def test_certbots_plugin(site: Site, signs: bool) -> None:
    module("certbot_dns_rfc2136", "certbot-dns-rfc2136")
    plugin = import_module("certbot_dns_rfc2136._internal.dns_rfc2136")
    with site.server():
        client = plugin._RFC2136Client("127.0.0.1", site.port, "acme.", B64, dns.tsig.HMAC_SHA256, signs)
        client.add_txt_record("_acme-challenge.www.example.test", "token", 60)
        site.answers("_acme-challenge.www", "TXT", '"token"')
        client.del_txt_record("_acme-challenge.www.example.test", "token")
        site.answers("_acme-challenge.www", "TXT", "NXDOMAIN")


def test_a_signed_question_for_the_soa_is_answered_to_who_may_change_the_zone(site: Site) -> None:
    """As certbot asks it with dns_rfc2136_sign_query."""
    with site.server():
        keyring = dns.tsigkeyring.from_text({"acme": B64})
        for name, rcode in (("_acme-challenge.example.test", "NOTAUTH"), ("example.test", "NOERROR")):
            query = dns.message.make_query(name, "SOA")
            query.use_tsig(keyring, keyname=ACME, algorithm="hmac-sha256")
            reply = dns.query.tcp(query, "127.0.0.1", port=site.port, timeout=5)
            assert dns.rcode.to_text(reply.rcode()) == rcode
            assert bool(reply.answer) is (rcode == "NOERROR")


def test_a_full_disk_refuses_updates_and_answers_go_on(site: Site) -> None:
    with site.server() as server:
        state = site.directory / "state"
        (state / "updates.journal.new").mkdir()
        assert site.add("_acme-challenge", "TXT", "x") == "SERVFAIL"
        assert "updates are refused until it can" in server.log
        assert site.ask("www", "A") == ["192.0.2.1", "192.0.2.2"]
        (state / "updates.journal.new").rmdir()
        assert site.add("_acme-challenge", "TXT", "x") == "NOERROR"
        site.answers("_acme-challenge", "TXT", '"x"')


def test_what_one_key_may_pile_up_is_bounded(site: Site) -> None:
    with site.server():
        rcodes = []
        for third in range(3):
            message = site.message("dhcp")
            for number in range(500):
                message.add("big.lan", 60, "A", f"10.{third}.{number // 250}.{number % 250}")
            rcodes.append(site.send(message))
        assert site.ask("www", "A") == ["192.0.2.1", "192.0.2.2"]
        assert rcodes == ["NOERROR", "NOERROR", "REFUSED"]


def test_updates_go_to_a_writer_that_was_killed_and_started_again(site: Site) -> None:
    with site.server() as server:
        before = set(server.processes())
        assert site.add("a.lan", "A", "192.0.2.3", "dhcp") == "NOERROR"
        time.sleep(0.5)
        journal = str((site.directory / "state" / "updates.journal").resolve())
        writers = [pid for pid in set(server.processes()) - before if _holds(pid, journal)]
        for pid in writers:
            os.kill(pid, signal.SIGKILL)
        assert len(writers) == 1
        time.sleep(0.3)
        assert site.add("b.lan", "A", "192.0.2.4", "dhcp") == "NOERROR"
        site.answers("b.lan", "A", "192.0.2.4")
        site.answers("a.lan", "A", "192.0.2.3")


def _holds(pid: int, path: str) -> bool:
    return any(os.path.realpath(each) == path for each in Path(f"/proc/{pid}/fd").glob("*"))
