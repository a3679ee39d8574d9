"""The certificate of the admin address and its key: read before privileges are dropped, and anew when renewed."""

from __future__ import annotations

import logging
import os
import ssl
import stat
from contextlib import ExitStack

from dnslb.admin.control_socket import CannotControl
from dnslb.config.settings import KeyPair
from dnslb.system import file

_REFUSED = {
    "KEY_VALUES_MISMATCH": "the key is not the certificate's",
    "NO_START_LINE": "one of the files is not in PEM form",
    "BAD_PASSWORD_READ": "the key is locked with a password",
    "EE_KEY_TOO_SMALL": "the key is too short",
    "CA_MD_TOO_WEAK": "the certificate is signed in a way that is broken",
}

_log = logging.getLogger("dnslb")


class Certificate:
    """``context`` is what new connections are served with."""

    def __init__(self, pair: KeyPair) -> None:
        """Read the files.  Raises CannotControl."""
        self.pair = pair
        try:
            mode = os.stat(pair.key).st_mode
            octets = (file.read(pair.certificate, file.MOST_SECRET), file.read(pair.key, file.MOST_SECRET))
            self.context = made(*octets)
        except ssl.SSLError as error:
            raise CannotControl(f"admin_tls: {_reason(error)}: {pair}; give the files of one certificate") from None
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise CannotControl(f"admin_tls: cannot read {error.filename or pair}: {reason}; mend the path") from None
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            raise CannotControl(f"admin_tls: others can read the key {pair.key}; chmod o= {pair.key}")

    def renew(self, certificate: bytes, key: bytes) -> None:
        """The files have changed: serve new connections with what they hold now, unless it is broken."""
        try:
            self.context = made(certificate, key)
        except ssl.SSLError as error:
            _log.error("admin_tls was renewed, but %s: %s; the old certificate is used", _reason(error), self.pair)
        else:
            _log.info("admin_tls was renewed: %s", self.pair.certificate)

    def complain(self, reason: str) -> None:
        """The files have changed, and cannot be read."""
        _log.error("admin_tls was renewed, but cannot be read: %s; the old certificate is used", reason)


def made(certificate: bytes, key: bytes) -> ssl.SSLContext:
    """A context with the certificate, its chain and its key, in PEM form.  Raises ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    # The library reads files only; these are in memory, so that no disk is waited for.
    with ExitStack() as stack:
        context.load_cert_chain(_in_memory(stack, certificate), _in_memory(stack, key), _no_password)
    return context


def _in_memory(stack: ExitStack, octets: bytes) -> str:
    descriptor = os.memfd_create("admin_tls")
    stack.callback(os.close, descriptor)
    os.write(descriptor, octets)
    return f"/proc/self/fd/{descriptor}"


def _no_password() -> str:
    """Else the library would ask on the terminal."""
    return ""


def _reason(error: ssl.SSLError) -> str:
    return _REFUSED.get(error.reason or "", f"TLS refuses it ({(error.reason or 'broken').lower().replace('_', ' ')})")
