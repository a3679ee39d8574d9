"""TCP on real sockets: framing, pipelining, the limits that bound a connection, and clients that misbehave."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest
from dnslb_server import Server, eventually, question, resident, started
from peers import Address, free_port

from dnslb.dns.query import LONGEST
from dnslb.worker.bugs import Bugs
from dnslb.worker.reply_counter import ReplyCounter
from dnslb.worker.tcp import Connection

IDLE = 0.5              # seconds, the --tcp-idle of the server
SLACK = 2.0             # seconds that a busy machine may add
NOT_READING = 0.15      # seconds: from outside no condition shows that the server has stopped to read
TOTAL, PER_CLIENT = 6, 4
KEEPALIVE = partial(dns.edns.GenericOption, dns.edns.OptionType.make(11))
GROWTH = 8 << 20        # octets that one client can make a worker hold


@dataclass(frozen=True, slots=True)
class Served:
    server: Server
    address: Address


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With a short idle time."""
    port = free_port()
    options = ["--workers", "1", "--listen", f"127.0.0.1:{port}", "--tcp-idle", "500ms"]
    with started(tmp_path_factory.mktemp("tcp"), *options) as server:
        yield Served(server, Address("127.0.0.1", port))
        assert server.log == ""


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With few connections and the usual idle time; an IPv4 server, since every 127.x.y.z is a client of its own."""
    port = free_port()
    options = ["--tcp-connections", str(TOTAL), "--tcp-per-client", str(PER_CLIENT)]
    options += ["--workers", "1", "--listen", f"127.0.0.1:{port}"]
    with started(tmp_path_factory.mktemp("limited"), *options) as server:
        yield Served(server, Address("127.0.0.1", port))
        assert server.log == ""


def framed(packet: bytes) -> bytes:
    return len(packet).to_bytes(2) + packet


def connect(address: Address, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(address, 5.0, (source, 0))


def replies(sock: socket.socket) -> Iterator[dns.message.Message]:
    """What comes until the server closes its side."""
    stream = sock.makefile("rb")
    while length := stream.read(2):
        octets = stream.read(int.from_bytes(length))
        assert len(octets) == int.from_bytes(length), "a reply was cut short"
        yield dns.message.from_wire(octets)


def seconds_until_closed(sock: socket.socket) -> float:
    start = time.monotonic()
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - start


def test_a_query_is_answered(served: Served) -> None:
    query = dns.message.make_query("www.example.test.", "A", use_edns=0)
    reply = dns.query.tcp(query, served.address.host, 5.0, served.address.port)
    assert len(reply.answer[0]) == 4
    assert reply.edns == 0


def test_hundreds_of_queries_in_one_segment_are_answered_in_order(served: Served) -> None:
    with connect(served.address) as sock:
        sock.sendall(b"".join(framed(question("www", number=number)) for number in range(500)))
        sock.shutdown(socket.SHUT_WR)
        assert [reply.id for reply in replies(sock)] == list(range(500))


def test_a_query_sent_octet_by_octet_is_answered(served: Served) -> None:
    with connect(served.address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in framed(question("www", number=9)):
            sock.sendall(bytes((octet,)))
        assert next(replies(sock)).id == 9


def test_a_client_that_has_closed_its_side_gets_its_reply(served: Served) -> None:
    with connect(served.address) as sock:
        sock.sendall(framed(question("www", number=3)))
        sock.shutdown(socket.SHUT_WR)
        assert [reply.id for reply in replies(sock)] == [3]


UNANSWERED = {
    "nothing": b"",
    "one octet": b"\0",
    "a message of no octets": b"\0\0",
    "a reply": framed(b"\0\0\x80\0" + question("www")[4:]),
    "a length with nothing behind it": b"\x10\0",
    "half a message": framed(question("www"))[:20],
}


@pytest.mark.parametrize("octets", UNANSWERED.values(), ids=UNANSWERED)
def test_a_connection_without_a_query_is_closed_after_the_idle_time(served: Served, octets: bytes) -> None:
    with connect(served.address) as sock:
        sock.sendall(octets)
        seconds = seconds_until_closed(sock)
    assert IDLE - 0.1 <= seconds <= IDLE + SLACK


@pytest.mark.parametrize("octets", [b"\0\0", UNANSWERED["a reply"], framed(b"x")])
def test_a_message_met_with_silence_does_not_end_the_connection(served: Served, octets: bytes) -> None:
    with connect(served.address) as sock:
        sock.sendall(octets + framed(question("www", number=4)) + octets + framed(question("www", number=5)))
        sock.shutdown(socket.SHUT_WR)
        assert [reply.id for reply in replies(sock)] == [4, 5]


def test_a_trickle_without_a_whole_query_is_closed_after_the_idle_time(served: Served) -> None:
    """Octets alone do not keep a connection: else one a second would hold it for hours."""
    with connect(served.address) as sock:
        sock.settimeout(0.05)
        start = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() < start + IDLE + SLACK:
                sock.sendall(b"\x0f")
                try:
                    if sock.recv(1) == b"":
                        raise ConnectionResetError
                except TimeoutError:
                    pass


def test_queries_keep_a_connection_open(served: Served) -> None:
    with connect(served.address) as sock:
        stream = replies(sock)
        end = time.monotonic() + 3 * IDLE
        while time.monotonic() < end:
            sock.sendall(framed(question("www", number=6)))
            assert next(stream).id == 6
            time.sleep(IDLE / 10)


def is_answered(sock: socket.socket) -> bool:
    try:
        sock.sendall(framed(question("www", number=1)))
        return next(replies(sock)).id == 1
    except (ConnectionError, StopIteration):
        return False


def is_closed(sock: socket.socket) -> bool:
    """Orderly: the client may have sent a query, but has got nothing that was cut short."""
    return sock.recv(1) == b""


def admitted(stack: ExitStack, address: Address, source: str = "127.0.0.1") -> socket.socket:
    """A new connection, over which a query was answered."""
    sock = stack.enter_context(connect(address, source))
    assert is_answered(sock)
    return sock


def slow_reader(address: Address, source: str = "127.0.0.1") -> socket.socket:
    """With so little room for replies that they soon wait in the server."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    sock.settimeout(5.0)
    sock.bind((source, 0))
    sock.connect(address)
    return sock


