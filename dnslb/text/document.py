"""YAML with places: every value knows its line and column, and every mistake is reported, not only the first.

Values are read by the caller's word for what they should be (``text``, ``number`` …); what is something else is
reported and read as None.  Pure: no I/O.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Collection
from dataclasses import dataclass, field
from difflib import get_close_matches

from dnslb.text import duration, yaml_tree
from dnslb.text.one_line import shortened
from dnslb.text.problem import Level, Problem
from dnslb.text.yaml_tree import MappingNode, Node, NotYaml, ScalarNode, SequenceNode

_CLAIMS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_LONGEST_SLIP = 64  # characters of a wrong word that are compared with the right ones: the time grows by their square


@dataclass(slots=True)
class Document:
    """One file: its root and what is wrong with it so far."""

    file: str
    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)

    def report(self, node: Node, fact: str, remedy: str, level: Level = Level.ERROR) -> None:
        fact, remedy = shortened(fact), shortened(remedy)
        self.problems.append(Problem(level, self.file, node.line, node.column, fact, remedy))

    def mapping(self, node: Node, keys: Collection[str], what: str) -> dict[str, Node]:
        """The values of a mapping that may have only these keys."""
        if not isinstance(node, MappingNode):
            self.report(node, f"{what} is no mapping", f"write keys and values: {', '.join(sorted(keys))}")
            return {}
        values: dict[str, Node] = {}
        for key, value in node.value:
            word = key.value if isinstance(key, ScalarNode) else ""
            if word in values:
                self.report(key, f"{word} is given twice", "remove one of the two")
            elif word not in keys:
                self.report(key, f"{what} has no key {word or '(a list or mapping)'}", _closest(word, keys))
            else:
                values[word] = value
        return values

    def entries(self, node: Node, what: str) -> list[tuple[str, Node, Node]]:
        """The keys of a mapping that may have any, each with its node and the value's.  Twice the same is reported."""
        if not isinstance(node, MappingNode):
            self.report(node, f"{what} is no mapping", "write keys and values")
            return []
        entries: dict[str, tuple[str, Node, Node]] = {}
        for key, value in node.value:
            word = self.text(key)
            if word is not None and word in entries:
                self.report(key, f"{word} is given twice", "remove one of the two")
            elif word is not None:
                entries[word] = (word, key, value)
        return list(entries.values())

    def text(self, node: Node) -> str | None:
        if isinstance(node, ScalarNode) and node.value:
            return str(node.value)
        self.report(node, "a word is missing", "write one value here")
        return None

    def texts(self, node: Node) -> list[tuple[str, Node]]:
        """One word, or a list of them, each with its node."""
        items = node.value if isinstance(node, SequenceNode) else [node]
        words = [(self.text(item), item) for item in items]
        return [(word, item) for word, item in words if word is not None]

    def number(self, node: Node, least: int, most: int) -> int | None:
        word = self.text(node)
        if word is None:
            return None
        # int() raises when there are thousands of digits.
        short = len(word.lstrip("0")) <= len(str(most))
        if not (short and word.isascii() and word.isdigit()) or not least <= int(word) <= most:
            self.report(node, f"{word} is no number from {least} to {most}", "write such a number")
            return None
        return int(word)

    def choice(self, node: Node, words: Collection[str]) -> str | None:
        word = self.text(node)
        if word is None or word in words:
            return word
        self.report(node, f"{word} is not one of {', '.join(words)}", _closest(word, words))
        return None

    def claim(self, node: Node) -> bool | None:
        """True or false, in the words of YAML 1.1."""
        word = self.text(node)
        if word is None or word.lower() in _CLAIMS:
            return None if word is None else _CLAIMS[word.lower()]
        self.report(node, f"{word} is neither true nor false", "write true or false")
        return None

    def duration(self, node: Node, least: float, most: float) -> float | None:
        """Seconds."""
        word = self.text(node)
        if word is None:
            return None
        seconds = duration.parse(word)
        if seconds is None:
            self.report(node, f"{word} is no duration", duration.REMEDY)
            return None
        if not least <= seconds <= most:
            self.report(node, f"{word} is out of range", f"write {least:g}s to {most:g}s")
            return None
        return seconds


def parse(octets: bytes, file: str) -> Document:
    """The document, with a problem when it is no YAML at all."""
    document = Document(file)
    try:
        document.root = yaml_tree.read(_decoded(octets))
    except NotYaml as error:
        document.problems.append(Problem(Level.ERROR, file, error.line, error.column, error.fact, error.remedy))
    return document


def _decoded(octets: bytes) -> str:
    """Raises NotYaml."""
    try:
        return octets.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        place = yaml_tree.place_after(error.object[: error.start].decode())
        raise NotYaml(f"octet 0x{error.object[error.start]:02x} is no UTF-8", "write UTF-8 text", *place) from None


def _closest(word: str, words: Collection[str]) -> str:
    close = get_close_matches(word[:_LONGEST_SLIP], words, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known are: {', '.join(sorted(words))}"
