"""Updates (RFC 2136) on their way to the parent, which keeps what they change, and back to who has sent them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

from dnslb.dns import rrtype
from dnslb.transfer import message
from dnslb.transfer.answering import Answered
from dnslb.transfer.messages import UpdateReply, UpdateRequest
from dnslb.transfer.tsig import Request

_MOST_WAITING = 200  # updates
_PATIENCE = 20.0     # seconds for the disk; who asks has mostly less


class Updating:
    """``ask`` passes an update on to the parent, whose reply comes to ``take``."""

    def __init__(self, ask: Callable[[UpdateRequest], None]) -> None:
        self._ask = ask
        self._waiting: dict[int, asyncio.Future[UpdateReply]] = {}
        self._numbers = count()

    async def answer(self, request: Request) -> Answered:
        """The reply, when all that is changed is there to stay."""
        rcode, reason = request.rcode, request.reason
        if rcode == rrtype.NOERROR:
            rcode, reason = await self._asked(request)
        reply = message.updated(request.query_id, request.question, rcode)
        return Answered(iter([reply if request.signer is None else request.signer.sign(reply)]), reason)

    async def _asked(self, request: Request) -> tuple[int, str]:
        if len(self._waiting) >= _MOST_WAITING:
            return rrtype.SERVFAIL, ""
        number = next(self._numbers)
        told = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._ask(UpdateRequest(number, request.name, request.key, request.prerequisites, request.updates))
        try:
            async with asyncio.timeout(_PATIENCE):
                replied = await told
        except TimeoutError:
            return rrtype.SERVFAIL, ""
        finally:
            del self._waiting[number]
        return replied.rcode, replied.reason

    def take(self, replied: UpdateReply) -> None:
        told = self._waiting.get(replied.number)
        if told is not None and not told.done():
            told.set_result(replied)


def malformed(packet: bytes) -> Answered | None:
    """What an update gets that cannot be read, and so its signature neither; None for what is no update."""
    if len(packet) < 12 or packet[2] & 0x80 or packet[2] >> 3 & 0xF != rrtype.UPDATE:
        return None
    return Answered(iter([message.updated(int.from_bytes(packet[:2]), b"", rrtype.FORMERR)]), "it is malformed")
