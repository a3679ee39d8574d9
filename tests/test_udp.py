"""UDP on real sockets: who replies, from where, to all of a batch, in turn, and what no packet can do."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from dnslb_server import Server, question, resident, started
from exchange import ask_udp
from peers import Address, free_port

from dnslb.dns.reply_kind import HEAD, UNSENT
from dnslb.worker.bugs import Bugs
from dnslb.worker.reply_counter import ReplyCounter
from dnslb.worker.udp import Batches

PATIENCE = 3.0          # seconds for a reply
FUZZ = 6000             # packets
FLOOD = 12000           # questions
GROWTH = 6 << 20        # octets that a worker may grow by under any packets: its tables are bounded


@dataclass(frozen=True, slots=True)
class Served:
    server: Server
    port: int           # on 127.0.0.1 and ::1 only
    wildcard: int       # on 0.0.0.0 and ::


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    port, wildcard = free_port(), free_port()
    places = f"127.0.0.1:{port}", f"[::1]:{port}", f"0.0.0.0:{wildcard}", f"[::]:{wildcard}"
    options = [word for place in places for word in ("--listen", place)]
    with started(tmp_path_factory.mktemp("udp"), "--workers", "1", *options) as server:
        yield Served(server, port, wildcard)


def client(host: str) -> socket.socket:
    """A UDP socket of the host's family, not connected."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.settimeout(PATIENCE)
    return sock


def leader(reply: bytes) -> str:
    """The first record of the answer."""
    return str(dns.message.from_wire(reply).answer[0][0])


def ask(address: Address, packet: bytes) -> bytes:
    (reply,) = ask_udp(address, [packet])
    assert reply is not None, f"no reply to {packet.hex()}"
    return reply


@pytest.mark.parametrize(("host", "on_wildcard"), [
    ("127.0.0.1", False),
    ("::1", False),
    ("127.0.0.1", True),
    ("127.0.0.5", True),
    ("127.1.2.3", True),
    ("::1", True),
])  # fmt: skip
def test_the_reply_comes_from_the_address_that_was_asked(served: Served, host: str, on_wildcard: bool) -> None:
    port = served.wildcard if on_wildcard else served.port
    with client(host) as sock:
        sock.sendto(question("www", number=7), (host, port))
        reply, source = sock.recvfrom(65535)
    assert source[:2] == (host, port)
    assert dns.message.from_wire(reply).id == 7


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1"])
def test_a_batch_is_answered_in_full(served: Served, host: str) -> None:
    with client(host) as sock:
        for number in range(500):
            sock.sendto(question("www", number=number), (host, served.wildcard))
        replies = [sock.recv(65535) for _ in range(500)]
    assert {dns.message.from_wire(reply).id for reply in replies} == set(range(500))


SILENT = {
    "a reply": b"\0\0\x80\0" + question("www")[4:],
    "nothing": b"",
    "one octet": b"\0",
    "half a header": bytes(6),
    "a header but one octet": bytes(11),
}


@pytest.mark.parametrize("silent", SILENT.values(), ids=SILENT)
def test_packets_met_with_silence_do_not_disturb_their_batch(served: Served, silent: bytes) -> None:
    packets = [silent if number % 3 == 1 else question("www", number=number) for number in range(300)]
    asked = [number for number in range(300) if number % 3 != 1]
    with client("127.0.0.1") as sock:
        for packet in packets:
            sock.sendto(packet, ("127.0.0.1", served.port))
        replies = [sock.recv(65535) for _ in asked]
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(65535)
    # Each reply is to its own query, with its own records: no slot of the batch was taken for another.
    parsed = [dns.message.from_wire(reply) for reply in replies]
    assert [reply.id for reply in parsed] == asked
    assert all(len(reply.answer[0]) == 4 for reply in parsed)


def padded(octets: int, number: int = 0) -> bytes:
    """A query of that length, by padding (RFC 7830)."""
    plain = question("www", number=number)
    query = plain[:11] + b"\1" + plain[12:]     # ARCOUNT 1
    padding = octets - len(query) - 15
    opt = b"\0\0\x29\x04\xd0\0\0\0\0" + (padding + 4).to_bytes(2) + b"\0\x0c" + padding.to_bytes(2) + bytes(padding)
    return query + opt


LONG = (127, 128, 129, 1232, 4000, 16384)   # octets; a slot of the batch has 128, a query at most 16384


