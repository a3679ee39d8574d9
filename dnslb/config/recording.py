"""Where queries are recorded, and which share of them: ``dnstap:`` and ``query_log:`` of ``dnslb.yaml``.

Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnslb.text.document import Document
from dnslb.text.yaml_tree import MappingNode, Node

FORMATS = ("text", "json")
_Reader = Callable[[Document, Node], Any]
_LONGEST_SOCKET = 107  # octets of the path of a unix socket (unix(7))


@dataclass(frozen=True, slots=True)
class Dnstap:
    """Queries and replies go to whoever listens on this unix socket."""

    socket: Path
    sample: float = 1.0  # the share of queries, above 0


@dataclass(frozen=True, slots=True)
class QueryLog:
    """Queries go to this file, a line for each."""

    file: Path
    format: str = "text"  # or json
    sample: float = 1.0


def read_dnstap(document: Document, node: Node) -> Dnstap | None:
    found = _read(document, node, _DNSTAP, "dnstap", "socket", "{socket: /run/dnstap.sock, sample: 1%}")
    return None if found is None else Dnstap(**found)


def read_query_log(document: Document, node: Node) -> QueryLog | None:
    found = _read(document, node, _QUERY_LOG, "query_log", "file", "{file: /var/log/dnslb/queries.log, sample: 1%}")
    return None if found is None else QueryLog(**found)


def _read(  # noqa: PLR0913, PLR0917 - what tells one from the other
    document: Document, node: Node, readers: dict[str, _Reader], what: str, needed: str, say: str
) -> dict[str, Any] | None:
    nodes = document.mapping(node, readers, what)
    if isinstance(node, MappingNode) and needed not in nodes:
        document.report(node, f"{what} has no {needed}", f"write {say}")
    values = {key: readers[key](document, value) for key, value in nodes.items()}
    return None if needed not in values or None in values.values() else values


def _share(document: Document, node: Node) -> float | None:
    word = document.text(node)
    if word is None:
        return None
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?)%", word, re.ASCII)
    share = float(match[1]) / 100 if match else 0.0
    if not 0 < share <= 1:
        document.report(node, f"{word} is no share above 0% and up to 100%", "write such a share, as in 1%")
        return None
    return share


def _path(document: Document, node: Node) -> Path | None:
    word = document.text(node)
    if word is not None and not word.startswith("/"):
        document.report(node, f"{word} is no absolute path", "begin it with /")
        return None
    return Path(word) if word is not None else None


def _socket(document: Document, node: Node) -> Path | None:
    path = _path(document, node)
    if path is not None and len(str(path).encode()) > _LONGEST_SOCKET:
        document.report(node, f"the path is longer than {_LONGEST_SOCKET} octets", "put the socket nearer to the root")
        return None
    return path


_DNSTAP: dict[str, _Reader] = {"socket": _socket, "sample": _share}
_QUERY_LOG: dict[str, _Reader] = {
    "file": _path,
    "format": lambda document, node: document.choice(node, FORMATS),
    "sample": _share,
}
