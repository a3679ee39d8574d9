"""DNS cookies: the figures of RFC 9018, what a client gets, what a hostile one costs, and three neighbours."""

from __future__ import annotations

import secrets
import socket
import subprocess
from ipaddress import ip_address
from pathlib import Path
from random import Random

import dns.edns
import dns.message
import dns.query
import dns.rcode
import pytest
from dnslb_server import ZONE, started
from exchange import ask_udp
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from peers import BIND, KNOT, NSD, Address, Peer, free_port, serving
from programs import program
from test_responder import IDENTITY, canonical, queries
from test_responder import ZONE as RICH
from transcript import ANONYMOUS, TCP, query, snapshot, zone

from dnslb.answer.cookies import Cookies
from dnslb.answer.responder import UDP, Identity, Responder, Transport
from dnslb.config import cookie_secrets
from dnslb.dns import cookie
from dnslb.dns.mistake import Mistaken
from dnslb.worker.bugs import Bugs
from dnslb.worker.reply_counter import ReplyCounter
from dnslb.worker.udp import Batches

OLD, NEW = bytes.fromhex("dd3bdf9344b678b185a6f5cb60fca715"), bytes.fromhex("445536bcd2513298075a5d379663c962")
SECRET = bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf")
COOKIE = dns.edns.OptionType.COOKIE
CLIENT = b"\2\0\0\x35\xc6\x33\x64\x64" + bytes(20)  # struct sockaddr_in of 198.51.100.100
NOW = 0x5CF79F11
MINE = bytes.fromhex("2464c4abcf10c957")
GIVEN = bytes.fromhex("2464c4abcf10c957010000005cf79f111f8130c3eee29480")
ZONES = zone("example.com.", "@ 30 SOA ns h 1 2 3 4 5\n@ 30 NS ns\nns 30 A 192.0.2.1\nwww 30 A 192.0.2.2")


