"""SvcParams, the parameters of SVCB and HTTPS (RFC 9460 §2)."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from dnslb.dns.mistake import Mistaken, at_word
from dnslb.dns.name import Name
from dnslb.dns.rdata import octets, strings
from dnslb.dns.rdata.errors import Malformed
from dnslb.dns.rdata.field import Rest, parse_decimal, take

MANDATORY, ALPN, NO_DEFAULT_ALPN, PORT, IPV4HINT, ECH, IPV6HINT, DOHPATH, OHTTP = range(9)
KEYS = {
    "mandatory": MANDATORY, "alpn": ALPN, "no-default-alpn": NO_DEFAULT_ALPN, "port": PORT, "ipv4hint": IPV4HINT,
    "ech": ECH, "ipv6hint": IPV6HINT, "dohpath": DOHPATH, "ohttp": OHTTP,
}  # fmt: skip
_MNEMONICS = {number: key for key, number in KEYS.items()}
_GENERIC_KEY = re.compile(r"key(0|[1-9][0-9]{0,4})")
_LIST_ITEM = re.compile(rb"(?:[^\\,]|\\.)*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Value:
    """How the value of one key is written: the unescaped octets between quotes, to wire and back."""

    parse: Callable[[bytes], bytes]
    text: Callable[[bytes], str]
    may_be_empty: bool = False


def _parse_key(word: str) -> int:
    generic = _GENERIC_KEY.fullmatch(word)
    number = int(generic[1]) if generic else KEYS.get(word)
    if number is None or number > 65535:
        remedy = f"write one of {', '.join(KEYS)}, or key and a number up to 65535"
        raise Mistaken(f"{word or 'nothing'} is no SvcParamKey", remedy)
    return number


def _key_text(number: int) -> str:
    return _MNEMONICS.get(number) or f"key{number}"


def _latin(octets_: bytes) -> str:
    return octets_.decode("latin-1")


def _parse_keys(value: bytes) -> bytes:
    """``mandatory``: keys in ascending order, without itself (RFC 9460 §8)."""
    numbers = sorted(_parse_key(word) for word in _latin(value).split(","))
    if MANDATORY in numbers or len(set(numbers)) < len(numbers):
        raise Mistaken("mandatory names a key twice, or itself", "name each other key once (RFC 9460 §8)")
    return b"".join(number.to_bytes(2) for number in numbers)


def _keys_text(value: bytes) -> str:
    return ",".join(_key_text(int.from_bytes(take(value, at, 2))) for at in range(0, len(value), 2))


def _parse_alpn(value: bytes) -> bytes:
    r"""``alpn``: strings behind length octets; ``\,`` and ``\\`` stand inside one (RFC 9460 §7.1.1, A.1)."""
    protocols, at = [], 0
    while True:
        item = _LIST_ITEM.match(value, at)
        protocol = re.sub(rb"\\(.)", rb"\1", item[0], flags=re.DOTALL) if item else b""
        if not 1 <= len(protocol) <= 255:
            raise Mistaken(f"a protocol in alpn has {len(protocol)} octets", "write 1 to 255, with commas between")
        protocols.append(bytes((len(protocol),)) + protocol)
        at = item.end() if item else at
        if at == len(value):
            return b"".join(protocols)
        if value[at : at + 1] != b",":
            raise Mistaken("alpn ends in a lone backslash", r"write \\\\ for a backslash (RFC 9460 A.1)")
        at += 1


def _alpn_text(value: bytes) -> str:
    protocols, at = [], 0
    while at < len(value):
        length = value[at]
        protocols.append(re.sub(rb"([\\,])", rb"\\\1", take(value, at + 1, length)))
        at += 1 + length
    return strings.quote(b",".join(protocols))


def _nothing(key: str, source: str) -> _Value:
    """Of a key that has none."""

    def parse(value: bytes) -> bytes:
        if value:
            raise Mistaken(f"{key} has a value", f"write the key alone ({source})")
        return b""

    return _Value(parse, strings.quote, may_be_empty=True)


def _parse_port(value: bytes) -> bytes:
    return parse_decimal(_latin(value), 65535).to_bytes(2)


def _port_text(value: bytes) -> str:
    if len(value) != 2:
        raise Malformed("a port of another length")
    return str(int.from_bytes(value))


def _addresses(family: int, size: int, kind: str) -> _Value:
    def parse(value: bytes) -> bytes:
        addresses = []
        for word in _latin(value).split(","):
            try:
                addresses.append(inet_pton(family, word))
            except (OSError, ValueError):
                raise Mistaken(f"{word or 'nothing'} is no {kind} address", "write addresses with commas") from None
        return b"".join(addresses)

    def text(value: bytes) -> str:
        return ",".join(inet_ntop(family, take(value, at, size)) for at in range(0, len(value), size))

    return _Value(parse, text)


def _parse_ech(value: bytes) -> bytes:
    return octets.parse_base64(_latin(value), b"")


def _ech_text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _parse_dohpath(value: bytes) -> bytes:
    """A relative URI template with the variable ``dns`` (RFC 9461 §5)."""
    try:
        template = value.decode("utf-8")
    except UnicodeDecodeError:
        raise Mistaken("dohpath is not UTF-8", "write a URI template, as in /dns-query{?dns}") from None
    if not template.startswith("/") or not re.search(r"\{[^}]*\bdns\b[^}]*\}", template):
        raise Mistaken(f"{template} is no dohpath", "write a URI template, as in /dns-query{?dns} (RFC 9461 §5)")
    return value


_VALUES: Mapping[int, _Value] = {
    MANDATORY: _Value(_parse_keys, _keys_text),
    ALPN: _Value(_parse_alpn, _alpn_text),
    NO_DEFAULT_ALPN: _nothing("no-default-alpn", "RFC 9460 §7.1.1"),
    PORT: _Value(_parse_port, _port_text),
    IPV4HINT: _addresses(AF_INET, 4, "IPv4"),
    ECH: _Value(_parse_ech, _ech_text),
    IPV6HINT: _addresses(AF_INET6, 16, "IPv6"),
    DOHPATH: _Value(_parse_dohpath, strings.quote),
    OHTTP: _nothing("ohttp", "RFC 9540 §4"),
}


def _parse(words: Sequence[str], _origin: Name) -> bytes:
    params: dict[int, bytes] = {}
    for index, word in _joined(words):
        with at_word(index):
            number, value = _parse_param(word)
        if number in params:
            raise Mistaken(f"{_key_text(number)} is given twice", "give each key once (RFC 9460 §2.1)", index)
        params[number] = value
    _check(params)
    return b"".join(
        number.to_bytes(2) + len(value).to_bytes(2) + value for number, value in sorted(params.items())
    )


def _joined(words: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The parameters with the indices of their words: files are cut into words in ``key="value"``, too."""
    at = 0
    while at < len(words):
        word, begin, at = words[at], at, at + 1
        while word.endswith("=") and at < len(words) and words[at].startswith('"'):
            word, at = word + words[at], at + 1
        yield begin, word


