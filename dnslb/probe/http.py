"""The http and https probes: a request is answered with an expected status and, if wanted, body.

h11 parses and does nothing else; sockets and TLS are ours.  A client library such as aiohttp would do more than a
probe may (redirects, cookies, pools of connections), and it would weigh on every worker: they are forked from the
process that probes, with all that it has loaded.

No redirect is followed.  Nothing is read beyond what decides: without a body to check, not even the body.  Bodies are
asked for uncompressed, and a compressed one is never unpacked.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from functools import partial
from typing import Protocol
from urllib.parse import quote

import h11

from dnslb import __version__
from dnslb.balance.health import Outcome
from dnslb.balance.pool import Address, Gauge, HttpCheck
from dnslb.balance.reading import Reading, of_json
from dnslb.probe import expression, tls
from dnslb.probe.gauge import Page, of_headers
from dnslb.probe.outcome import Failed, NotMade, Progress, judge, printable
from dnslb.probe.sockets import connect_tcp, receive
from dnslb.probe.tls import BadCertificate, TlsStream

_MOST_HEADERS = 65536  # octets until the end of the headers
_MOST_BODY = 65536     # octets of the body that are looked at
_MOST = 1 << 20        # octets in all: chunks of one octet each, with long extensions, are legal
_SHOWN = 32            # octets or characters of something unexpected
_URL_SAFE = "".join(chr(code) for code in range(0x21, 0x7F))  # all that may stand in a request line
_WITH_CONTENT = {"POST", "PUT", "PATCH"}  # these want to hear that they have none (RFC 9110 §8.6)
_SWITCHING = 101


class _Stream(Protocol):
    async def send(self, octets: bytes) -> None: ...
    async def receive(self) -> bytes: ...


class _PlainStream:
    """Octets over a connected socket that does not block."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def send(self, octets: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, octets)

    async def receive(self) -> bytes:
        return await receive(self._sock)


async def probe(check: HttpCheck, address: Address, source: Address | None, timeout: float) -> Outcome:
    """Request once.  The timeout covers everything: connection, TLS, request, and what is read of the response."""
    return await judge(partial(attempt, check, address, source, b""), timeout)


async def attempt(
    check: HttpCheck, address: Address, source: Address | None, content: bytes, progress: Progress
) -> str:
    """Request once, with this content.  Raises Failed and OSError."""
    # Before connecting: what cannot be sent is no fault of the target.
    exchange = _Exchange(check, address, content, progress)
    try:
        return await _request(exchange, check, address, source, progress)
    except BadCertificate as refused:
        if not refused.can_be_explained:
            raise
        progress.known = str(refused)
        raise Failed(await _explain(check, address, source, refused)) from None


async def _request(
    exchange: _Exchange, check: HttpCheck, address: Address, source: Address | None, progress: Progress
) -> str:
    # A CA file that cannot be read is no fault of the target either.
    context = tls.context(check.verify, check.ca_file) if check.tls else None
    with await connect_tcp(address, check.port, source) as sock:
        stream: _Stream = _PlainStream(sock)
        if context is not None:
            progress.lacks = "TLS handshake"
            stream = secured = TlsStream(sock, context, _server_name(check, address))
            await secured.shake_hands()
        return await exchange.run(stream)


async def _explain(check: HttpCheck, address: Address, source: Address | None, refused: BadCertificate) -> str:
    """What the certificate says, if a second connection shows it."""
    name = _server_name(check, address)
    with suppress(OSError, Failed), await connect_tcp(address, check.port, source) as sock:
        stream = TlsStream(sock, tls.lenient_context(check.ca_file), name)
        await stream.shake_hands()
        return tls.fault(stream.certificate(), refused, name, time.time())
    return str(refused)


def _server_name(check: HttpCheck, address: Address) -> str:
    """For SNI and the certificate.  An address is checked too, but never sent as SNI (RFC 6066 §3)."""
    return check.host.removesuffix(".") if check.host else str(address).partition("%")[0]


