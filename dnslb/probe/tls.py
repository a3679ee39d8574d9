"""TLS towards a target: contexts, a stream, and what is wrong with a certificate in words.

The standard library does the verification (chain, dates, name); we only put its verdict into words.  For an expired
or misnamed certificate we connect once more, with that one check left out, to read what the certificate says.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any

from dnslb.probe.outcome import Failed, NotMade, explain, printable
from dnslb.probe.sockets import receive
from dnslb.system import file

_CHUNK = 8192              # octets read at once
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME (openssl/x509_vfy.h)
_SHOWN_NAMES = 3

# X509_V_ERR_... of openssl/x509_vfy.h
_NOT_YET_VALID, _EXPIRED, _WRONG_NAME, _WRONG_ADDRESS = 9, 10, 62, 64
_VERIFY = {
    _NOT_YET_VALID: "certificate is not valid yet",
    _EXPIRED: "certificate has expired",
    18: "certificate is self-signed",
    19: "certificate is signed by an unknown authority",
    20: "certificate is signed by an unknown authority, or the server does not send the whole chain",
    21: "certificate is signed by an unknown authority, or the server does not send the whole chain",
    23: "certificate is revoked",
    _WRONG_NAME: "certificate is for another name",
    _WRONG_ADDRESS: "certificate is for another address",
}
_SSL = {
    "WRONG_VERSION_NUMBER": "no TLS on this port",
    "HTTP_REQUEST": "no TLS on this port",
    "PACKET_LENGTH_TOO_LONG": "no TLS on this port",
    "UNSUPPORTED_PROTOCOL": "the server speaks no TLS 1.2 or later",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server speaks no TLS 1.2 or later",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server wants a client certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server refused the TLS handshake",
    "TLSV1_UNRECOGNIZED_NAME": "the server does not know the name that we asked for (SNI)",
}


class BadCertificate(Failed):
    """The certificate was refused.  ``code`` is OpenSSL's."""

    def __init__(self, error: ssl.SSLCertVerificationError) -> None:
        super().__init__(_VERIFY.get(error.verify_code, f"certificate refused: {error.verify_message}"))
        self.code = error.verify_code

    @property
    def can_be_explained(self) -> bool:
        """Whether the certificate itself says more."""
        return self.code in {_NOT_YET_VALID, _EXPIRED, _WRONG_NAME, _WRONG_ADDRESS}


class TlsStream:
    """Octets over TLS over a connected socket that does not block."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self._sock = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        try:
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        except ValueError as error:  # and UnicodeError
            raise NotMade("setting", f"cannot ask for the name {name!r}: {error}") from None

    async def shake_hands(self) -> None:
        """Do the TLS handshake.  Raises BadCertificate, Failed and OSError."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
            except ssl.SSLError as error:
                with suppress(OSError):
                    await self._flush()  # the alert that tells the server why
                raise _failure(error) from None
            else:
                return await self._flush()
            if not await self._fill():
                raise Failed("closed the connection during the TLS handshake")

    async def send(self, octets: bytes) -> None:
        self._tls.write(octets)
        await self._flush()

    async def receive(self) -> bytes:
        """The octets that came next; none at the end.  Raises Failed and OSError."""
        while True:
            try:
                return self._tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                await self._flush()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:
                raise _failure(error) from None
            if not await self._fill():
                return b""

    def certificate(self) -> dict[str, Any]:
        """The certificate of the server, as ``ssl`` decodes it."""
        return self._tls.getpeercert() or {}

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await asyncio.get_running_loop().sock_sendall(self._sock, self._outgoing.read())

    async def _fill(self) -> bool:
        octets = await receive(self._sock)
        self._incoming.write(octets)
        return bool(octets)


def context(verify: bool, ca_file: str | None) -> ssl.SSLContext:
    """A context for probes: made once for each case, and again when the file has changed.  Raises Failed."""
    if not verify:
        return _context(False, None, 0)
    return _context(True, ca_file, _changed(ca_file))


def lenient_context(ca_file: str | None) -> ssl.SSLContext:
    """A context that checks neither dates nor names: for reading a certificate, never for trusting it."""
    return _lenient_context(ca_file, _changed(ca_file))


def _changed(ca_file: str | None) -> int:
    if ca_file is None:
        return 0
    try:
        return os.stat(ca_file).st_mtime_ns
    except OSError as error:
        raise NotMade("setting", f"cannot read the CA file {ca_file}: {explain(error)}") from None


@lru_cache(maxsize=64)
def _context(verify: bool, ca_file: str | None, changed: int) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        return made
    if ca_file is None:
        made.load_default_certs()
        return made
    try:
        made.load_verify_locations(cadata=file.read(ca_file, file.MOST_CERTIFICATES).decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):  # ValueError: it is empty
        raise NotMade("setting", f"the CA file {ca_file} holds no certificate in PEM form") from None
    except OSError as error:
        raise NotMade("setting", f"cannot read the CA file {ca_file}: {explain(error)}") from None
    return made


@lru_cache(maxsize=64)
def _lenient_context(ca_file: str | None, changed: int) -> ssl.SSLContext:
    made = _context.__wrapped__(True, ca_file, changed)
    made.check_hostname = False
    made.verify_flags |= _NO_CHECK_TIME
    return made


def _failure(error: ssl.SSLError) -> Failed:
    if isinstance(error, ssl.SSLCertVerificationError):
        return BadCertificate(error)
    reason = error.reason or "broken"
    return Failed(_SSL.get(reason) or f"TLS failed: {reason.lower().replace('_', ' ')}")


def fault(certificate: dict[str, Any], refused: BadCertificate, name: str, now: float) -> str:
    """Why the certificate was refused, with its own words.  ``now`` is Unix time."""
    if refused.code in {_WRONG_NAME, _WRONG_ADDRESS}:
        return f"certificate is for {_names(certificate)}, not {name}"
    if refused.code == _EXPIRED and (late := now - _seconds(certificate, "notAfter")) > 0:
        return f"certificate expired {_span(late)} ago"
    if refused.code == _NOT_YET_VALID and (early := _seconds(certificate, "notBefore") - now) > 0:
        return f"certificate is not valid yet, for another {_span(early)}"
    return f"{refused} (one of the authorities in its chain)"


def _seconds(certificate: dict[str, Any], key: str) -> float:
    return ssl.cert_time_to_seconds(certificate[key])


def _span(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "moment"


def _names(certificate: dict[str, Any]) -> str:
    """The names that a certificate is good for; those of the subject count no more (RFC 9525 §2)."""
    alternatives: Iterable[tuple[str, str]] = certificate.get("subjectAltName", ())
    names = [printable(name) for kind, name in alternatives if kind in {"DNS", "IP Address"}]
    if not names:
        return "no name at all"
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