@pytest.mark.parametrize(("secret", "address", "whole"), [  # RFC 9018 appendix A
    (SECRET, "198.51.100.100", "2464c4abcf10c957010000005cf79f111f8130c3eee29480"),
    (SECRET, "198.51.100.100", "2464c4abcf10c957010000005cf7a871d4a564a1442aca77"),
    (SECRET, "203.0.113.203", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5"),
    (SECRET, "203.0.113.203", "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e"),
    (OLD, "2001:db8:220:1:59de:d0f4:8769:82b8", "22681ab97d52c298010000005cf7c57926556bd0934c72f8"),
    (NEW, "2001:db8:220:1:59de:d0f4:8769:82b8", "22681ab97d52c298010000005cf7c609a6bb79d16625507a"),
])  # fmt: skip
def test_the_figures_of_the_rfc(secret: bytes, address: str, whole: str) -> None:
    octets = bytes.fromhex(whole)
    begin = octets[: -cookie.HASH]
    assert cookie.hashes(secret, [begin + ip_address(address).packed]) == [octets[-cookie.HASH :]]
    shown = Cookies([secret], int.from_bytes(octets[12:16]))
    assert shown.is_ours(octets, ip_address(address).packed)
    assert not shown.is_ours(octets, ip_address("192.0.2.1").packed)


def test_many_hashes_at_once_are_those_of_each_alone() -> None:
    rng = Random(1)
    for size in (0, 7, 8, 15, 20, 32):
        messages = [rng.randbytes(size) for _ in range(64)]
        assert cookie.hashes(SECRET, messages) == [cookie.hashes(SECRET, [message])[0] for message in messages]


def server(cookies: Cookies | None, transport: Transport = UDP, identity: Identity = ANONYMOUS) -> Responder:
    return Responder(snapshot(ZONES), transport, identity, cookies)


def shows(octets: bytes, name: str = "www.example.com A", *others: dns.edns.Option, size: int = 1232) -> bytes:
    return query(name, size=size, options=(dns.edns.GenericOption(COOKIE, octets), *others))


def answer(responder: Responder, packet: bytes, client: bytes = CLIENT) -> tuple[str, bytes]:
    """The response code and the cookie; of none, none."""
    reply = dns.message.from_wire(responder.respond(packet, client) or b"")
    found = [option for option in reply.options if option.otype == COOKIE]
    assert len(found) <= 1
    return dns.rcode.to_text(reply.rcode()), found[0].to_wire() or b"" if found else b""


NSID = dns.edns.GenericOption(dns.edns.OptionType.NSID, b"")


@pytest.mark.parametrize("transport", [UDP, TCP])
@pytest.mark.parametrize("others", [(), (NSID,)])
@pytest.mark.parametrize("name", ["www.example.com A", "no.example.com A", "example.com MX", "example.org A"])
def test_a_client_is_given_a_cookie_and_known_by_it(
    name: str, others: tuple[dns.edns.Option, ...], transport: Transport
) -> None:
    responder = server(Cookies([SECRET], NOW), transport, Identity("ns1"))
    for _ in range(3):
        rcode, given = answer(responder, shows(MINE, name, *others))
        assert given.hex() == "2464c4abcf10c957010000005cf79f111f8130c3eee29480"
        assert answer(responder, shows(given, name, *others)) == (rcode, given)
    assert answer(responder, shows(MINE, name, *others), CLIENT[:7] + b"\x65" + CLIENT[8:])[1] != given


def test_the_answer_is_the_one_without_cookies_and_fits() -> None:
    plain, known = server(None), server(Cookies([SECRET], NOW))
    with_option = dns.message.from_wire(known.respond(shows(MINE), CLIENT) or b"")
    assert with_option.answer == dns.message.from_wire(plain.respond(shows(MINE), CLIENT) or b"").answer
    long_name = server(Cookies([SECRET], NOW), identity=Identity("x" * 255))
    reply = long_name.respond(shows(MINE, "no.example.com A", NSID, size=512), CLIENT) or b""
    assert len(reply) <= 512
    assert [option.otype for option in dns.message.from_wire(reply).options] == [COOKIE]


@pytest.mark.parametrize("length", [0, 1, 7, 9, 15, 41, 100])
@pytest.mark.parametrize("others", [(), (NSID,)])
def test_a_malformed_cookie_is_told(length: int, others: tuple[dns.edns.Option, ...]) -> None:
    packet = shows(bytes(length), "www.example.com A", *others)
    assert answer(server(Cookies([SECRET], NOW)), packet) == ("FORMERR", b"")
    assert answer(server(None), packet) == ("NOERROR", b"")


@pytest.mark.parametrize(("shown", "rcode"), [
    (MINE, "BADCOOKIE"),
    (MINE + bytes(8), "BADCOOKIE"),
    (MINE + bytes(16), "BADCOOKIE"),
    (MINE + bytes(32), "BADCOOKIE"),
    (bytes.fromhex("2464c4abcf10c957010000005cf79f111f8130c3eee29480"), "NOERROR"),
    (bytes.fromhex("2464c4abcf10c957010000005cf79f111f8130c3eee29481"), "BADCOOKIE"),
])  # fmt: skip
def test_who_has_cookies_must_show_one_of_ours_where_they_are_required(shown: bytes, rcode: str) -> None:
    responder = server(Cookies([SECRET], NOW, required=True))
    assert answer(responder, query("www.example.com A", size=1232)) == ("NOERROR", b"")
    found, given = answer(responder, shows(shown))
    assert (found, len(given)) == (rcode, cookie.LENGTH)
    assert answer(responder, shows(given)) == ("NOERROR", given)
    assert answer(server(Cookies([SECRET], NOW, required=True), TCP), shows(shown))[0] == "NOERROR"


@pytest.mark.parametrize(("seconds", "is_taken"), [
    (0, True), (300, True), (301, False), (-3600, True), (-3601, False), (1 << 31, False),
])  # fmt: skip
def test_a_cookie_is_taken_from_an_hour_ago_to_five_minutes_ahead(seconds: int, is_taken: bool) -> None:
    address = CLIENT[4:8]
    begin = MINE + cookie.stamp(NOW + seconds)
    (found,) = cookie.hashes(SECRET, [begin + address])
    assert Cookies([SECRET], NOW).is_ours(begin + found, address) is is_taken


def test_a_secret_is_rolled_over_without_a_client_noticing() -> None:
    """RFC 9018 §5: the new one is taken first, then it makes cookies, then the old one goes."""
    known = answer(server(Cookies([OLD], NOW)), shows(MINE))[1]
    for kept in ([OLD, NEW], [NEW, OLD], [NEW]):
        rcode, given = answer(server(Cookies(kept, NOW, required=True)), shows(known))
        assert rcode == "NOERROR"
        known = given


def test_a_cookie_for_one_client_cannot_be_had_by_another() -> None:
    """Octets of an IPv6 address must not pass for those of a cookie, and the rest of them for an IPv4 address."""
    cookies = Cookies([SECRET], NOW)
    of_ipv6 = bytes(12) + CLIENT[4:8]
    cookies.reply(MINE, of_ipv6)
    cookies.complete()
    assert cookies.reply(MINE + of_ipv6[:12], CLIENT[4:8]) == MINE + cookie.stamp(NOW) + bytes(8)


def remembered(responder: Responder, packet: bytes, client: bytes = CLIENT) -> bytes | None:
    """The reply that the memo has for it, once it has come often."""
    for _ in range(2):
        responder.respond(packet, client)
        responder.memo.miss(1 << 20, packet[2:], client)
    turns = responder.memo.get(packet[2:])
    return None if turns is None else packet[:2] + next(turns)


@given(packet=queries(), is_first=st.booleans())
@settings(max_examples=200)
def test_a_remembered_reply_with_a_cookie_is_the_plain_one(packet: bytes, is_first: bool) -> None:
    """Whatever else the OPT record of the query has, before its cookie or behind it."""
    fixed = packet.rfind(b"\0\0\x29")
    assume(packet[11] and fixed > 0 and len(packet) >= fixed + 11)
    options, option = packet[fixed + 11 :], b"\0\x0a\0\x18" + GIVEN
    options = option + options if is_first else options + option
    packet = packet[: fixed + 9] + len(options).to_bytes(2) + options
    for transport in (UDP, TCP):
        warm, cold = (Responder(snapshot(RICH), transport, IDENTITY, Cookies([SECRET], NOW)) for _ in range(2))
        answer_of_memo = remembered(warm, packet)
        if answer_of_memo is not None:
            assert canonical(answer_of_memo) == canonical(cold.respond(packet, CLIENT) or b"")


@pytest.mark.parametrize("others", [(), (NSID,)])
@pytest.mark.parametrize("transport", [UDP, TCP])
def test_who_shows_its_cookie_again_is_answered_by_the_memo_until_another_is_due(
    others: tuple[dns.edns.Option, ...], transport: Transport
) -> None:
    cookies = Cookies([OLD, SECRET], NOW)
    responder = server(cookies, transport, Identity("ns1"))
    mine = answer(responder, shows(MINE))[1]
    assert remembered(responder, shows(mine, "www.example.com A", *others)) is not None
    # The one of another worker, or by the secret of before: the reply has ours.
    packet = shows(GIVEN, "www.example.com A", *others)
    assert mine in (remembered(responder, packet) or b"")
    cookies.tick(NOW + 300)
    assert not responder.memo
    assert answer(responder, packet)[1][12:16] == (NOW + 300).to_bytes(4)


@pytest.mark.parametrize(("shown", "client"), [
    (MINE, CLIENT),
    (GIVEN[:-1] + b"\0", CLIENT),
    (GIVEN, CLIENT[:7] + b"\x65" + CLIENT[8:]),
    (GIVEN + bytes(8), CLIENT),
    (MINE + cookie.stamp(NOW - 3601) + bytes(8), CLIENT),
])  # fmt: skip
def test_a_cookie_that_is_not_the_clients_own_is_not_remembered(shown: bytes, client: bytes) -> None:
    """Else one client could be told another's, or never get one."""
    responder = server(Cookies([SECRET], NOW))
    answer(responder, shows(MINE), CLIENT)
    assert remembered(responder, shows(shown), client) is None


def test_a_batch_is_remembered_for_the_client_of_its_last_query() -> None:
    cookies = Cookies([SECRET], NOW)
    responder = server(cookies)
    known = [one for host in ("127.0.0.1", "127.0.0.2")
             if (one := answer(responder, shows(MINE), CLIENT[:4] + ip_address(host).packed + bytes(20))[1])]
    with socket.socket(type=socket.SOCK_DGRAM) as ours, socket.socket(type=socket.SOCK_DGRAM) as first, \
            socket.socket(type=socket.SOCK_DGRAM) as last:
        ours.bind(("127.0.0.1", 0))
        first.bind(("127.0.0.1", 0))
        last.bind(("127.0.0.2", 0))
        batches = Batches(ours, responder.reply, Bugs(), ReplyCounter(), memo=responder.memo)
        batches.cookies = cookies
        for _ in range(5):
            for sock, shown in [(first, known[0])] * 62 + [(last, known[1])]:
                sock.sendto(shows(shown), ours.getsockname())
            batches.answer()
    assert [packet[-cookie.LENGTH :] for packet in responder.memo] == known[1:]


def test_where_cookies_are_required_every_one_is_looked_at() -> None:
    """Else its holder could have replies sent to others."""
    assert remembered(server(Cookies([SECRET], NOW, required=True)), shows(GIVEN)) is None


def test_who_must_show_its_cookie_and_has_lost_it_is_told_it_again_in_a_flood() -> None:
    cookies, rng = Cookies([SECRET], NOW, required=True), Random(3)
    assert answer(server(cookies), shows(MINE)) == ("BADCOOKIE", GIVEN)
    for _ in range(10_000):
        cookies.reply(rng.randbytes(8), rng.randbytes(4))
    cookies.complete()
    assert answer(server(cookies), shows(MINE)) == ("BADCOOKIE", GIVEN)
    assert answer(server(cookies), shows(GIVEN)) == ("NOERROR", GIVEN)
    assert answer(server(cookies), shows(rng.randbytes(8))) == ("BADCOOKIE", b"")


def test_hashing_is_bounded_and_so_is_memory() -> None:
    cookies, rng = Cookies([SECRET], NOW), Random(2)
    made = 0
    for _ in range(30_000):
        made += cookies.reply(rng.randbytes(8), rng.randbytes(4)) is not None
        if len(cookies.waiting) == 64:
            cookies.complete()
    cookies.complete()
    assert made == 10_000
    held = cookies.reply(MINE, CLIENT[4:8])
    assert held is None
    assert answer(server(cookies), shows(MINE)) == ("NOERROR", b"")
    cookies.tick(NOW + 1)
    assert answer(server(cookies), shows(MINE))[1]
    assert len(cookies._known) <= 40_000


@pytest.mark.parametrize(("text", "found"), [
    (f"{SECRET.hex()}\n", (SECRET,)),
    (f"# the new one\n0x{NEW.hex().upper()}  # comes first\n\n{OLD.hex()}", (NEW, OLD)),
    ("", "the file has 0 secrets; write 1 to 8; openssl rand -hex 16 makes one"),
    (f"{SECRET.hex()}\nabc", "line 2 is no secret of 32 hexadecimal digits; openssl rand -hex 16 makes one"),
])  # fmt: skip
def test_files_of_secrets(text: str, found: tuple[bytes, ...] | str) -> None:
    try:
        assert cookie_secrets.read(text) == found
    except Mistaken as error:
        assert f"{error.mistake.fact}; {error.mistake.remedy}" == found


# -- real sockets, real servers ----------------------------------------------------------------------------------------

BIND_COOKIES = ("answer-cookie no;", f'answer-cookie yes; cookie-algorithm siphash24; cookie-secret "{SECRET.hex()}";')
NSD_COOKIES = ("  rrl-ratelimit: 0\n", f"  rrl-ratelimit: 0\n  answer-cookie: yes\n  cookie-secret: {SECRET.hex()}\n")


def with_cookies(peer: Peer) -> Peer:
    def configure(setting: object) -> str:
        text = peer.configure(setting)  # type: ignore[arg-type]
        if peer is KNOT:
            text = text.replace("zone:\n", "    global-module: mod-cookies/c\nzone:\n")
            return f"mod-cookies:\n  - id: c\n    secret: 0x{SECRET.hex()}\n{text}"
        before, after = BIND_COOKIES if peer is BIND else NSD_COOKIES
        assert before in text
        return text.replace(before, after)

    return Peer(peer.name, peer.program, peer.package, configure, peer.options)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "cookies"
    path.write_text(SECRET.hex())
    path.chmod(0o600)
    return path


@pytest.fixture
def directory(tmp_path: Path, secret_file: Path) -> Path:
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.test.zone").write_text(ZONE)
    (zones / "dnslb.yaml").write_text(f"cookie_secret_file: {secret_file}\ncookies: required\nworkers: 1\n")
    return tmp_path


def given_by(address: Address, shown: bytes) -> tuple[str, bytes]:
    reply = dns.query.udp(dns.message.from_wire(shows(shown, "www.example.test A")), address.host, 3, address.port)
    return dns.rcode.to_text(reply.rcode()), b"".join(
        option.to_wire() or b"" for option in reply.options if option.otype == COOKIE
    )


@pytest.mark.parametrize("peer", [BIND, NSD, KNOT], ids=lambda peer: peer.name)
def test_a_cookie_of_another_server_with_the_same_secret_is_ours_and_ours_is_its(directory: Path, peer: Peer) -> None:
    port = free_port()
    plain = directory / "plain"
    plain.mkdir()
    (plain / "example.test.zone").write_text("".join(line for line in ZONE.splitlines(True) if "$GENERATE" not in line)
                                             + "www 30 A 192.0.2.1\n")
    (directory / "peer").mkdir()
    with (
        started(directory, "--listen", f"127.0.0.1:{port}"),
        serving(with_cookies(peer), plain, directory / "peer") as other,
    ):
        ours = Address("127.0.0.1", port)
        theirs = given_by(other, MINE)[1]
        assert len(theirs) == cookie.LENGTH
        assert given_by(ours, MINE)[0] == "BADCOOKIE"
        assert given_by(ours, theirs)[0] == "NOERROR"
        given = given_by(ours, MINE)[1]
        # With the same time in it, it is the same cookie, so that server takes it for its own.
        again = MINE + cookie.stamp(int.from_bytes(theirs[12:16]))
        assert again == theirs[: -cookie.HASH]
        (found,) = cookie.hashes(SECRET, [given[: -cookie.HASH] + bytes((127, 0, 0, 1))])
        assert found == given[-cookie.HASH :]
        assert given_by(other, given)[0] == "NOERROR"


def test_dig_learns_a_cookie_and_shows_it(directory: Path) -> None:
    port = free_port()
    with started(directory, "--listen", f"127.0.0.1:{port}"):
        dig = [program("dig", "dnsutils"), "@127.0.0.1", "-p", str(port), "www.example.test", "+cookie", "+qr"]
        said = subprocess.run(dig, capture_output=True, text=True, timeout=30, check=True).stdout
    assert "BADCOOKIE, retrying" in said
    assert "status: NOERROR" in said
    assert "(good)" in said


def test_a_full_batch_of_fresh_cookies_is_answered_each_with_its_own(directory: Path) -> None:
    port = free_port()
    with started(directory, "--listen", f"127.0.0.1:{port}"):
        def ask(cookies: list[bytes]) -> list[dns.message.Message]:
            packets = [shows(one, "www.example.test A") for one in cookies]
            return [dns.message.from_wire(reply or b"") for reply in ask_udp(Address("127.0.0.1", port), packets)]

        mine = [secrets.token_bytes(8) for _ in range(2_000)]
        given = [reply.options[0].to_wire() or b"" for reply in ask(mine)]
        for one, found in zip(mine, given, strict=True):
            assert found[:8] == one
            assert cookie.hashes(SECRET, [found[:-8] + bytes((127, 0, 0, 1))]) == [found[-8:]]
        assert {dns.rcode.to_text(reply.rcode()) for reply in ask(given)} == {"NOERROR"}