MANY_LARGE = b"".join(framed(question("large", "TXT", number)) for number in range(100))


def test_a_new_connection_takes_the_place_of_the_longest_idle(limited: Served) -> None:
    """Of its own client, when that has its share already; else of all.  Nobody else loses anything."""
    with ExitStack() as stack:
        mine = [admitted(stack, limited.address) for _ in range(PER_CLIENT)]
        theirs = [admitted(stack, limited.address, "127.0.0.2") for _ in range(TOTAL - PER_CLIENT)]
        assert is_answered(mine[0])
        mine.append(admitted(stack, limited.address))
        assert is_closed(mine.pop(1))
        theirs.append(admitted(stack, limited.address, "127.0.0.3"))
        assert is_closed(mine.pop(1))
        theirs.append(admitted(stack, limited.address, "127.0.0.4"))
        assert is_closed(mine.pop(1))
        theirs.append(admitted(stack, limited.address, "127.0.0.4"))
        assert is_closed(theirs.pop(0))
        assert all(map(is_answered, mine + theirs))


def test_a_connection_with_a_reply_due_keeps_its_place(limited: Served) -> None:
    """Though it has not progressed for longer than those that were opened since."""
    with ExitStack() as stack:
        reader = stack.enter_context(slow_reader(limited.address))
        reader.sendall(MANY_LARGE)
        time.sleep(NOT_READING)
        for number in range(3 * TOTAL):
            admitted(stack, limited.address, f"127.0.0.{number % 3 + 1}")
        reader.shutdown(socket.SHUT_WR)
        assert [reply.id for reply in replies(reader)] == list(range(100))


def test_when_replies_are_due_to_all_the_one_longest_without_progress_goes(limited: Served) -> None:
    """A full table of clients that do not read shuts nobody out."""
    with ExitStack() as stack:
        for number in range(TOTAL):
            reader = stack.enter_context(slow_reader(limited.address, f"127.0.0.{number % 3 + 1}"))
            reader.sendall(MANY_LARGE)
        time.sleep(NOT_READING)
        admitted(stack, limited.address, "127.0.0.4")
        admitted(stack, limited.address, "127.0.0.5")


def is_admitted_once(address: Address) -> bool:
    with connect(address, "127.0.0.4") as sock:
        return is_answered(sock)


def test_connections_that_were_reset_leave_room(limited: Served) -> None:
    for _ in range(5 * TOTAL):
        with connect(limited.address) as sock:
            sock.sendall(framed(question("large", "TXT")) * 20)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))   # close by RST
    eventually(lambda: is_admitted_once(limited.address), "connections that were reset are still counted")


def test_a_client_that_never_reads_is_not_read_from_either(served: Served) -> None:
    """It fills its own buffers, not our memory; others are served meanwhile; and it is closed when idle."""
    (worker,) = served.server.workers()
    with connect(served.address) as other:
        assert is_answered(other)
    before = resident(worker)
    queries = framed(question("large", "TXT")) * 1000
    with connect(served.address) as sock:
        sock.setblocking(False)
        start = time.monotonic()
        sent, grown, served_others = 0, 0, 0
        with pytest.raises(ConnectionError):
            while time.monotonic() < start + IDLE + 2 * SLACK:
                try:
                    sent += sock.send(queries[sent % len(queries) :])
                except BlockingIOError:
                    with connect(served.address) as other:
                        served_others += is_answered(other)
                    grown = max(grown, resident(worker) - before)
                    time.sleep(0.01)
        seconds = time.monotonic() - start
    assert seconds >= IDLE
    assert served_others > 2
    assert grown < GROWTH, f"{grown} octets for {sent} octets of queries"


