"""Secrets of DNS cookies, in files as NSD keeps them: 32 hexadecimal digits a line.

Those of other servers can be copied into one: BIND has them in ``cookie-secret``, Knot, with ``0x`` before, in
``secret``.  The first makes cookies, all are taken (RFC 9018 §5).
"""

from __future__ import annotations

import re

from dnslb.dns.cookie import SECRET
from dnslb.dns.mistake import Mistaken

_MOST = 8  # secrets: each costs a hash for a cookie that is none of ours


def read(text: str) -> tuple[bytes, ...]:
    """The secrets of a file.  Raises Mistaken, which never shows one."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    found: list[bytes] = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        if re.fullmatch(rf"(0x)?[0-9a-fA-F]{{{2 * SECRET}}}", line, re.ASCII) is None:
            raise Mistaken(f"line {number} is no secret of {2 * SECRET} hexadecimal digits", _REMEDY)
        found.append(bytes.fromhex(line.removeprefix("0x")))
    if not 0 < len(found) <= _MOST:
        raise Mistaken(f"the file has {len(found)} secrets", f"write 1 to {_MOST}; {_REMEDY}")
    return tuple(found)


_REMEDY = f"openssl rand -hex {SECRET} makes one"
