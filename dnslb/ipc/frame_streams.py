"""Frame Streams: octets in frames over a stream, after both ends have agreed on what they are.

The protocol of https://farsightsec.github.io/fstrm/.  Control frames stand behind an escape, a length of zero.  The
sender says READY, the receiver ACCEPT, the sender START; at the end STOP and FINISH.  Pure: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ACCEPT, START, STOP, READY, FINISH = 1, 2, 3, 4, 5

_ESCAPE = bytes(4)
_CONTENT_TYPE = 1       # the only field of control frames
_LONGEST_CONTROL = 512  # octets


class Broken(Exception):
    """This is no control frame."""


@dataclass(frozen=True, slots=True)
class Control:
    """A control frame."""

    kind: int
    content_types: tuple[bytes, ...] = ()

    def accepts(self, content_type: bytes) -> bool:
        """A receiver that names none takes any."""
        return not self.content_types or content_type in self.content_types


def control(kind: int, content_type: bytes | None = None) -> bytes:
    """A control frame."""
    body = kind.to_bytes(4)
    if content_type is not None:
        body += _CONTENT_TYPE.to_bytes(4) + len(content_type).to_bytes(4) + content_type
    return _ESCAPE + len(body).to_bytes(4) + body


def data(octets: bytes) -> bytes:
    """A data frame.  It must not be empty."""
    return len(octets).to_bytes(4) + octets


@dataclass(slots=True)
class ControlReader:
    """Reads the control frames of a receiver, which sends nothing else."""

    _received: bytearray = field(default_factory=bytearray)

    def read(self, octets: bytes) -> list[Control]:
        """Those that are whole now.  Raises Broken."""
        self._received += octets
        found = []
        while len(self._received) >= 8:
            length = int.from_bytes(self._received[4:8])
            if self._received[:4] != _ESCAPE or not 4 <= length <= _LONGEST_CONTROL:
                raise Broken
            if len(self._received) < 8 + length:
                break
            found.append(_control(bytes(self._received[8 : 8 + length])))
            del self._received[: 8 + length]
        return found


def _control(body: bytes) -> Control:
    """Raises Broken."""
    content_types, at = [], 4
    while at < len(body):
        kind, length = int.from_bytes(body[at : at + 4]), int.from_bytes(body[at + 4 : at + 8])
        at += 8 + length
        if kind != _CONTENT_TYPE or at > len(body):
            raise Broken
        content_types.append(body[at - length : at])
    return Control(int.from_bytes(body[:4]), tuple(content_types))