@pytest.mark.parametrize("octets", LONG)
def test_a_query_of_any_length_is_read_whole(served: Served, octets: int) -> None:
    """Cut short, it would end in the middle of its OPT record."""
    reply = dns.message.from_wire(ask(Address("127.0.0.1", served.port), padded(octets)))
    assert reply.rcode() == dns.rcode.NOERROR
    assert len(reply.answer[0]) == 4


def test_long_queries_do_not_disturb_their_batch(served: Served) -> None:
    packets = [
        padded(LONG[number % 5], number) if number % 2 else question("www", number=number) for number in range(99)
    ]
    with client("127.0.0.1") as sock:
        for packet in packets:
            sock.sendto(packet, ("127.0.0.1", served.port))
        replies = [dns.message.from_wire(sock.recv(65535)) for _ in packets]
    assert [reply.id for reply in replies] == list(range(99))
    assert all(reply.rcode() == dns.rcode.NOERROR for reply in replies)


@pytest.mark.parametrize("octets", [1300, 4000])
def test_a_long_query_that_ends_in_the_middle_of_its_option_is_malformed(served: Served, octets: int) -> None:
    reply = ask(Address("127.0.0.1", served.port), padded(octets)[:-1])
    assert dns.message.from_wire(reply).rcode() == dns.rcode.FORMERR


def test_four_queries_have_four_leaders(served: Served) -> None:
    address = Address("127.0.0.1", served.port)
    leaders = [leader(ask(address, question("www"))) for _ in range(4)]
    assert sorted(leaders) == ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]
    assert [leader(ask(address, question("www"))) for _ in range(8)] == leaders * 2


def test_address_families_and_transports_take_turns_apart_and_names_too(served: Served) -> None:
    """A, AAAA and other names in any mixture: each RRset's leaders are as if it had been asked alone."""
    address = Address("127.0.0.1", served.port)
    first = {
        key: int(leader(ask(address, question(*key))).rpartition(".")[2].rpartition(":")[2])
        for key in (("www", "A"), ("www", "AAAA"), ("api", "A"))
    }
    turns = dict.fromkeys(first, 0)
    rng = random.Random(2)
    for _ in range(60):
        key = rng.choice(list(first))
        turns[key] += 1
        expected = (first[key] - 1 + turns[key]) % 4 + 1
        assert leader(ask(address, question(*key))).endswith((f".{expected}", f":{expected}"))


def test_two_workers_each_take_their_own_turns(tmp_path: Path) -> None:
    """A socket always meets the same worker.  Its leaders continue where that worker stood, in ring order."""
    port = free_port()
    runs = []
    with started(tmp_path, "--workers", "2", "--listen", f"127.0.0.1:{port}"):
        for _ in range(24):
            with client("127.0.0.1") as sock:
                run = []
                for _ in range(5):
                    sock.sendto(question("www"), ("127.0.0.1", port))
                    run.append(int(leader(sock.recv(65535)).rpartition(".")[2]) - 1)
                runs.append(run)
    for run in runs:
        assert run == [(run[0] + turn) % 4 for turn in range(5)]
    # Which worker a socket meets is the kernel's choice: follow every choice that explains what was seen.
    states = {(a, b) for a in range(4) for b in range(4)}
    for start, *_ in runs:
        after = (start + 5) % 4
        states = {(after, b) for a, b in states if a == start} | {(a, after) for a, b in states if b == start}
    assert states, f"no two rings explain {runs}"
    one_ring = [(runs[0][0] + 5 * number) % 4 for number in range(24)]
    assert [run[0] for run in runs] != one_ring, "one worker answered everything"


def mutated(rng: random.Random) -> bytes:
    """A query with a few octets changed, cut or added; or octets without any sense."""
    if rng.random() < 0.1:
        return rng.randbytes(rng.randrange(1, 1500))
    packet = bytearray(rng.choice(SEEDS))
    for _ in range(rng.choice((0, 1, 1, 2, 8))):
        packet[rng.randrange(len(packet))] = rng.randrange(256)
    if rng.random() < 0.2:
        del packet[rng.randrange(len(packet)) :]
    if rng.random() < 0.2:
        packet += rng.randbytes(rng.randrange(100))
    return bytes(packet) or b"\0"


SEEDS = [
    dns.message.make_query(name, rrtype, **edns).to_wire()
    for name in ("www.example.test.", "WwW.eXample.test.", "nope.example.test.", "a.b.c.example.test.", "other.test.")
    for rrtype in ("A", "AAAA", "ANY", "SOA", "TXT")
    for edns in ({"use_edns": False}, {"use_edns": 0, "payload": 4096}, {"use_edns": 0, "want_dnssec": True})
]


