"""Who is told of changes: programs and URLs, as ``on_change`` in ``dnslb.yaml`` lists them.

Pure: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from dnslb.balance.pool import HttpCheck
from dnslb.config.policy import words
from dnslb.config.policy.setting import Reader, parse_address
from dnslb.text.document import Document
from dnslb.text.yaml_tree import MappingNode, Node, ScalarNode, SequenceNode


@dataclass(frozen=True, slots=True)
class CommandHook:
    """A program that gets each event on its standard input."""

    command: tuple[str, ...]

    def __str__(self) -> str:
        return self.command[0]


@dataclass(frozen=True, slots=True)
class UrlHook:
    """A URL that gets each event as the content of a POST."""

    url: str
    host: str                # a name or an address
    request: HttpCheck
    token_file: str | None   # what it holds is sent as a bearer token (RFC 6750 §2.1)

    def __str__(self) -> str:
        """For the log: of some services, the path is what must be kept secret."""
        split = urlsplit(self.url)
        return f"{split.scheme}://{split.netloc}{'/…' if split.path.strip('/') or split.query else '/'}"


Hook: TypeAlias = CommandHook | UrlHook


def read(document: Document, node: Node) -> tuple[Hook, ...] | None:
    """One hook, or a list of them."""
    items = node.value if isinstance(node, SequenceNode) else [node]
    hooks = [_read_one(document, item) for item in items]
    return tuple(dict.fromkeys(hook for hook in hooks if hook is not None))


def _read_one(document: Document, node: Node) -> Hook | None:
    nodes = document.mapping(node, _READERS, "a hook")
    if not isinstance(node, MappingNode):
        return None
    if ("command" in nodes) == ("url" in nodes):
        document.report(node, "a hook is either a command or a url", "write {command: [program]} or {url: http://...}")
        return None
    values = {key: _READERS[key](document, value) for key, value in nodes.items()}
    if None in values.values():
        return None
    if "command" in values:
        for key in values.keys() - {"command"}:
            document.report(nodes[key], f"a command has no {key}", "remove it")
        return CommandHook(values["command"])
    split = urlsplit(values["url"])
    address = parse_address(split.hostname or "")
    tls = split.scheme == "https"
    request = HttpCheck(
        port=split.port or (443 if tls else 80),
        path=_path(split.path, split.query),
        tls=tls,
        host=split.hostname if address is None else None,
        method="POST",
        headers=(("Content-Type", "application/json"),),
        ca_file=values.get("ca_file"),
    )
    return UrlHook(values["url"], split.hostname or "", request, values.get("token_file"))


def read_url(document: Document, node: Node) -> str | None:
    """One for http or https, without a password and without a fragment."""
    word = document.text(node)
    if word is None:
        return None
    try:
        split = urlsplit(word)
        is_url = split.scheme in ("http", "https") and bool(split.hostname) and split.port != 0
    except ValueError:  # brackets or a port that are none
        is_url = False
    # Passwords in it would end up in the log.
    if not is_url or split.username is not None or split.fragment:
        shown = word if "@" not in word else "what is written here"
        document.report(node, f"{shown} is no URL", "write http://192.0.2.1:9000/path or https://example.com/path")
        return None

    def part(text: str) -> ScalarNode:
        return ScalarNode(text, node.line, node.column)

    host = words.read_host(document, part(split.hostname or ""))
    path = words.read_path(document, part(_path(split.path, split.query)))
    return word if host is not None and path is not None else None


def _path(path: str, query: str) -> str:
    """What stands in the request line."""
    return (path or "/") + (f"?{query}" if query else "")


_READERS: dict[str, Reader] = {
    "command": words.read_command,
    "url": read_url,
    "token_file": words.read_file_name,
    "ca_file": words.read_file_name,
}