def _parse_param(word: str) -> tuple[int, bytes]:
    key, _, raw = word.partition("=")
    number = _parse_key(key)
    value = strings.unescape(raw)
    known = _VALUES.get(number)
    if known is not None:
        value = _parse_wire(key, known, value) if _GENERIC_KEY.fullmatch(key) else _parse_known(key, known, value)
    if len(value) > 65535:
        raise Mistaken(f"the value of {key} has {len(value)} octets", "a value has at most 65535")
    return number, value


def _parse_known(key: str, known: _Value, value: bytes) -> bytes:
    if not value and not known.may_be_empty:
        raise Mistaken(f"{key} has no value", f"write {key}=VALUE")
    return known.parse(value)


def _parse_wire(key: str, known: _Value, value: bytes) -> bytes:
    """The value of a generic key is in wire form, also where the key has a name (RFC 9460 §2.1)."""
    try:
        if _parse_known(key, known, strings.unescape(known.text(value))) == value:
            return value
    except (Mistaken, Malformed):
        pass
    raise Mistaken(f"the value of {key} is not in wire form", "call the key by its name (RFC 9460 §2.1)")


def _check(params: Mapping[int, bytes]) -> None:
    """Every mandatory key is there, and ``no-default-alpn`` has its ``alpn`` (RFC 9460 §7.1.1, §8)."""
    wanted = params.get(MANDATORY, b"")
    for at in range(0, len(wanted), 2):
        number = int.from_bytes(wanted[at : at + 2])
        if number not in params:
            raise Mistaken(f"the mandatory key {_key_text(number)} is missing", "give it, or do not call it mandatory")
    if NO_DEFAULT_ALPN in params and ALPN not in params:
        raise Mistaken("no-default-alpn stands without alpn", "give alpn (RFC 9460 §7.1.1)")


def _read(rdata: bytes, at: int) -> list[str]:
    words = []
    while at < len(rdata):
        header = take(rdata, at, 4)
        number, length = int.from_bytes(header[:2]), int.from_bytes(header[2:])
        value = take(rdata, at + 4, length)
        known = _VALUES.get(number)
        written = known.text(value) if known else strings.quote(value)
        words.append(f"{_key_text(number)}={written}" if value else _key_text(number))
        at += 4 + length
    return words


PARAMS = Rest(_parse, _read, may_be_empty=True)
