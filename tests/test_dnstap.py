"""dnstap and Frame Streams, octet by octet, and as the field's own tools read them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import dns.message
import pytest
from programs import program

from dnslb.dns.dnstap import CONTENT_TYPE, Encoder, Endpoints
from dnslb.ipc import frame_streams
from dnslb.ipc.frame_streams import Broken, Control, ControlReader

AT = 1_763_700_000_123_456_789  # nanoseconds
QUERY = dns.message.make_query("www.example.test", "A", id=7).to_wire()
OVER_IPV4 = Endpoints("udp", bytes((192, 0, 2, 7)), 4242, bytes((192, 0, 2, 53)), 53)
OVER_IPV6 = Endpoints("tcp", bytes((0x20, 1, 13, 0xB8, *[0] * 11, 7)), 4242, bytes((0x20, 1, *[0] * 13, 53)), 53)


def read(directory: Path, *messages: bytes) -> str:
    """What dnstap-read prints of a file with these messages."""
    file = directory / "frames"
    frames = [frame_streams.data(message) for message in messages]
    start = frame_streams.control(frame_streams.START, CONTENT_TYPE)
    file.write_bytes(start + b"".join(frames) + frame_streams.control(frame_streams.STOP))
    command = [program("dnstap-read", "bind9-dnsutils"), "-y", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


def test_dnstap_read_reads_a_query(tmp_path: Path) -> None:
    told = read(tmp_path, Encoder("ns1", "dnslb 1").query(OVER_IPV4, AT, QUERY))
    for line in (
        "type: MESSAGE", "identity: ns1", "version: dnslb 1", "type: AUTH_QUERY", "socket_family: INET",
        "socket_protocol: UDP", 'query_address: "192.0.2.7"', 'response_address: "192.0.2.53"', "query_port: 4242",
        "response_port: 53", "query_time: !!timestamp 2025-11-21T04:40:00Z", "www.example.test. IN A",
    ):  # fmt: skip
        assert line in told


def test_dnstap_read_reads_a_reply(tmp_path: Path) -> None:
    told = read(tmp_path, Encoder("", "").response(OVER_IPV6, AT, QUERY))
    for line in (
        "type: AUTH_RESPONSE", "socket_family: INET6", "socket_protocol: TCP", 'query_address: "2001:db8::7"',
        "response_time: !!timestamp 2025-11-21T04:40:00Z", "response_message_data:",
    ):  # fmt: skip
        assert line in told


def test_a_message_octet_by_octet() -> None:
    message = Encoder("a", "").query(Endpoints("udp", b"\1\2\3\4", 300, b"\5\6\7\x08", 53), 2_000_000_005, b"query")
    inner = bytes.fromhex(
        "0801 1001 1801 2204 01020304 2a04 05060708 30ac02 3835"  # type to ports: 300 is ac 02
        "4002 4d05000000 5205" + b"query".hex()
    )
    assert message == b"\x72" + bytes([len(inner)]) + inner + b"\x0a\x01a\x12\x00\x78\x01"


def test_control_frames_octet_by_octet() -> None:
    assert frame_streams.control(frame_streams.STOP).hex() == "00000000" "00000004" "00000003"
    assert frame_streams.control(frame_streams.READY, b"ab").hex() == (
        "00000000" "0000000e" "00000004" "00000001" "00000002" "6162"
    )


def test_control_frames_come_in_any_pieces() -> None:
    octets = frame_streams.control(frame_streams.ACCEPT, CONTENT_TYPE) + frame_streams.control(frame_streams.FINISH)
    reader = ControlReader()
    found = [each for octet in octets for each in reader.read(bytes([octet]))]
    assert found == [Control(frame_streams.ACCEPT, (CONTENT_TYPE,)), Control(frame_streams.FINISH)]


@pytest.mark.parametrize("octets", [
    bytes(8),                                      # an escape, and no type
    b"\0\0\0\1" + bytes(4),                        # data
    bytes(4) + b"\xff\xff\xff\xff",                # too long
    bytes(4) + b"\0\0\0\x0c" + b"\0\0\0\1\0\0\0\1\0\0\0\2",  # a content type that ends too early
    bytes(4) + b"\0\0\0\x0c" + b"\0\0\0\1\0\0\0\2\0\0\0\0",  # an unknown field
])  # fmt: skip
def test_what_is_no_control_frame_is_refused(octets: bytes) -> None:
    with pytest.raises(Broken):
        ControlReader().read(octets)


@pytest.mark.parametrize(("offered", "accepts"), [((), True), ((b"other", CONTENT_TYPE), True), ((b"other",), False)])
def test_a_receiver_accepts_what_it_names(offered: tuple[bytes, ...], accepts: bool) -> None:
    assert Control(frame_streams.ACCEPT, offered).accepts(CONTENT_TYPE) is accepts
