"""Records whose later fields depend on earlier ones: IPSECKEY (RFC 4025), AMTRELAY (RFC 8777), HIP (RFC 8005), APL
(RFC 3123).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from socket import AF_INET, AF_INET6, inet_ntop

from dnslb.dns.mistake import Mistaken, at_word
from dnslb.dns.name import Name
from dnslb.dns.rdata.errors import Malformed, Unwritable
from dnslb.dns.rdata.field import IPV4, IPV6, NAME, U8, Rest, Word, parse_name, read_name, take
from dnslb.dns.rdata.octets import BASE64_OR_NONE, parse_base64, parse_hex

_NEGATION = 0x80
_DISCOVERY = 0x80  # the D bit, beside the type of the relay (RFC 8777 §4.2.2)
_FAMILIES = {1: (AF_INET, 4), 2: (AF_INET6, 16)}  # IANA address family numbers (RFC 3123 §4)
_PREFIX = re.compile(r"(!?)([12]):([0-9a-fA-F.:]+)/([0-9]{1,3})")


def _parse_no_gateway(word: str, _origin: Name) -> bytes:
    if word != ".":
        raise Mistaken(f"gateway type 0 has the gateway {word}", "write a dot: there is none (RFC 4025 §3.1)")
    return b""


def _read_no_gateway(_rdata: bytes, at: int) -> tuple[str, int]:
    return ".", at


_GATEWAYS = (Word(_parse_no_gateway, _read_no_gateway), IPV4, IPV6, NAME)


def _parse_ipseckey(words: Sequence[str], origin: Name) -> bytes:
    """Gateway type, algorithm, gateway, and perhaps a key."""
    if len(words) < 3:
        remedy = "write PRECEDENCE TYPE ALGORITHM GATEWAY KEY (RFC 4025 §3.1)"
        raise Mistaken("the IPSECKEY record lacks its gateway", remedy, len(words))
    kind = _parse_gateway_type(words[0], origin)
    with at_word(1):
        algorithm = U8.parse(words[1], origin)
    with at_word(2):
        gateway = _GATEWAYS[kind].parse(words[2], origin)
    with at_word(3):
        key = BASE64_OR_NONE.parse(words[3:], origin)
    return bytes((kind,)) + algorithm + gateway + key


def _parse_gateway_type(word: str, origin: Name) -> int:
    kind = U8.parse(word, origin)[0]
    if kind >= len(_GATEWAYS):
        raise Mistaken(f"{word} is no gateway type", "write 0, 1, 2 or 3 (RFC 4025 §2.3)")
    return kind


def _read_ipseckey(rdata: bytes, at: int) -> list[str]:
    kind, algorithm = take(rdata, at, 2)
    if kind >= len(_GATEWAYS):
        raise Malformed("an unknown gateway type")
    gateway, end = _GATEWAYS[kind].read(rdata, at + 2)
    return [str(kind), str(algorithm), gateway, *BASE64_OR_NONE.read(rdata, end)]


def _parse_amtrelay(words: Sequence[str], origin: Name) -> bytes:
    """Discovery bit, type of the relay as in IPSECKEY, and the relay."""
    if len(words) != 3:
        fact = f"goes on with {words[3]}" if len(words) > 3 else "lacks its relay"
        remedy = "write PRECEDENCE DISCOVERY TYPE RELAY (RFC 8777 §4.3.1)"
        raise Mistaken(f"the AMTRELAY record {fact}", remedy, min(len(words), 3))
    if words[0] not in {"0", "1"}:
        raise Mistaken(f"{words[0]} is no discovery bit", "write 0 or 1 (RFC 8777 §4.2.2)")
    with at_word(1):
        kind = _parse_gateway_type(words[1], origin)
    with at_word(2):
        relay = _GATEWAYS[kind].parse(words[2], origin)
    return bytes((_DISCOVERY * int(words[0]) | kind,)) + relay


def _read_amtrelay(rdata: bytes, at: int) -> list[str]:
    octet = take(rdata, at, 1)[0]
    kind = octet & ~_DISCOVERY
    if kind >= len(_GATEWAYS):
        raise Malformed("an unknown type of relay")
    relay, end = _GATEWAYS[kind].read(rdata, at + 1)
    if end < len(rdata):
        raise Malformed("octets follow the relay")
    return [str(octet // _DISCOVERY), str(kind), relay]


def _parse_hip(words: Sequence[str], origin: Name) -> bytes:
    """Algorithm, identity tag, key, and rendezvous servers (RFC 8005 §5)."""
    if len(words) < 3:
        raise Mistaken("the HIP record lacks its key", "write ALGORITHM HIT KEY SERVERS", len(words))
    algorithm = U8.parse(words[0], origin)
    with at_word(1):
        tag = parse_hex(words[1], origin)
    with at_word(2):
        key = parse_base64(words[2], origin)
    if len(tag) > 255:
        raise Mistaken(f"the identity tag has {len(tag)} octets", "it has at most 255 (RFC 8005 §5)", 1)
    if len(key) > 65535:
        raise Mistaken(f"the key has {len(key)} octets", "it has at most 65535 (RFC 8005 §5)", 2)
    servers = []
    for index, word in enumerate(words[3:], 3):
        with at_word(index):
            servers.append(parse_name(word, origin))
    return bytes((len(tag),)) + algorithm + len(key).to_bytes(2) + tag + key + b"".join(servers)


def _read_hip(rdata: bytes, at: int) -> list[str]:
    header = take(rdata, at, 4)
    tag_length, key_length = header[0], int.from_bytes(header[2:])
    tag = take(rdata, at + 4, tag_length)
    key = take(rdata, at + 4 + tag_length, key_length)
    at += 4 + tag_length + key_length
    words = [str(header[1]), tag.hex().upper(), base64.b64encode(key).decode("ascii")]
    while at < len(rdata):
        server, at = read_name(rdata, at)
        words.append(server)
    return words


def _parse_prefixes(words: Sequence[str], _origin: Name) -> bytes:
    prefixes = []
    for index, word in enumerate(words):
        with at_word(index):
            prefixes.append(_parse_prefix(word))
    return b"".join(prefixes)


def _parse_prefix(word: str) -> bytes:
    """An address prefix; the zero octets at the end of the address are left out (RFC 3123 §4)."""
    prefix = _PREFIX.fullmatch(word)
    if not prefix:
        raise Mistaken(f"{word} is no address prefix", "write it as in !1:192.0.2.0/24 or 2:2001:db8::/32")
    number, length = int(prefix[2]), int(prefix[4])
    address = (IPV4, IPV6)[number - 1].parse(prefix[3], b"").rstrip(b"\0")
    if length > 8 * _FAMILIES[number][1]:
        raise Mistaken(f"{word} has a prefix length of {length}", f"write at most {8 * _FAMILIES[number][1]}")
    sign = _NEGATION if prefix[1] else 0
    return bytes((0, number, length, sign | len(address))) + address


def _read_prefixes(rdata: bytes, at: int) -> list[str]:
    words = []
    while at < len(rdata):
        high, low, length, octets = take(rdata, at, 4)
        if high or low not in _FAMILIES:
            raise Unwritable("an address family of another kind")
        family, size = _FAMILIES[low]
        address = take(rdata, at + 4, octets & ~_NEGATION)
        if len(address) > size:
            raise Malformed("an address that is too long")
        sign = "!" if octets & _NEGATION else ""
        words.append(f"{sign}{low}:{inet_ntop(family, address.ljust(size, bytes(1)))}/{length}")
        at += 4 + len(address)
    return words


IPSECKEY = Rest(_parse_ipseckey, _read_ipseckey)
AMTRELAY = Rest(_parse_amtrelay, _read_amtrelay)
HIP = Rest(_parse_hip, _read_hip)
PREFIXES = Rest(_parse_prefixes, _read_prefixes, may_be_empty=True)
