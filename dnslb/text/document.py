"""YAML with places: every value knows its line and column, and every mistake is reported, not only the first.

Values are read by the caller's word for what they should be (``text``, ``number`` …); what is something else is
reported and read as None.  Pure: no I/O.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Collection
from dataclasses import dataclass, field
from difflib import get_close_matches

import yaml

from dnslb.text import duration
from dnslb.text.one_line import shortened
from dnslb.text.problem import Level, Problem

_CLAIMS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_LONGEST_SLIP = 64  # characters of a wrong word that are compared with the right ones: the time grows by their square
_NULL = "tag:yaml.org,2002:null"
_MOST_NODES = 1_000_000  # with every alias (*name) counted as what it stands for: ten lines could mean a billion


@dataclass(slots=True)
class Document:
    """One file: its root and what is wrong with it so far."""

    file: str
    root: yaml.Node | None = None
    problems: list[Problem] = field(default_factory=list)

    def report(self, node: yaml.Node, fact: str, remedy: str, level: Level = Level.ERROR) -> None:
        mark = node.start_mark
        line, column = mark.line + 1, mark.column + 1
        self.problems.append(Problem(level, self.file, line, column, shortened(fact), shortened(remedy)))

    def mapping(self, node: yaml.Node, keys: Collection[str], what: str) -> dict[str, yaml.Node]:
        """The values of a mapping that may have only these keys."""
        if not isinstance(node, yaml.MappingNode):
            self.report(node, f"{what} is no mapping", f"write keys and values: {', '.join(sorted(keys))}")
            return {}
        values: dict[str, yaml.Node] = {}
        for key, value in node.value:
            word = key.value if isinstance(key, yaml.ScalarNode) else ""
            if word in values:
                self.report(key, f"{word} is given twice", "remove one of the two")
            elif word not in keys:
                self.report(key, f"{what} has no key {word or '(a list or mapping)'}", _closest(word, keys))
            else:
                values[word] = value
        return values

    def entries(self, node: yaml.Node, what: str) -> list[tuple[str, yaml.Node, yaml.Node]]:
        """The keys of a mapping that may have any, each with its node and the value's.  Twice the same is reported."""
        if not isinstance(node, yaml.MappingNode):
            self.report(node, f"{what} is no mapping", "write keys and values")
            return []
        entries: dict[str, tuple[str, yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            word = self.text(key)
            if word is not None and word in entries:
                self.report(key, f"{word} is given twice", "remove one of the two")
            elif word is not None:
                entries[word] = (word, key, value)
        return list(entries.values())

    def text(self, node: yaml.Node) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.value:
            return str(node.value)
        self.report(node, "a word is missing", "write one value here")
        return None

    def texts(self, node: yaml.Node) -> list[tuple[str, yaml.Node]]:
        """One word, or a list of them, each with its node."""
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        words = [(self.text(item), item) for item in items]
        return [(word, item) for word, item in words if word is not None]

    def number(self, node: yaml.Node, least: int, most: int) -> int | None:
        word = self.text(node)
        if word is None:
            return None
        # int() raises when there are thousands of digits.
        short = len(word.lstrip("0")) <= len(str(most))
        if not (short and word.isascii() and word.isdigit()) or not least <= int(word) <= most:
            self.report(node, f"{word} is no number from {least} to {most}", "write such a number")
            return None
        return int(word)

    def choice(self, node: yaml.Node, words: Collection[str]) -> str | None:
        word = self.text(node)
        if word is None or word in words:
            return word
        self.report(node, f"{word} is not one of {', '.join(words)}", _closest(word, words))
        return None

    def claim(self, node: yaml.Node) -> bool | None:
        """True or false, in the words of YAML 1.1."""
        word = self.text(node)
        if word is None or word.lower() in _CLAIMS:
            return None if word is None else _CLAIMS[word.lower()]
        self.report(node, f"{word} is neither true nor false", "write true or false")
        return None

    def duration(self, node: yaml.Node, least: float, most: float) -> float | None:
        """Seconds."""
        word = self.text(node)
        if word is None:
            return None
        seconds = duration.parse(word)
        if seconds is None:
            self.report(node, f"{word} is no duration", "write a number and a unit: 500ms, 5s, 2m, 1h")
            return None
        if not least <= seconds <= most:
            self.report(node, f"{word} is out of range", f"write {least:g}s to {most:g}s")
            return None
        return seconds


def parse(octets: bytes, file: str) -> Document:
    """The document, with a problem when it is no YAML at all."""
    document = Document(file)

    def refuse(line: int, column: int, fact: str, remedy: str) -> Document:
        document.problems.append(Problem(Level.ERROR, file, line, column, fact, remedy))
        return document

    try:
        text = octets.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
        return refuse(*_place(before), f"octet 0x{error.object[error.start]:02x} is no UTF-8", "write UTF-8 text")
    try:
        document.root = yaml.compose(text, Loader=yaml.SafeLoader)
        size = _size(document.root, {}) if document.root is not None else 0
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        fact = ", ".join(filter(None, (error.context, error.problem)))
        return refuse(line, column, fact, "check brackets, quotes and indentation (by spaces, not tabs)")
    except yaml.reader.ReaderError as error:
        character = ord(text[error.position])
        return refuse(*_place(text[: error.position]), f"character U+{character:04X} is not allowed", "remove it")
    except RecursionError:
        document.root = None
        return refuse(0, 0, "values are nested too deeply", "nest them less")
    if size > _MOST_NODES:
        document.root = None
        return refuse(0, 0, f"more than {_MOST_NODES} values, each alias counted as what it stands for", "write fewer")
    return document


def is_null(node: yaml.Node) -> bool:
    """Whether nothing is written there, or YAML's word for it: ``~``, ``null``."""
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many nodes there are to somebody who follows every alias.  One within itself raises RecursionError."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in known:
        return known[id(node)]
    inner = node.value if isinstance(node, yaml.SequenceNode) else [one for pair in node.value for one in pair]
    known[id(node)] = size = 1 + sum(_size(one, known) for one in inner)
    return size


def _place(before: str) -> tuple[int, int]:
    """Line and column of what follows the text."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _closest(word: str, words: Collection[str]) -> str:
    close = get_close_matches(word[:_LONGEST_SLIP], words, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known are: {', '.join(sorted(words))}"
