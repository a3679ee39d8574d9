"""Where others come in: operators by the control socket and the admin address, a server that takes over beside them.

All is opened before privileges are dropped: the user may not be allowed to.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dnslb.admin import address
from dnslb.admin.certificate import Certificate
from dnslb.admin.control_socket import ControlSocket, default_path
from dnslb.admin.guard import Guard
from dnslb.admin.server import Listener
from dnslb.config.settings import KeyPair, Settings
from dnslb.ipc import takeover
from dnslb.ipc.inherited import Inherited
from dnslb.ipc.takeover import CannotTakeOver
from dnslb.parent.file_watch import FileWatch

_CONTROL = "control"  # among the sockets where operators come in


@contextmanager
def opened(settings: Settings, takes_over: bool) -> Iterator[tuple[Inherited, list[Listener]]]:
    """What other servers hand over, and where operators come in; closed in the end.

    ``takes_over``: a server that lives may be replaced.  Raises CannotControl, CannotTakeOver.
    """
    inherited = _from_server(settings) if takes_over else Inherited()
    control = ControlSocket(settings.control, os.environ, settings.user, inherited.admin_sockets.get(_CONTROL))
    try:
        if not inherited.is_from_parent:
            inherited = _from_workers(control, settings)
        yield inherited, _listeners(control, settings, inherited)
    finally:
        _leave(control, inherited)


def _from_server(settings: Settings) -> Inherited:
    """What the living server hands over, if there is one.  Raises CannotTakeOver."""
    inherited = takeover.ask(takeover.path_beside(settings.control or default_path(os.environ)), 1)
    if inherited.is_from_parent:
        return inherited
    # Workers without a parent are asked once the control socket is ours: then nobody else asks them.
    inherited.decline()
    return Inherited()


def _from_workers(control: ControlSocket, settings: Settings) -> Inherited:
    """What workers hand over whose server is gone, and where others will be able to ask us.  Raises CannotTakeOver."""
    if control.sock is None:
        return Inherited()
    path = takeover.path_beside(control.path)
    inherited = takeover.ask(path)
    if inherited.is_from_parent:
        inherited.decline()
        raise CannotTakeOver(f"another dnslb listens on {path}; stop it, or give --takeover")
    if inherited.listener is None:
        inherited.listener = control.listen_beside(path, settings.user)
    return inherited


def _leave(control: ControlSocket, inherited: Inherited) -> None:
    """Nobody can reach us any more.

    Who has taken over from us, or goes on because we have not taken over, is reached in the same places.
    """
    if inherited.listener is not None:
        inherited.listener.close()
    if inherited.is_handed_on or (inherited.is_from_parent and inherited.predecessors):
        return
    if inherited.listener is not None and not inherited.predecessors:
        with suppress(OSError):
            takeover.path_beside(control.path).unlink()
    control.close()


def _listeners(control: ControlSocket, settings: Settings, inherited: Inherited) -> list[Listener]:
    """Where operators come in.  Raises CannotControl."""
    listeners, socks = [], {}
    if control.sock is not None:
        listeners.append(Listener(control.sock))
        socks[_CONTROL] = control.sock
    if settings.admin is not None:
        tokens = () if settings.admin_token_file is None else address.read_tokens(settings.admin_token_file)
        name = f"admin {settings.admin}"
        socks[name] = inherited.admin_sockets.get(name) or address.listen(settings.admin)
        guard = Guard(tokens, settings.admin_hosts)
        pair = settings.admin_tls
        listeners.append(Listener(socks[name], guard) if pair is None else _over_tls(socks[name], guard, pair))
    inherited.adopt(socks)
    return listeners


def _over_tls(sock: socket.socket, guard: Guard, pair: KeyPair) -> Listener:
    """Raises CannotControl."""
    certificate = Certificate(pair)
    watch = FileWatch([str(pair.certificate), str(pair.key)], certificate.renew, certificate.complain)
    return Listener(sock, guard, certificate, watch.run)