def fuzz(served: Served, seed: int) -> int:
    """Send the packets, as fast as the server takes them; how many replies came."""
    rng = random.Random(seed)
    replies = 0
    with client("127.0.0.1") as sock:
        sock.setblocking(False)
        for number in range(FUZZ):
            sock.sendto(mutated(rng), ("127.0.0.1", served.port))
            if number % 50 == 0:
                # A query whose reply is waited for: so the socket buffers never overflow.
                ask(Address("127.0.0.1", served.port), question("ns1"))
            try:
                while True:
                    sock.recv(65535)
                    replies += 1
            except BlockingIOError:
                pass
    return replies


def test_mutated_packets_leave_no_trace(served: Served) -> None:
    """The server still answers, has logged nothing, and has not grown, nor been replaced."""
    fuzz(served, 1)     # fills what tables there are
    workers = served.server.workers()
    before = resident(workers[0])
    replies = fuzz(served, 2)
    growth = resident(workers[0]) - before
    assert replies > FUZZ // 4
    assert served.server.workers() == workers
    assert served.server.log == ""
    assert growth < GROWTH, f"{growth} octets"
    reply = ask(Address("127.0.0.1", served.port), question("www"))
    assert len(dns.message.from_wire(reply).answer[0]) == 4


def random_names(rng: random.Random) -> list[bytes]:
    """Names that do not exist, of some depths."""
    return [
        packed([rng.randbytes(4).hex() for _ in range(rng.choice((1, 1, 2, 5)))], dns.rdatatype.A) for _ in range(FLOOD)
    ]


def random_types(rng: random.Random) -> list[bytes]:
    """Types that names which exist do not have: each is a reply of its own."""
    return [packed([rng.choice(("www", "api", "ns1"))], rng.randrange(256, 65280)) for _ in range(FLOOD)]


def packed(below: list[str], rrtype: int) -> bytes:
    """A question for a name of the zone: quicker than dnspython's."""
    labels = b"".join(len(label).to_bytes(1) + label.encode() for label in (*below, "example", "test"))
    return b"\0\0\0\0\0\1\0\0\0\0\0\0" + labels + b"\0" + rrtype.to_bytes(2) + b"\0\1"


@pytest.mark.parametrize(("flood", "rcode"), [
    (random_names, dns.rcode.NXDOMAIN),
    (random_types, dns.rcode.NOERROR),
])  # fmt: skip
def test_questions_never_asked_before_do_not_grow_the_worker(
    served: Served, flood: Callable[[random.Random], list[bytes]], rcode: dns.rcode.Rcode
) -> None:
    """The attack that fills caches."""
    rng = random.Random(3)
    (worker,) = served.server.workers()
    address = Address("127.0.0.1", served.port)
    ask_udp(address, flood(rng))
    before = resident(worker)
    replies = [reply for _ in range(2) for reply in ask_udp(address, flood(rng))]
    assert all(reply is not None and reply[3] & 15 == rcode for reply in replies)
    assert resident(worker) - before < GROWTH


def test_slow_queries_do_not_have_turns_in_a_row() -> None:
    """After full batches that took their time, TCP and the parent have their turn though more queries wait."""
    answered = []

    def respond(packet: bytes, _: bytes) -> bytes:
        time.sleep(0.0002)
        answered.append(packet)
        return packet

    with client("127.0.0.1") as ours, client("127.0.0.1") as theirs:
        ours.bind(("127.0.0.1", 0))
        for number in range(400):
            theirs.sendto(question("www", number=number), ours.getsockname())
        batches = Batches(ours, respond, Bugs(), ReplyCounter())
        batches.answer()
        assert len(answered) <= 128
        while len(answered) < 400:
            batches.answer()


def test_replies_that_the_system_does_not_take_are_counted_as_such() -> None:
    counter = ReplyCounter()
    with client("127.0.0.1") as ours, client("127.0.0.1") as theirs:
        ours.bind(("127.0.0.1", 0))
        batches = Batches(ours, lambda packet, _: packet, Bugs(), counter)
        for count in (3, 2):
            for number in range(count):
                theirs.sendto(question("www", number=number), ours.getsockname())
            batches.answer()
            # Unconnected sockets say that they have nothing to shut down, and send nothing from then on.
            with suppress(OSError):
                ours.shutdown(socket.SHUT_WR)
    assert counter.take() == {question("www")[HEAD]: 3, UNSENT: 2}
