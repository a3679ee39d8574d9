"""A server takes the listening sockets over from the one before it, so that no query is lost between the two.

Beside the control socket there is one more.  A server that starts connects there and is handed the listening sockets
(SCM_RIGHTS): all of them by a living parent, or, when that is gone, by each of its workers those that it answers on.
The old ones go on answering.  Only when the new one says that its own workers answer do they leave.

This is the new server's side; ``offer`` is the old one's.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from pathlib import Path

from dnslb.config.settings import MOST_WORKERS, parse_endpoint
from dnslb.ipc import takeover_messages as messages
from dnslb.ipc.inherited import Inherited, Predecessor
from dnslb.ipc.sockets import Sockets

_ORPHANS = 2.0     # seconds for one more worker without a parent to answer
_AGAIN = 0.05      # seconds until the next one is asked when one has died

_log = logging.getLogger("dnslb")


class CannotTakeOver(Exception):
    """Another server has the sockets and does not hand them over; the text says what to do."""


def path_beside(control: Path) -> Path:
    return control.with_name(f"{control.name}.takeover")


def ask(path: Path, most: int = MOST_WORKERS) -> Inherited:
    """Ask whoever listens on the path for its sockets: a server, at most so many workers of a dead one, or nobody.

    Workers hand over what is theirs only when they have no parent.  Raises CannotTakeOver.
    """
    inherited = Inherited()
    parts: set[int] = set()
    patience, expected = messages.PATIENCE, 0
    while (found := _ask_one(path, patience, inherited)) is not None:
        part, of = found
        parts.add(part)
        expected = 1 if inherited.is_from_parent else min(of, most)
        if len(parts) >= expected:
            break
        patience = _ORPHANS
    if len(parts) < expected:
        _log.warning(
            "%d of %d workers of the server that is gone do not answer; if they hang, so do the clients that are "
            "theirs: end them (ss -lnptu names them)", expected - len(parts), expected,
        )  # fmt: skip
    return inherited


def _ask_one(path: Path, patience: float, inherited: Inherited) -> tuple[int, int] | None:
    """Which part one more has handed over, and of how many; None: nobody does.  Raises CannotTakeOver."""
    while (predecessor := _connect(path, patience)) is not None:
        try:
            found = _take_all(predecessor, inherited)
        except TimeoutError:
            predecessor.close()
            if inherited.pairs or not _lives(predecessor.pid):
                return None
            pid = predecessor.pid
            raise _refused(
                inherited,
                f"the server that listens on {path} (pid {pid}) does not answer; end it (kill -9 {pid}) and start "
                "again: its workers go on answering meanwhile",
            ) from None
        except OSError:  # it has left, or died: perhaps there is another
            predecessor.close()
            if inherited.pairs:
                return None
            time.sleep(_AGAIN)
        except ValueError as error:
            predecessor.close()
            fact = f"the server that listens on {path} cannot be taken over from: {error}"
            raise _refused(inherited, fact) from None
        else:
            inherited.predecessors.append(predecessor)
            return found
    return None


def _refused(inherited: Inherited, fact: str) -> CannotTakeOver:
    """With all that was taken over given back."""
    inherited.decline()
    return CannotTakeOver(fact)


def _connect(path: Path, patience: float) -> Predecessor | None:
    """Who listens there; None: nobody does."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(patience)
    try:
        sock.connect(os.fspath(path))
        return Predecessor(sock)
    except (ConnectionRefusedError, FileNotFoundError):
        sock.close()
        return None
    except TimeoutError:
        sock.close()
        raise CannotTakeOver(f"who listens on {path} does not answer; end it, and start again") from None
    except OSError as error:
        sock.close()
        reason = (error.strerror or str(error)).lower()
        raise CannotTakeOver(f"{path} cannot be asked: {reason}; run as the user of the server, or as root") from None


def _take_all(predecessor: Predecessor, inherited: Inherited) -> tuple[int, int]:
    """Everything that the other end hands over; which part of how many that was.  Raises OSError, ValueError."""
    admin_sockets: dict[str, socket.socket] = {}
    pairs: list[Sockets] = []
    for message in predecessor.ask():
        match message:
            case {"refused": str(fact)}:
                raise ValueError(fact)
            case {"endpoint": str(text)} if (endpoint := parse_endpoint(text)) is not None:
                pairs.append(Sockets(endpoint, predecessor.take(), predecessor.take()))
            case {"door": str(name)}:
                admin_sockets[name] = predecessor.take()
            case {"listener": True}:
                listener = predecessor.take()
                if inherited.listener is None:
                    inherited.listener = listener
                else:
                    listener.close()
            case {"end": True, "share": int(part), "of": int(of), "is_parent": bool(is_parent)}:
                inherited.pairs += pairs
                inherited.admin_sockets |= admin_sockets
                inherited.is_from_parent = is_parent
                return part, of
            case _:
                raise ValueError("it speaks another language: stop it, and start this one")
    raise ConnectionError("the other end has left")


def _lives(pid: int) -> bool:
    return pid > 0 and os.path.exists(f"/proc/{pid}")
