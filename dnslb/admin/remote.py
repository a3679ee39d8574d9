"""A server that is asked over TCP, at its admin address: from another machine, with a token, over TLS."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from dnslb.admin.address import read_tokens
from dnslb.admin.client import Unreachable
from dnslb.admin.control_socket import CannotControl
from dnslb.config.settings import ADMIN_PORT
from dnslb.probe.tls import BadCertificate
from dnslb.system import file

_PATIENCE = 5.0  # seconds for a connection, TLS included: a node that is down must not keep the others waiting
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?", re.ASCII)
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}


class NotUsable(Exception):
    """No server can be asked by what was given; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A server, and how to come in there."""

    host: str
    port: int
    context: ssl.SSLContext | None   # None: plain HTTP
    token: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Host": str(self)} | ({} if self.token is None else {"Authorization": f"Bearer {self.token}"})

    def connect(self, deadline: float) -> socket.socket:
        """Raises Unreachable and TimeoutError."""
        left = min(_PATIENCE, deadline - time.monotonic())
        if left <= 0:
            raise TimeoutError
        try:
            sock = socket.create_connection((self.host, self.port), left)
        except TimeoutError:
            raise Unreachable(f"{self} does not answer within {left:.0f} s; is it up, and behind a firewall?") from None
        except socket.gaierror:
            raise Unreachable(f"{self.host} has no address; mend the name, or write the address") from None
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise Unreachable(f"{self} cannot be reached: {reason}; is it up, with admin: on this address?") from None
        if self.context is None:
            return sock
        try:
            return self.context.wrap_socket(sock, server_hostname=self.host)
        except BaseException as error:
            sock.close()
            if isinstance(error, OSError):
                raise Unreachable(f"{self}: {_fault(error, left)}") from None
            raise


def parse(url: str, token_file: Path | None, ca_file: Path | None) -> Remote:
    """The server at the URL.  Raises NotUsable."""
    split = urlsplit(url)
    try:
        host, port = split.hostname or "", split.port or ADMIN_PORT
    except ValueError:
        host, port = "", 0
    wanted = split.scheme in {"http", "https"} and _HOST.fullmatch(host) and not split.username
    if not wanted or split.path not in {"", "/"} or split.query or split.fragment:
        raise NotUsable(f"{url} is no server; write https://ns1.example.com:{ADMIN_PORT}")
    token = None if token_file is None else _token(token_file)
    if split.scheme == "https":
        return Remote(host, port, _context(ca_file), token)
    if token is not None and not _is_here(host):
        raise NotUsable(
            f"everybody on the way to {host} could read the token; write https:// (admin_tls in its dnslb.yaml), "
            f"or tunnel: ssh -L {port}:127.0.0.1:{port} {host}, and --server http://127.0.0.1:{port}"
        )
    return Remote(host, port, None, token)


def _token(path: Path) -> str:
    try:
        tokens = read_tokens(path)
    except CannotControl as error:
        raise NotUsable(str(error)) from None
    if len(tokens) > 1:
        raise NotUsable(f"the token file {path} holds {len(tokens)} tokens; give a file with yours alone")
    return tokens[0].octets.decode()


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _context(ca_file: Path | None) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        made.load_default_certs()
        return made
    try:
        made.load_verify_locations(cadata=file.read(ca_file, file.MOST_CERTIFICATES).decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        raise NotUsable(f"the CA file {ca_file} holds no certificate in PEM form; give the authority's") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise NotUsable(f"cannot read the CA file {ca_file}: {reason}; mend the path") from None
    return made


def _fault(error: OSError, patience: float) -> str:
    """Why there is no TLS, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        detail = f" ({error.verify_message})" if error.verify_code in {62, 64} else ""
        return f"{BadCertificate(error)}{detail}; give the authority with --ca-file, or mend admin_tls there"
    if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
        return "it speaks no TLS; set admin_tls there, or write http://"
    if isinstance(error, TimeoutError):
        return f"no TLS within {patience:.0f} s; what listens there is no dnslb, or very busy"
    reason = getattr(error, "reason", None) or error.strerror or str(error)
    return f"no TLS: {reason.lower().replace('_', ' ')}; see the log there"
