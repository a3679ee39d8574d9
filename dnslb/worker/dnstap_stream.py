"""A stream of dnstap messages to whoever listens on a unix socket.

It never waits: what the other end does not read is kept up to a bound, and then dropped, and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dnslb.dns.dnstap import CONTENT_TYPE
from dnslb.ipc import frame_streams
from dnslb.ipc.frame_streams import Broken, ControlReader
from dnslb.worker.record_counts import RecordCount

_BUFFER = 1 << 20  # octets that wait for the other end to read, at most
_PATIENCE = 5.0    # seconds for the other end to say that it accepts
_PAUSE = 1.0       # seconds until it is tried again
_PARTING = 0.5     # seconds for the other end to read the rest

_log = logging.getLogger("dnslb")


class DnstapStream:
    """``run`` keeps it open; ``send`` may be called at any time."""

    def __init__(self, path: Path, counted: RecordCount) -> None:
        self._path = path
        self._counted = counted
        self._receiver: _Receiver | None = None
        self._has_told = False  # that nobody listens

    def send(self, messages: Sequence[bytes]) -> None:
        """Send these, all or none."""
        receiver = self._receiver
        if receiver is not None and receiver.send(b"".join(map(frame_streams.data, messages))):
            self._counted.written += len(messages)
        else:
            self._counted.dropped += len(messages)

    async def run(self) -> None:
        """Connect, and connect again whenever the other end is gone, until cancelled."""
        while True:
            try:
                self._receiver = await self._connect()
            except (OSError, TimeoutError, Broken) as error:
                self._tell(_fact(error))
            else:
                _log.info("dnstap: %s: connected", self._path)
                self._has_told = False
                await self._receiver.lost.wait()
                self._receiver = None
                self._tell("the other end has closed it")
            await asyncio.sleep(_PAUSE)

    async def close(self) -> None:
        """Say that nothing more comes, and wait a moment for the other end to read what is left."""
        if self._receiver is not None:
            self._receiver.finish()
            with suppress(TimeoutError):
                async with asyncio.timeout(_PARTING):
                    await self._receiver.lost.wait()

    async def _connect(self) -> _Receiver:
        """Raises OSError, TimeoutError, Broken."""
        loop = asyncio.get_running_loop()
        receiver = _Receiver()
        try:
            async with asyncio.timeout(_PATIENCE):
                await loop.create_unix_connection(lambda: receiver, str(self._path))
                await receiver.accepted
        except BaseException:
            receiver.abort()
            raise
        return receiver

    def _tell(self, fact: str) -> None:
        """Once until it is mended."""
        if not self._has_told:
            self._has_told = True
            _log.warning(
                "dnstap: %s: %s; tried again every second, and messages are dropped until then", self._path, fact
            )


class _Receiver(asyncio.Protocol):
    """The other end.  ``accepted`` is done once it wants what we have; ``lost`` is set when it is gone."""

    def __init__(self) -> None:
        self.accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = asyncio.Event()
        self._reader = ControlReader()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        self._transport = transport
        transport.write(frame_streams.control(frame_streams.READY, CONTENT_TYPE))

    def data_received(self, data: bytes) -> None:
        try:
            controls = self._reader.read(data)
        except Broken as broken:
            self._fail(broken)
            return
        for control in controls:
            if control.kind == frame_streams.ACCEPT and control.accepts(CONTENT_TYPE) and not self.accepted.done():
                self._write(frame_streams.control(frame_streams.START, CONTENT_TYPE))
                self.accepted.set_result(None)
            elif control.kind == frame_streams.FINISH and self._transport is not None:
                self._transport.close()
            else:
                self._fail(Broken())

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        if not self.accepted.done():
            self.accepted.set_exception(ConnectionResetError("closed before it accepted"))

    def send(self, octets: bytes) -> bool:
        """Whether there was room."""
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size() + len(octets) > _BUFFER:
            return False
        transport.write(octets)
        return True

    def finish(self) -> None:
        self._write(frame_streams.control(frame_streams.STOP))

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self.accepted.cancel()

    def _write(self, octets: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(octets)

    def _fail(self, broken: Broken) -> None:
        if not self.accepted.done():
            self.accepted.set_exception(broken)
        if self._transport is not None:
            self._transport.abort()


def _fact(error: Exception) -> str:
    match error:
        case Broken():
            return "the other end does not take dnstap over bidirectional Frame Streams"
        case TimeoutError():
            return f"the other end has not accepted within {_PATIENCE:g} s"
        case OSError():
            return error.strerror or str(error)
    return str(error)
