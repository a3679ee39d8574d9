"""``dnslb import`` of zones from a nameserver: what comes over AXFR is what the primary has, or it is said why not."""

from __future__ import annotations

import re
import shutil
import socket
import struct
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import dns.tsig
import pytest
from dnslb_server import eventually, started
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import BIND, KNOT, NSD, Address, Peer, free_port, serving, zone_files
from test_import import imported

from dnslb.config import keys
from dnslb.config.keys import TsigKey
from dnslb.config.settings import Endpoint, parse_endpoint
from dnslb.dns import master, name
from dnslb.dns.zone import Zone
from dnslb.migrate import primary
from dnslb.migrate.imported import Imported
from dnslb.transfer import receipt

ZONES = Path(__file__).parent / "zones"
KEY = TsigKey("fleet.", "hmac-sha256", b"0123456789abcdef0123456789abcdef")
RECORDS = [
    dns.rrset.from_text("example.test.", 60, "IN", "SOA", "ns. host. 1 1 1 1 1"),
    dns.rrset.from_text("example.test.", 60, "IN", "NS", "ns.example.net."),
    dns.rrset.from_text("www.example.test.", 60, "IN", "A", "192.0.2.1"),
]

Reply = Callable[[dns.message.Message], Sequence[dns.message.Message | bytes]]


