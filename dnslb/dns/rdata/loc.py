"""LOC: latitude, longitude, altitude, size and precisions of a place (RFC 1876)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dnslb.dns.mistake import Mistaken, at_word
from dnslb.dns.name import Name
from dnslb.dns.rdata.errors import Malformed, Unwritable
from dnslb.dns.rdata.field import Rest, take

_MIDDLE = 2**31  # the equator and the prime meridian, in thousandths of a second of arc (RFC 1876 §2)
_DEGREE = 3600 * 1000
_SEA = 100_000 * 100  # altitudes count centimetres from 100 km below the reference spheroid
_MAX_ALTITUDE = 2**32 - 1
_MAX_SIZE = 90_000_000 * 100  # centimetres: the largest digit and power of ten
_DEFAULTS = ("1m", "10000m", "10m")  # size, horizontal and vertical precision (RFC 1876 §3)

_WHOLE = re.compile(r"0{0,99}[0-9]{1,3}")
_SECONDS = re.compile(r"(0{0,99}[0-9]{1,2})(?:\.([0-9]{0,3}))?")
_METRES = re.compile(r"(-?)(0{0,99}[0-9]{1,8})(?:\.([0-9]{0,2}))?m?")
_REMEDY = "write 52 22 23 N 4 53 32 E -2m 0m 10000m 10m: degrees, minutes, seconds, altitude, size, precisions"


def _parse(words: Sequence[str], _origin: Name) -> bytes:
    latitude, at = _parse_angle(words, 0, "NS", 90)
    longitude, at = _parse_angle(words, at, "EW", 180)
    altitude = _SEA + _parse_metres(words, at)
    if not 0 <= altitude <= _MAX_ALTITUDE:
        raise Mistaken(f"{words[at]} is no altitude", "write metres from -100000.00 to 42849672.95", at)
    sizes = [*words[at + 1 :], *_DEFAULTS[len(words) - at - 1 :]]
    if len(sizes) > len(_DEFAULTS):
        raise Mistaken(f"a LOC record does not go on after its vertical precision: {words[at + 4]}", _REMEDY, at + 4)
    octets = bytes(_size(sizes, index, at + 1) for index in range(3))
    return b"\0" + octets + latitude.to_bytes(4) + longitude.to_bytes(4) + altitude.to_bytes(4)


def _parse_angle(words: Sequence[str], at: int, signs: str, limit: int) -> tuple[int, int]:
    """Degrees, then perhaps minutes, then perhaps seconds, and the hemisphere; and the index after it."""
    last = next((index for index in range(at, min(at + 4, len(words))) if words[index].upper() in tuple(signs)), None)
    if last is None:
        raise Mistaken(f"a LOC record lacks {signs[0]} or {signs[1]}", _REMEDY, min(at + 3, len(words)))
    if last == at:
        raise Mistaken(f"no degrees stand before {words[at]}", _REMEDY, at)
    angle = _whole(words, at, limit) * _DEGREE
    if last > at + 1:
        angle += _whole(words, at + 1, 59) * 60_000
    if last > at + 2:
        angle += _seconds(words, at + 2)
    if angle > limit * _DEGREE:
        raise Mistaken(f"the angle is more than {limit} degrees", f"write at most {limit} degrees", at)
    return _MIDDLE + (angle if words[last].upper() == signs[0] else -angle), last + 1


def _whole(words: Sequence[str], at: int, limit: int) -> int:
    if not _WHOLE.fullmatch(words[at]) or int(words[at]) > limit:
        raise Mistaken(f"{words[at]} is no number from 0 to {limit}", _REMEDY, at)
    return int(words[at])


def _seconds(words: Sequence[str], at: int) -> int:
    """Thousandths of a second of arc, below a minute."""
    seconds = _SECONDS.fullmatch(words[at])
    if not seconds or int(seconds[1]) > 59:
        raise Mistaken(f"{words[at]} is no number from 0 to 59.999", _REMEDY, at)
    return int(seconds[1]) * 1000 + int((seconds[2] or "").ljust(3, "0"))


def _parse_metres(words: Sequence[str], at: int) -> int:
    """Centimetres."""
    if at == len(words):
        raise Mistaken("a LOC record lacks its altitude", _REMEDY, at)
    metres = _METRES.fullmatch(words[at])
    if not metres:
        raise Mistaken(f"{words[at]} is no length in metres", _REMEDY, at)
    centimetres = int(metres[2]) * 100 + int((metres[3] or "").ljust(2, "0"))
    return -centimetres if metres[1] else centimetres


def _size(words: Sequence[str], index: int, start: int) -> int:
    """One digit and a power of ten, in centimetres, in one octet; further digits are lost (RFC 1876 §2)."""
    with at_word(start):
        centimetres = _parse_metres(words, index)
    if not 0 <= centimetres <= _MAX_SIZE or words[index].startswith("-"):
        raise Mistaken(f"{words[index]} is no size", "write metres from 0.00 to 90000000.00", start + index)
    power = max(len(str(centimetres)) - 1, 0)
    return int(str(centimetres)[0]) << 4 | power


def _read(rdata: bytes, at: int) -> list[str]:
    chunk = take(rdata, at, 16)
    if chunk[0] or len(rdata) > at + 16:
        raise Malformed("a LOC record of another version")
    latitude, longitude, altitude = (int.from_bytes(chunk[start : start + 4]) for start in (4, 8, 12))
    return [
        *_read_angle(latitude, "NS", 90),
        *_read_angle(longitude, "EW", 180),
        _read_metres(altitude - _SEA),
        *(_read_metres(_read_size(octet)) for octet in chunk[1:4]),
    ]


def _read_angle(value: int, signs: str, limit: int) -> list[str]:
    angle = abs(value - _MIDDLE)
    if angle > limit * _DEGREE:
        raise Malformed("an angle beyond the pole or round the world")
    minutes, thousandths = divmod(angle, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{thousandths // 1000}.{thousandths % 1000:03d}"
    return [str(hours), str(minutes), seconds, signs[0] if value >= _MIDDLE else signs[1]]


def _read_metres(centimetres: int) -> str:
    sign = "-" if centimetres < 0 else ""
    return f"{sign}{abs(centimetres) // 100}.{abs(centimetres) % 100:02d}m"


def _read_size(octet: int) -> int:
    digit, power = octet >> 4, octet & 15
    if digit > 9 or power > 9:
        raise Malformed("a size that is no decimal digit and power")
    if power and not digit:
        raise Unwritable("nothing, to a power of ten")
    return int(f"{digit}{'0' * power}")


LOC = Rest(_parse, _read)
