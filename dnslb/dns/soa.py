"""The five numbers of an SOA record (RFC 1035 §3.3.13).  Pure."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

_NUMBERS = Struct("!IIIII")


class Soa(NamedTuple):
    """Times are seconds."""

    serial: int
    refresh: int  # from one question of a secondary whether there is a newer version to the next
    retry: int    # the same, while nobody answers that
    expire: int   # without an answer, after which a secondary must not answer from its copy any more
    minimum: int


def read(rdata: bytes) -> Soa:
    """They stand at the end of the rdata."""
    return Soa(*_NUMBERS.unpack(rdata[-_NUMBERS.size :]))