@contextmanager
def primary_that(reply: Reply) -> Iterator[str]:
    """Its address.  It answers one query by these messages, and ends the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5.0)
        thread = threading.Thread(target=_answer, args=(listener, reply))
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def _answer(listener: socket.socket, reply: Reply) -> None:
    with listener.accept()[0] as connection:
        connection.settimeout(5.0)
        size = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))[0]
        called = dns.name.from_text(KEY.name)
        query = dns.message.from_wire(
            connection.recv(size, socket.MSG_WAITALL), keyring={called: dns.tsig.Key(called, KEY.secret, KEY.algorithm)}
        )
        for message in reply(query):
            octets = message if isinstance(message, bytes) else message.to_wire()
            connection.sendall(len(octets).to_bytes(2) + octets)


def transfer(query: dns.message.Message, *records: dns.rrset.RRset, rcode: int = 0) -> dns.message.Message:
    message = dns.message.make_response(query)
    message.set_rcode(dns.rcode.Rcode(rcode))
    message.answer.extend(records)
    return message


def fetched(reply: Reply, key: TsigKey | None = None) -> Imported:
    with primary_that(reply) as place:
        endpoint = parse_endpoint(place)
        assert endpoint is not None
        return primary.read(endpoint, ["example.test"], key)


def whole(query: dns.message.Message) -> list[dns.message.Message | bytes]:
    return [transfer(query, *RECORDS, RECORDS[0])]


def unsigned(query: dns.message.Message) -> list[dns.message.Message | bytes]:
    message = transfer(query, *RECORDS, RECORDS[0])
    message.tsig = None
    return [message]


def test_a_transfer_becomes_a_zone_file() -> None:
    (file,) = fetched(whole).files.items()
    assert file == ("example.test.zone", (
        b"example.test. 60 IN SOA ns. host. 1 1 1 1 1\nexample.test. 60 IN NS ns.example.net.\n"
        b"www.example.test. 60 IN A 192.0.2.1\n"))  # fmt: skip


@pytest.mark.parametrize(("reply", "key", "says"), [
    (lambda query: [transfer(query, rcode=5)], None, "it answers REFUSED; it must answer here, and give the zone"),
    (lambda query: [transfer(query, rcode=9)], KEY, "it answers NOTAUTH; "),
    (lambda query: [], None, "it ends the connection before the end of the zone; "),
    (lambda query: [transfer(query, *RECORDS)], None, "it ends the connection before the end of the zone; "),
    (lambda query: [b""], None, "it sends what is no reply; "),
    (lambda query: [query.to_wire()[:2] + b"\x84" + bytes(200)], None, "it sends a message that cannot be read; "),
    (lambda query: [transfer(query, RECORDS[2], RECORDS[2])], None, "it begins with A, not with the SOA; "),
    (unsigned, KEY, "what it sends is not signed; "),
])  # fmt: skip
def test_what_is_no_transfer_is_said_and_nothing_is_kept(reply: Reply, key: TsigKey | None, says: str) -> None:
    outcome = fetched(reply, key)
    assert outcome.files == {}
    (remark,) = outcome.remarks
    assert remark.said.startswith(says)


@settings(max_examples=50, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(2, 140), st.integers(0, 255)), max_size=8), cut=st.integers(0, 200))
def test_any_octets_are_a_transfer_or_are_refused(changes: list[tuple[int, int]], cut: int) -> None:
    def reply(query: dns.message.Message) -> list[dns.message.Message | bytes]:
        octets = bytearray(transfer(query, *RECORDS, RECORDS[0]).to_wire())
        for place, octet in changes:
            octets[place % len(octets)] = octet
        return [bytes(octets[: cut or None])]

    outcome = fetched(reply)
    assert len(outcome.remarks) == 1


def test_a_transfer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipt, "MOST_ZONE", 1000)
    many = [dns.rrset.from_text(f"a{number}.example.test.", 60, "IN", "A", "192.0.2.1") for number in range(100)]
    (remark,) = fetched(lambda query: [transfer(query, RECORDS[0], *many)]).remarks
    assert remark.said.startswith("it has more than 0 MB; ")


SECRET = b64encode(KEY.secret).decode()
GIVES = {
    NSD: lambda text: text.replace("zone:\n", "zone:\n  provide-xfr: 127.0.0.1 fleet\n")
    + f'key:\n  name: "fleet"\n  algorithm: {KEY.algorithm}\n  secret: "{SECRET}"\n',
    KNOT: lambda text: text.replace("template:\n  - id: default\n", (
        f"key:\n  - id: fleet\n    algorithm: {KEY.algorithm}\n    secret: {SECRET}\n"
        "acl:\n  - id: all\n    key: fleet\n    action: transfer\ntemplate:\n  - id: default\n    acl: all\n")),
    BIND: lambda text: keys.text(KEY) + text.replace("allow-transfer { none; }", "allow-transfer { key fleet; }"),
}  # fmt: skip


@contextmanager
def giving(peer: Peer | None, directory: Path, key: Path) -> Iterator[Address]:
    """The zones, by the peer or by a dnslb, to whoever has the key."""
    if peer is not None:
        given = replace(peer, configure=lambda setting: GIVES[peer](peer.configure(setting)))
        with serving(given, ZONES, directory) as address:
            yield address
        return
    shutil.copytree(ZONES, directory / "zones", ignore=shutil.ignore_patterns("rfc1034"))
    (directory / "zones/dnslb.yaml").write_text(f"keys: {{fleet: {key}}}\ntransfer_to: [fleet]\n")
    port = free_port()
    with started(directory, "--listen", f"127.0.0.1:{port}", "--workers", "1"):
        place = Endpoint(ip_address("127.0.0.1"), port)
        eventually(lambda: bool(primary.read(place, ["example"], KEY).files), "no transfers yet")
        yield Address("127.0.0.1", port)


@pytest.mark.parametrize("peer", [None, *GIVES], ids=lambda peer: peer.name if peer else "dnslb")
def test_zones_come_as_the_primary_has_them(tmp_path: Path, peer: Peer | None) -> None:
    """Signed, with every type of record."""
    key = tmp_path / "fleet.key"
    key.write_text(keys.text(KEY))
    key.chmod(0o600)
    zones = zone_files(ZONES)
    options = [word for zone in zones for word in ("--zone", zone)]
    with giving(peer, tmp_path, key) as (host, port):
        place, signed = f"{host}:{port}", ("--key", str(key))
        status, said = imported(place, str(tmp_path / "there"), *signed, *options)
        partly = imported(place, str(tmp_path / "some"), *signed, *("--zone", "example") * 2, "--zone", "a")
        key.write_text(keys.text(replace(KEY, secret=bytes(32))))
        refused = imported(place, str(tmp_path / "none"), *signed, "--zone", "example")
    assert status == 0, said
    assert partly[0] == refused[0] == 1
    assert "example.zone, 11 records" in partly[1]
    assert re.search(r"not taken \(1\):\n.*zone a: it answers (REFUSED|NOTAUTH); ", partly[1])
    assert "zone example: it answers NOTAUTH; " in refused[1]
    spelled = str.lower if peer in (NSD, KNOT) else str  # those two keep names in small letters
    for zone, file in zones.items():
        came, there_were = records(tmp_path / f"there/{zone}.zone", zone), records(file, zone)
        assert sorted(map(spelled, came)) == sorted(map(spelled, there_were))


def records(file: Path, apex: str) -> list[str]:
    """Without the SOA, whose serial is that of the transfer."""
    zone, _ = master.load(str(file), name.parse(f"{apex}.", name.ROOT), lambda path: Path(path).read_bytes())
    assert isinstance(zone, Zone)
    return sorted(record for record in master.records(zone) if " SOA " not in record)