class _Exchange:
    """One request and its response."""

    def __init__(self, check: HttpCheck, address: Address, content: bytes, progress: Progress) -> None:
        self._check = check
        self._progress = progress
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST_HEADERS)
        self._begin = b""       # of the response
        self._received = 0      # octets
        self._closed = False
        self._answered = False  # whether the headers are complete
        self._body = bytearray()  # as far as it is looked at
        self._whole = False       # whether that is all of it
        try:
            self._request = self._connection.send(_request_of(check, address, len(content))) or b""
            self._request += self._connection.send(h11.Data(data=content)) or b""
            self._request += self._connection.send(h11.EndOfMessage()) or b""
        except (h11.LocalProtocolError, UnicodeError) as error:
            raise NotMade("setting", f"the request cannot be written: {error}") from None

    async def run(self, stream: _Stream) -> str:
        """Why the response passes.  Raises Failed and OSError."""
        await stream.send(self._request)
        self._progress.lacks = "answer"
        response = await self._response(stream)
        self._answered = True
        status, gauge = response.status_code, self._check.gauge
        if gauge is not None and gauge.kind == "header":
            self._progress.reading = of_headers(gauge, response.headers)
        if not any(low <= status <= high for low, high in self._check.expect):
            raise Failed(f"status {status}, expected {_ranges(self._check.expect)}")
        if self._check.body is not None or self._check.body_matches is not None:
            _refuse_compressed(response)
            await self._judge_body(stream)
        self._progress.passes = f"status {status}"
        if gauge is not None and gauge.kind != "header":
            self._progress.lacks = "end of the body"
            _refuse_compressed(response)
            self._progress.reading = await (self._json if gauge.kind == "json" else self._page)(gauge, stream)
        return self._progress.passes

    async def _json(self, gauge: Gauge, stream: _Stream) -> Reading:
        while await self._has_more(stream):
            pass
        return of_json(bytes(self._body), gauge.name, gauge.full)

    async def _page(self, gauge: Gauge, stream: _Stream) -> Reading:
        page = Page(gauge)
        while not page.is_done and isinstance(event := await self._event(stream), h11.Data):
            page.feed(event.data)
        return page.reading()

    async def _response(self, stream: _Stream) -> h11.Response | h11.InformationalResponse:
        """The final one.  Interim responses are passed over, but for 101, after which there is no other."""
        while True:
            event = await self._event(stream)
            if isinstance(event, h11.Response):
                return event
            if isinstance(event, h11.InformationalResponse) and event.status_code == _SWITCHING:
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise Failed("closed the connection without an answer")

    async def _judge_body(self, stream: _Stream) -> None:
        self._progress.lacks = "end of the body"
        wanted, matches = self._check.body, self._check.body_matches
        needle = None if wanted is None else wanted.encode(errors="replace")
        body, found = self._body, needle is None
        fresh = 0
        while not (found and matches is None) and await self._has_more(stream):
            found = found or (needle is not None and body.find(needle, fresh) >= 0)
            fresh = max(0, len(body) - len(needle or b""))
        where = "" if self._whole else f" in its first {_MOST_BODY >> 10} kB"
        if not found and needle != b"":
            raise Failed(f'body has no "{printable(wanted or "", _SHOWN)}"{where}')
        if matches is None:
            return
        self._progress.lacks = "end of the search for the regular expression"
        if not await expression.search(matches, bytes(body)):
            raise Failed(f'body has nothing that matches "{printable(matches, _SHOWN)}"{where}')

    async def _has_more(self, stream: _Stream) -> bool:
        """Whether there was more of what is looked at of the body."""
        if self._whole or len(self._body) >= _MOST_BODY:
            return False
        event = await self._event(stream)
        self._whole = not isinstance(event, h11.Data)
        if isinstance(event, h11.Data):
            self._body += event.data[: _MOST_BODY - len(self._body)]
        return not self._whole

    async def _event(self, stream: _Stream) -> object:
        """The next thing in the response."""
        while True:
            try:
                event = self._connection.next_event()
            except h11.RemoteProtocolError as error:
                raise Failed(self._fault(error)) from None
            if event is not h11.NEED_DATA:
                return event
            await self._receive(stream)

    async def _receive(self, stream: _Stream) -> None:
        octets = await stream.receive()
        self._closed = not octets
        self._received += len(octets)
        self._begin = self._begin or octets[:_SHOWN]
        if self._received > _MOST_HEADERS and not self._answered:
            raise Failed(f"headers of more than {_MOST_HEADERS >> 10} kB")
        if self._received > _MOST:
            raise Failed(f"more than {_MOST >> 20} MB for {_MOST_BODY >> 10} kB of body")
        if not self._answered:
            self._progress.lacks = "end of the headers"
        self._connection.receive_data(octets)

    def _fault(self, error: h11.RemoteProtocolError) -> str:
        if not self._begin:
            return "closed the connection without an answer"
        if self._begin.startswith((b"\x15\x03", b"\x16\x03")):
            return "the server speaks TLS: probe it with https"
        if not b"HTTP/".startswith(self._begin[:5]):
            return f"the answer is not HTTP, it begins with {self._begin!r}"
        if self._closed:
            return f"closed the connection before the end of the {'body' if self._answered else 'headers'}"
        return f"broken HTTP: {printable(str(error))}"


def _request_of(check: HttpCheck, address: Address, length: int) -> h11.Request:
    own = {
        "Host": _host(check, address),
        "User-Agent": f"dnslb/{__version__}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    if check.method in _WITH_CONTENT:
        own["Content-Length"] = str(length)
    configured = {key.lower() for key, _ in check.headers}
    headers = [pair for pair in own.items() if pair[0].lower() not in configured] + list(check.headers)
    return h11.Request(
        method=check.method,
        target=quote(check.path, safe=_URL_SAFE, errors="replace"),
        headers=[(key.encode("ascii"), text.encode(errors="replace")) for key, text in headers],
    )


def _host(check: HttpCheck, address: Address) -> str:
    plain = str(address).partition("%")[0]
    host = check.host or (f"[{plain}]" if address.version == 6 else plain)
    if not host.isascii():
        host = host.encode("idna").decode()
    return host if check.port == (443 if check.tls else 80) else f"{host}:{check.port}"


def _ranges(expect: tuple[tuple[int, int], ...]) -> str:
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in expect)


def _refuse_compressed(response: h11.Response | h11.InformationalResponse) -> None:
    for key, text in response.headers:
        if key == b"content-encoding" and text.strip().lower() not in {b"", b"identity"}:
            coding = printable(text.decode("latin-1"), _SHOWN)
            raise Failed(f"body is compressed ({coding}) although we asked for it plain; it cannot be checked")
