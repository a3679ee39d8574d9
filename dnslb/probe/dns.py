"""The dns probe: one question over UDP, answered with an expected response code.

The question asks for recursion, so that a resolver can be a backend as well.  A truncated reply is good enough: its
header carries the response code.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from functools import partial

from dnslb.balance.health import Outcome
from dnslb.balance.pool import Address, DnsCheck
from dnslb.dns import name, rrtype
from dnslb.dns.mistake import Mistaken
from dnslb.probe.outcome import Failed, NotMade, Progress, judge, ours
from dnslb.probe.sockets import connect_udp

_HEADER = struct.Struct("!6H")  # id, flags, and the counts of the four sections (RFC 1035 §4.1.1)
_QR, _RD, _RCODE = 0x8000, 0x0100, 0x000F
_LARGEST = 4096   # octets read of a packet
_MOST_STRAY = 16  # packets that are no answer, before we give up on the target


async def probe(check: DnsCheck, address: Address, source: Address | None, timeout: float) -> Outcome:
    """Ask once.  Packets that do not answer the question are passed over until the time is up."""
    return await judge(partial(_attempt, check, address, source), timeout)


async def _attempt(check: DnsCheck, address: Address, source: Address | None, progress: Progress) -> str:
    loop = asyncio.get_running_loop()
    ident = secrets.randbits(16)
    question = _question(check)
    progress.lacks = "answer"
    with connect_udp(address, check.port, source) as sock:
        with ours():
            await loop.sock_sendall(sock, _HEADER.pack(ident, _RD, 1, 0, 0, 0) + question)
        return _judge_rcode(await _answer(sock, ident, question, progress), check)


async def _answer(sock: socket.socket, ident: int, question: bytes, progress: Progress) -> int:
    """The response code of the first packet that answers the question."""
    for _ in range(_MOST_STRAY):
        packet = await asyncio.get_running_loop().sock_recv(sock, _LARGEST)
        stray = _fault(packet, ident, question)
        if stray is None:
            return int(packet[3] & _RCODE)
        progress.lacks = f"answer to the question (but a packet that {stray})"
    raise Failed(f"{_MOST_STRAY} packets, but none answers the question; the last {stray}")


def _question(check: DnsCheck) -> bytes:
    number = rrtype.parse(check.rrtype)
    if number is None:
        raise NotMade("setting", f"cannot ask for the type {check.rrtype}")
    try:
        return name.parse(check.name, name.ROOT) + struct.pack("!2H", number, rrtype.IN)
    except Mistaken as error:
        raise NotMade("setting", f"cannot ask: {error}") from None


def _fault(packet: bytes, ident: int, question: bytes) -> str | None:
    """Why the packet is no reply to the question; None when it is one."""
    if len(packet) < _HEADER.size:
        return "is no DNS message"
    got, flags, questions, *_ = _HEADER.unpack_from(packet)
    if got != ident:
        return "has another id"
    if not flags & _QR:
        return "is no response"
    # Some servers send errors without the question.
    if questions == 0 and flags & _RCODE:
        return None
    asked = packet[_HEADER.size : _HEADER.size + len(question)]
    # Only letters of the name may differ; the four octets of type and class may not.
    if questions != 1 or name.fold(asked[:-4]) != name.fold(question[:-4]) or asked[-4:] != question[-4:]:
        return "has another question"
    return None


def _judge_rcode(rcode: int, check: DnsCheck) -> str:
    word = rrtype.RCODES.get(rcode, f"RCODE{rcode}")
    if word not in check.expect:
        raise Failed(f"{word}, expected {' or '.join(check.expect)}")
    return word
