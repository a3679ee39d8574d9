"""Packets that no honest resolver sends, and honest ones that few do: each by name.

Octets are laid out by hand: a library that refuses to build such a packet is no use here.
"""

from __future__ import annotations

from collections.abc import Iterator

from queries import NSID, UNKNOWN_OPTION, Edns, Query

IXFR, AXFR = 251, 252
IN, CH = 1, 3
QR, AA, TC, RD, RA, Z, AD, CD = (0x8000 >> bit for bit in (0, 5, 6, 7, 8, 9, 10, 11))

SHOWN = 200     # octets of a packet in a failure

APEX = b"\x09addresses\x04test\0"
WWW = b"\x03www" + APEX
NOWHERE = b"\x07nowhere" + APEX
OUTSIDE = b"\x03www\x07example\x03net\0"
VERSION_BIND, ID_SERVER = b"\x07version\x04bind\0", b"\x02id\x06server\0"
QUESTION = WWW + b"\0\1\0\1"
ADDRESS = WWW + b"\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1"
# ANSWER and AUTHORITY of NOTIFY and IXFR queries carry a SOA like this one.
OLD_SOA = APEX + b"\0\6\0\1\0\0\0\x3c\0\x16\0\0" + bytes(20)
TSIG_RECORD = (
    b"\3key\0" + b"\0\xfa\0\xff" + bytes(4) + b"\0\x3d" + b"\x0bhmac-sha256\0" + b"\0\0\x65\0\0\0\1\x2c"
    + b"\0\x20" + bytes(32) + b"\0\0" + b"\0\0" + b"\0\0"
)  # fmt: skip


def header(flags: int = 0, opcode: int = 0, counts: tuple[int, int, int, int] = (1, 0, 0, 0)) -> bytes:
    return b"\0\0" + (flags | opcode << 11).to_bytes(2) + b"".join([count.to_bytes(2) for count in counts])


def malformed(tcp: bool) -> list[Query]:
    """All of them, over one transport."""
    return [
        Query(f"{'TCP' if tcp else 'UDP'}, {title}: {_hex(wire)}", wire, *_type_and_class(wire), tcp=tcp)
        for title, wire in _packets()
    ]


def _hex(wire: bytes) -> str:
    return wire.hex() if len(wire) <= SHOWN else f"{wire[:SHOWN].hex()}… ({len(wire)} octets)"


def _type_and_class(wire: bytes) -> tuple[int, int]:
    """Of the question, when the packet has one about one of the names above."""
    for name in (WWW, NOWHERE, OUTSIDE, APEX, VERSION_BIND, ID_SERVER):
        end = 12 + len(name)
        if wire[12:end] == name and len(wire) >= end + 4:
            return int.from_bytes(wire[end : end + 2]), int.from_bytes(wire[end + 2 : end + 4])
    return 0, IN


def _packets() -> Iterator[tuple[str, bytes]]:
    yield from _short()
    yield from _counts()
    yield from _names()
    yield from _flags()
    yield from _opcodes()
    yield from _classes()
    yield from _records()
    yield from _edns()
    yield from _transfers()


def _short() -> Iterator[tuple[str, bytes]]:
    whole = header() + QUESTION
    for length in range(1, len(whole)):
        yield f"the first {length} octets of a query", whole[:length]