def test_replies_that_nobody_takes_are_not_kept_in_the_buffers_of_the_system(served: Served) -> None:
    """All of them fit there: the server has nothing left to send, and closes the connection when it is idle."""
    with slow_reader(served.address) as sock:
        sock.sendall(framed(question("large", "TXT")) * 30)
        eventually(lambda: unacknowledged(served.address.port) > 1 << 20, "no replies wait")
        eventually(lambda: unacknowledged(served.address.port) == 0, "they wait for ever", IDLE + 8 * SLACK)


def unacknowledged(port: int) -> int:
    """Octets that the system keeps for clients of that port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[4].partition(":")[0], 16) for row in rows if row[1].endswith(f":{port:04X}"))


def test_a_slow_reader_gets_every_reply_in_order(limited: Served) -> None:
    """What came while the client did not read is answered when it does."""
    with slow_reader(limited.address) as sock:
        sock.sendall(MANY_LARGE)
        sock.shutdown(socket.SHUT_WR)
        time.sleep(NOT_READING)
        assert [reply.id for reply in replies(sock)] == list(range(100))


def test_a_client_that_reads_again_is_read_from_again(limited: Served) -> None:
    """Several times over, on one connection: it lets its replies pile up, takes them, and asks on."""
    with slow_reader(limited.address) as sock:
        stream = replies(sock)
        for start in range(0, 300, 100):
            sock.sendall(b"".join(framed(question("large", "TXT", number)) for number in range(start, start + 100)))
            time.sleep(NOT_READING)
            assert [next(stream).id for _ in range(100)] == list(range(start, start + 100))


def test_keepalive_tells_the_idle_time(served: Served) -> None:
    """In units of 100 ms, over TCP only, and only to those who ask (RFC 7828 §3)."""
    asking = dns.message.make_query("www.example.test.", "A", options=[KEEPALIVE(b"")])
    silent = dns.message.make_query("www.example.test.", "A", use_edns=0)
    host, port = served.address
    assert dns.query.tcp(asking, host, 5.0, port).options == (KEEPALIVE(b"\0\5"),)
    assert dns.query.tcp(silent, host, 5.0, port).options == ()
    assert dns.query.udp(asking, host, 5.0, port).options == ()


@pytest.mark.parametrize(("name", "rrtype", "records"), [("many", "A", 100), ("large", "TXT", 250)])
def test_what_does_not_fit_over_udp_comes_whole_over_tcp(
    served: Served, name: str, rrtype: str, records: int
) -> None:
    query = dns.message.make_query(f"{name}.example.test.", rrtype, use_edns=0, payload=4096)
    host, port = served.address
    truncated = dns.query.udp(query, host, 5.0, port)
    assert truncated.flags & dns.flags.TC
    assert not truncated.answer
    whole = dns.query.tcp(query, host, 5.0, port)
    assert not whole.flags & dns.flags.TC
    assert len(whole.answer[0]) == records


def test_a_fallback_to_tcp_does_not_skip_turns(served: Served) -> None:
    """The truncated reply shows no addresses, so the next leader is the next of the ring."""
    query = dns.message.make_query("many.example.test.", "A", use_edns=False)
    host, port = served.address

    def leader() -> int:
        reply, over_tcp = dns.query.udp_with_fallback(query, host, 5.0, port)
        assert over_tcp
        return int(str(reply.answer[0][0]).rpartition(".")[2])

    first = leader()
    assert [leader() for _ in range(5)] == [(first + turn) % 100 + 1 for turn in range(5)]


def test_a_query_longer_than_any_ends_the_connection(served: Served) -> None:
    """At once, by its length alone; what came before is answered."""
    with connect(served.address) as sock:
        sock.sendall(framed(question("www", number=8)) + (LONGEST + 1).to_bytes(2))
        start = time.monotonic()
        assert [reply.id for reply in replies(sock)] == [8]
        assert time.monotonic() - start < IDLE


def test_queries_of_every_length_are_answered_whole(served: Served) -> None:
    """Whether they lie in one piece of what is read or in two."""
    with connect(served.address) as sock:
        stream = replies(sock)
        for octets in (100, 3000, 4095, 4097, LONGEST):
            pad = dns.edns.GenericOption(dns.edns.OptionType.PADDING, bytes(octets - 49))
            query = dns.message.make_query("www.example.test.", "A", options=[pad]).to_wire(max_size=0xFFFF)
            assert len(query) == octets
            sock.sendall(framed(query) * 3)
            assert [next(stream).rcode() for _ in range(3)] == [dns.rcode.NOERROR] * 3


def test_a_long_pipeline_leaves_others_their_turn() -> None:
    """It is answered to the end, in turns of a bounded time: an instant allows one query."""
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        connection = Connection(ours, b"", b"", lambda packet, _: packet, Bugs(), ReplyCounter())
        theirs.sendall(100 * framed(b"a query of eight octets or more"))
        assert connection.proceed(until=0.0)
        assert theirs.recv(1 << 16) == framed(b"a query of eight octets or more")
        while connection.is_due:
            assert connection.proceed(until=time.monotonic() + 60)
        assert len(theirs.recv(1 << 16)) == 99 * 33
        connection.close()
