"""TSIG keys, in files as BIND's ``tsig-keygen`` writes them, so that both sides can share one.

    key "fleet" { algorithm hmac-sha256; secret "…"; };
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from dataclasses import dataclass, field

from dnslb.dns import name
from dnslb.dns.mistake import Mistaken
from dnslb.text.statements import NotStatements, parse

LENGTHS = {"hmac-sha256": 32, "hmac-sha384": 48, "hmac-sha512": 64}  # octets of a secret that dnslb makes (RFC 8945 §6)
_SHORTEST = 16  # octets of a secret: half of the shortest hash, below which RFC 8945 §8 warns of guessing


@dataclass(frozen=True, slots=True)
class TsigKey:
    """A secret that two servers share."""

    name: str                            # absolute, in lower case
    algorithm: str                       # one of LENGTHS
    secret: bytes = field(repr=False)


def read(text: str, file: str) -> TsigKey:
    """The one key of a file.  Raises Mistaken, which never shows the secret."""
    try:
        statements = parse(text, file)
    except NotStatements:
        raise Mistaken("the file is no key file", _REMEDY) from None
    keys = [one for one in statements if one.first == "key" and len(one.words) == 2 and one.block is not None]
    if len(keys) != 1 or len(statements) != 1:
        raise Mistaken(f"the file has {len(keys)} keys among {len(statements)} statements", _REMEDY)
    key = keys[0]
    algorithm, secret = (key.argument("algorithm") or "").lower().rstrip("."), key.argument("secret")
    if algorithm not in LENGTHS:
        known = ", ".join(LENGTHS)
        raise Mistaken(f"the algorithm {algorithm or '(none)'} is not among {known}", "make a new key: dnslb key NAME")
    try:
        octets = b64decode(secret or "", validate=True)
    except (binascii.Error, ValueError):
        raise Mistaken("the secret is no base64", _REMEDY) from None
    owner = name.text(name.fold(name.parse(key.words[1].rstrip(".") + ".", name.ROOT)))
    if len(octets) < _SHORTEST:
        raise Mistaken(f"the secret has {len(octets)} octets, less than {_SHORTEST}", "make a new key: dnslb key NAME")
    return TsigKey(owner, algorithm, octets)


_REMEDY = 'write one as tsig-keygen does: key "NAME" { algorithm hmac-sha256; secret "…"; };'


def text(key: TsigKey) -> str:
    """The file of a key."""
    secret = b64encode(key.secret).decode()
    return f'key "{key.name.rstrip(".")}" {{\n\talgorithm {key.algorithm};\n\tsecret "{secret}";\n}};\n'