def _counts() -> Iterator[tuple[str, bytes]]:
    yield "QDCOUNT 0, nothing else", header(counts=(0, 0, 0, 0))
    yield "QDCOUNT 0, RD", header(RD, counts=(0, 0, 0, 0))
    yield "QDCOUNT 0, OPT", header(counts=(0, 0, 0, 1)) + Edns().wire
    yield "QDCOUNT 0, a question there", header(counts=(0, 0, 0, 0)) + QUESTION
    yield "QDCOUNT 2, twice the same", header(counts=(2, 0, 0, 0)) + QUESTION * 2
    yield "QDCOUNT 2, two names", header(counts=(2, 0, 0, 0)) + QUESTION + NOWHERE + b"\0\1\0\1"
    yield "QDCOUNT 2, OPT", header(counts=(2, 0, 0, 1)) + QUESTION * 2 + Edns().wire
    yield "QDCOUNT 2, one question there", header(counts=(2, 0, 0, 0)) + QUESTION
    yield "QDCOUNT 65535", header(counts=(65535, 0, 0, 0)) + QUESTION
    for octets in (b"\0", b"\xff", b"trailing octets", bytes(100), b"\xc0\x0c" * 200):
        yield f"{len(octets)} trailing octets", header() + QUESTION + octets
        yield (
            f"{len(octets)} trailing octets after OPT",
            header(counts=(1, 0, 0, 1)) + QUESTION + Edns().wire + octets,
        )
    for section, counts in (("ANCOUNT", (1, 1, 0, 0)), ("NSCOUNT", (1, 0, 1, 0)), ("ARCOUNT", (1, 0, 0, 1))):
        yield f"{section} 1, no record there", header(counts=counts) + QUESTION
        yield f"{section} 1, half a record", header(counts=counts) + QUESTION + ADDRESS[:-3]


