"""Most packets of networks that flood us are dropped by the system, before they take room in a socket's buffer.

By a classic BPF program on the socket, for which nobody needs a privilege (SO_ATTACH_FILTER, socket(7); bpf(4) of BSD
has the instructions).  One of sixteen comes through, so that it is seen when the flood is over; and all that end with a
whole cookie, since one of ours is to be honoured, which only we can tell.
"""

from __future__ import annotations

import socket
import struct
from array import array
from collections.abc import Collection

MOST = 250   # networks: more are too many to compare with
PASSED = 16  # packets of which one comes through; a power of two
_ATTACH, _DETACH = 26, 27  # SO_ATTACH_FILTER and SO_DETACH_FILTER, which the socket module does not name
_LOAD, _LENGTH, _LOAD_AT_X, _TAX, _AND, _SUB = 0x20, 0x80, 0x40, 0x07, 0x54, 0x14
_IF_EQUAL, _JUMP, _RETURN = 0x15, 0x05, 0x06
_NETWORK_HEADER = -0x100000 & 0xFFFFFFFF  # SKF_NET_OFF
_RANDOM = (-0x1000 + 56) & 0xFFFFFFFF     # SKF_AD_OFF + SKF_AD_RANDOM
_SOURCE = {socket.AF_INET: 12, socket.AF_INET6: 8}  # where it stands in the header of IP
_COOKIE = 0x000A0018     # how an option begins that is a cookie of 24 octets
_COOKIE_OPTION = 28      # octets of it
_ALL, _NOTHING = 0xFFFFFFFF, 0

Instruction = tuple[int, int, int, int]  # code, how many to skip if so, and if not, operand


def shed(sock: socket.socket, networks: Collection[bytes]) -> None:
    """Have most packets of these dropped from now on, and of no others.

    ``networks``: the first 3 octets of IPv4 addresses, or 7 of IPv6 addresses.  Raises OSError.
    """
    size = 3 if sock.family == socket.AF_INET else 7
    chosen = [network for network in networks if len(network) == size][:MOST]
    if not chosen:
        sock.setsockopt(socket.SOL_SOCKET, _DETACH, 0)
        return
    octets = array("B", b"".join(struct.pack("HBBI", *each) for each in program(chosen, _SOURCE[sock.family])))
    address, length = octets.buffer_info()
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH, struct.pack("HP", length // 8, address))


def program(networks: Collection[bytes], source: int) -> list[Instruction]:
    """Of packets whose source is in one of them most are dropped.  ``source``: where that stands."""
    compared: list[Instruction] = []
    loaded = b""  # the mask of the word that is loaded, if it is the first
    for network in networks:
        words = [network[at : at + 4] for at in range(0, len(network), 4)]
        for index, word in enumerate(words):
            mask = (b"\xff" * len(word)).ljust(4, b"\0")
            # What does not equal skips the rest of this network's: whole blocks of four for the words behind.
            behind = 4 * (len(words) - index - 1) + 1
            if index or len(words) > 1 or mask != loaded:
                compared += [(_LOAD, 0, 0, _NETWORK_HEADER + source + 4 * index), (_AND, 0, 0, int.from_bytes(mask))]
                loaded = mask
            compared += [(_IF_EQUAL, 0, behind, int.from_bytes(word.ljust(4, b"\0"))), (_JUMP, 0, 0, index + 1)]
    depth = max(len(network) for network in networks) // 4 + 1  # words that must all be equal
    for at, (code, _, _, word_number) in enumerate(compared):
        if code == _JUMP:  # after the last word of a network to where it is dropped, else just on
            compared[at] = (_JUMP, 0, 0, len(compared) - at if word_number == depth else 0)
    return [
        *compared,
        (_RETURN, 0, 0, _ALL),
        (_LENGTH, 0, 0, 0),
        (_SUB, 0, 0, _COOKIE_OPTION),
        (_TAX, 0, 0, 0),
        (_LOAD_AT_X, 0, 0, 0),
        (_IF_EQUAL, 3, 0, _COOKIE),
        (_LOAD, 0, 0, _RANDOM),
        (_AND, 0, 0, PASSED - 1),
        (_IF_EQUAL, 0, 1, 0),
        (_RETURN, 0, 0, _ALL),
        (_RETURN, 0, 0, _NOTHING),
    ]
