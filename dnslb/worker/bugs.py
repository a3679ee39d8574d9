"""Our own mistakes while answering: counted, and logged once with the packet that showed them."""

from __future__ import annotations

import logging

_log = logging.getLogger("dnslb")


class Bugs:
    """Counts exceptions from the responder.  Called inside an ``except`` block."""

    def __init__(self) -> None:
        self.count = 0
        self._is_known = False

    def report(self, packet: bytes) -> None:
        self.count += 1
        if not self._is_known:
            self._is_known = True
            _log.exception("a bug in dnslb: please report it with this packet: %s", packet.hex())
