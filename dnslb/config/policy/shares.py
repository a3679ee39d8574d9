"""Shares in percent, as a policy file writes them: ``50%``, ``30% of 20``.

Pure: no I/O.
"""

from __future__ import annotations

import re

from dnslb.balance.pool import Least
from dnslb.balance.unsteady import Unsteady
from dnslb.text.document import Document
from dnslb.text.yaml_tree import Node

MOST_BACKENDS = 4096    # of ``min_ready``
LEAST_WINDOW, MOST_WINDOW = 2, 100  # probes

_PERCENT = re.compile(r"(\d{1,3})\s*%", re.ASCII)
_WINDOW = re.compile(r"(\d{1,3})\s*%\s+of\s+(\d{1,3})", re.ASCII)


def read_percent(document: Document, node: Node) -> int | None:
    """1 to 100."""
    word = document.text(node)
    found = None if word is None else _percent(word)
    if word is not None and found is None:
        document.report(node, f"{word} is no share from 1% to 100%", "write one with its sign, such as 50%")
    return found


def read_least(document: Document, node: Node) -> Least | None:
    """A number of backends, or a share of the weight."""
    word = document.text(node)
    if word is None:
        return None
    if word.isascii() and word.isdigit() and 0 < len(word) <= 4 and int(word) <= MOST_BACKENDS:
        return Least(backends=int(word))
    percent = _percent(word)
    if percent is None:
        fact = f"{word} is no number of backends up to {MOST_BACKENDS}, and no share from 1% to 100%"
        document.report(node, fact, "write one such as 1, or 50% of the weight")
        return None
    return Least(percent=percent)


def read_unsteady(document: Document, node: Node) -> Unsteady | None:
    """A share of the last probes."""
    word = document.text(node)
    if word is None:
        return None
    found = parse_unsteady(word)
    if found is None and _WINDOW.fullmatch(word) is None:
        document.report(node, f"{word} is no share of the last probes", "write one such as 30% of 20")
    elif found is None:
        remedy = f"write 1% to 100%, of {LEAST_WINDOW} to {MOST_WINDOW} probes"
        document.report(node, f"{word} is out of range", remedy)
    return found


def parse_unsteady(word: str) -> Unsteady | None:
    """None when it is none, or out of range."""
    found = _WINDOW.fullmatch(word)
    if found is None or not 1 <= int(found[1]) <= 100 or not LEAST_WINDOW <= int(found[2]) <= MOST_WINDOW:
        return None
    return Unsteady(int(found[1]), int(found[2]))


def _percent(word: str) -> int | None:
    found = _PERCENT.fullmatch(word)
    return int(found[1]) if found is not None and 1 <= int(found[1]) <= 100 else None