def _names() -> Iterator[tuple[str, bytes]]:
    end = b"\0\1\0\1"
    yield "label type 01", header() + b"\x43www" + APEX + end
    yield "label type 10", header() + b"\x83www" + APEX + end
    yield "label type 01 later", header() + b"\x03www\x41a" + APEX + end
    yield "a pointer to itself", header() + b"\xc0\x0c" + end
    yield "a pointer to the header", header() + b"\xc0\x00" + end
    yield "a pointer forward", header() + b"\xc0\x12" + end + APEX
    yield "a pointer beyond the end", header() + b"\xff\xff" + end
    yield "labels, then a pointer to them", header() + b"\x03www\xc0\x0c" + end
    yield "labels, then a pointer to the header", header() + b"\x03www\xc0\x04" + end
    yield "half a pointer", header() + b"\x03www\xc0"
    yield "255 octets, outside", header() + (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0" + end
    yield "256 octets, outside", header() + (b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"b" * 62 + b"\0" + end
    room = 255 - len(APEX)
    yield "254 octets, one-letter labels", header() + b"\1a" * (room // 2) + APEX + end
    yield "255 octets, one-letter labels, outside", header() + b"\1a" * (room // 2) + b"\x0aaddressess\x04test\0" + end
    yield "256 octets, below the apex", header() + b"\1a" * (room // 2 + 1) + APEX + end
    yield "a name without end", header() + (b"\x3f" + b"a" * 63) * 30
    yield "the root", header() + b"\0" + end
    yield "octet 0 in a label", header() + b"\x04w\0ww" + APEX + end
    yield "a dot in a label", header() + b"\x0dwww.addresses\x04test\0" + end


def _flags() -> Iterator[tuple[str, bytes]]:
    flags_by_title = {"AA": AA, "TC": TC, "RD": RD, "RA": RA, "Z": Z, "AD": AD, "CD": CD}
    for title, flags in {**flags_by_title, "every flag": sum(flags_by_title.values())}.items():
        for name, where in ((WWW, "data"), (NOWHERE, "NXDOMAIN"), (OUTSIDE, "outside")):
            yield f"{title} set, {where}", header(flags) + name + b"\0\1\0\1"
        yield f"{title} set, OPT", header(flags, counts=(1, 0, 0, 1)) + QUESTION + Edns().wire
    for rcode in range(1, 16):
        yield f"rcode {rcode} set", header(rcode) + QUESTION
    yield "QR set", header(QR) + QUESTION
    yield "QR set, outside", header(QR) + OUTSIDE + b"\0\1\0\1"
    yield "QR set, QDCOUNT 0", header(QR, counts=(0, 0, 0, 0))
    yield "QR set, a whole reply", header(QR | AA, counts=(1, 1, 0, 0)) + QUESTION + ADDRESS
    for opcode in (1, 2, 4, 5, 6, 15):
        yield f"QR set, opcode {opcode}", header(QR, opcode) + QUESTION


def _opcodes() -> Iterator[tuple[str, bytes]]:
    for opcode in range(16):
        yield f"opcode {opcode}", header(opcode=opcode) + QUESTION
        yield f"opcode {opcode}, all flags", header(AA | TC | RD | RA | AD | CD, opcode) + QUESTION
        yield f"opcode {opcode}, OPT", header(opcode=opcode, counts=(1, 0, 0, 1)) + QUESTION + Edns().wire
        yield f"opcode {opcode}, nothing else", header(opcode=opcode, counts=(0, 0, 0, 0))
    yield "NOTIFY for a zone", header(AA, 4) + APEX + b"\0\6\0\1"
    yield "NOTIFY with the new SOA", header(AA, 4, (1, 1, 0, 0)) + APEX + b"\0\6\0\1" + OLD_SOA
    yield "NOTIFY for no zone", header(AA, 4) + OUTSIDE + b"\0\6\0\1"
    yield "UPDATE of a zone, no changes", header(opcode=5) + APEX + b"\0\6\0\1"
    yield "UPDATE of a zone, one record", header(opcode=5, counts=(1, 0, 1, 0)) + APEX + b"\0\6\0\1" + ADDRESS
    yield "UPDATE of no zone", header(opcode=5) + OUTSIDE + b"\0\6\0\1"
    yield "UPDATE of a name that is no zone", header(opcode=5) + WWW + b"\0\6\0\1"


def _classes() -> Iterator[tuple[str, bytes]]:
    for rdclass in (0, 2, 4, 254, 255, 256, 65535):
        for name in (WWW, NOWHERE, OUTSIDE):
            yield f"class {rdclass}", header() + name + b"\0\1" + rdclass.to_bytes(2)
    yield "class ANY, type ANY", header() + WWW + b"\0\xff\0\xff"
    # Few: BIND answers three of these a second.
    yield "class CH, a name of ours", header() + WWW + b"\0\1" + CH.to_bytes(2)
    yield "class CH, another name", header() + OUTSIDE + b"\0\x10" + CH.to_bytes(2)
    yield "class CH, version.bind", header() + VERSION_BIND + b"\0\x10" + CH.to_bytes(2)
    yield "class CH, id.server", header() + ID_SERVER + b"\0\x10" + CH.to_bytes(2)


def _records() -> Iterator[tuple[str, bytes]]:
    yield "a record in ANSWER", header(counts=(1, 1, 0, 0)) + QUESTION + ADDRESS
    yield "a record in AUTHORITY", header(counts=(1, 0, 1, 0)) + QUESTION + ADDRESS
    yield "a record in ADDITIONAL", header(counts=(1, 0, 0, 1)) + QUESTION + ADDRESS
    yield "a record before OPT", header(counts=(1, 0, 0, 2)) + QUESTION + ADDRESS + Edns().wire
    yield "a record after OPT", header(counts=(1, 0, 0, 2)) + QUESTION + Edns().wire + ADDRESS
    yield "a record with a pointer", header(counts=(1, 0, 0, 1)) + QUESTION + b"\xc0\x0c" + ADDRESS[len(WWW) :]
    yield "a record with a bad pointer", header(counts=(1, 0, 0, 1)) + QUESTION + b"\xff\xff" + ADDRESS[len(WWW) :]
    yield "TSIG of an unknown key", header(counts=(1, 0, 0, 1)) + QUESTION + TSIG_RECORD
    yield "OPT, then TSIG of an unknown key", header(counts=(1, 0, 0, 2)) + QUESTION + Edns().wire + TSIG_RECORD
    yield "TSIG before OPT", header(counts=(1, 0, 0, 2)) + QUESTION + TSIG_RECORD + Edns().wire


def _edns() -> Iterator[tuple[str, bytes]]:
    def opt(edns: Edns | bytes, question: bytes = QUESTION) -> bytes:
        return header(counts=(1, 0, 0, 1)) + question + (edns if isinstance(edns, bytes) else edns.wire)

    for name in (WWW, NOWHERE, OUTSIDE):
        asked = name + b"\0\1\0\1"
        yield "plain OPT", opt(Edns(), asked)
        yield "DO", opt(Edns(flags=0x8000), asked)
        for version in (1, 2, 255):
            yield f"EDNS version {version}", opt(Edns(version=version), asked)
            yield f"EDNS version {version}, DO", opt(Edns(version=version, flags=0x8000), asked)
            yield f"EDNS version {version}, unknown option", opt(Edns(version=version, options=((65001, b"x"),)), asked)
    for flags in (0x4000, 0x0001, 0x7FFF, 0xFFFF):
        yield f"EDNS flags {flags:#x}", opt(Edns(flags=flags))
    yield "an extended rcode in the query", opt(b"\0\0\x29\x04\xd0\x17\0\0\0\0\0")
    options = {
        "NSID": (NSID, b""), "NSID with data": (NSID, b"data"), "unknown": (UNKNOWN_OPTION, b"data"),
        "unknown, empty": (UNKNOWN_OPTION, b""), "option 0": (0, b""), "option 65535": (65535, b"\0" * 100),
        "cookie": (10, b"8 octets"), "padding": (12, bytes(50)), "keepalive": (11, b""),
        "ECS": (8, b"\0\1\x18\0\xc0\0\2"), "EDE": (15, b"\0\0"), "expire": (9, b""),
    }  # fmt: skip
    for title, option in options.items():
        yield f"option: {title}", opt(Edns(options=(option,)))
        yield f"option: {title}, twice", opt(Edns(options=(option, option)))
        yield f"option: {title}, outside", opt(Edns(options=(option,)), OUTSIDE + b"\0\1\0\1")
    for length in (400, 1100, 1300, 3000, 9000):
        yield f"{length} octets of padding", opt(Edns(size=4096, options=((12, bytes(length)),)))
    yield "an option longer than OPT", opt(b"\0\0\x29\x04\xd0\0\0\0\0\0\5\xfd\xe9\0\5x")
    yield "an option of three octets", opt(b"\0\0\x29\x04\xd0\0\0\0\0\0\3\xfd\xe9\0")
    yield "OPT longer than the packet", opt(b"\0\0\x29\x04\xd0\0\0\0\0\0\xff\xfd\xe9\0\0")
    yield "half of OPT", opt(b"\0\0\x29\x04\xd0\0\0")
    yield "OPT with an owner", opt(b"\3www\0\0\x29\x04\xd0\0\0\0\0\0\0")
    yield "OPT with the question for owner", opt(b"\xc0\x0c\0\x29\x04\xd0\0\0\0\0\0\0")
    yield "OPT in ANSWER", header(counts=(1, 1, 0, 0)) + QUESTION + Edns().wire
    yield "OPT in AUTHORITY", header(counts=(1, 0, 1, 0)) + QUESTION + Edns().wire
    for name in (WWW, OUTSIDE):
        yield "two OPTs", header(counts=(1, 0, 0, 2)) + name + b"\0\1\0\1" + Edns().wire * 2
    yield "two OPTs, the second of version 1", (
        header(counts=(1, 0, 0, 2)) + QUESTION + Edns().wire + Edns(version=1).wire
    )


def _transfers() -> Iterator[tuple[str, bytes]]:
    for name, what in ((APEX, "a zone"), (WWW, "no apex"), (OUTSIDE, "outside")):
        yield f"AXFR of {what}", header() + name + AXFR.to_bytes(2) + b"\0\1"
        yield f"IXFR of {what}", header(counts=(1, 0, 1, 0)) + name + IXFR.to_bytes(2) + b"\0\1" + OLD_SOA
    yield "IXFR without SOA", header() + APEX + IXFR.to_bytes(2) + b"\0\1"
    yield "AXFR of a zone, OPT", header(counts=(1, 0, 0, 1)) + APEX + AXFR.to_bytes(2) + b"\0\1" + Edns().wire
