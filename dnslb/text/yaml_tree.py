"""YAML as a tree of nodes, each of which knows its line and column.

PyYAML has two parsers: its own, and libyaml, which is ten times as fast, but not in every installation.  What is read,
and every mistake in it, is the same with both: libyaml gets no text that the two are known to read differently, and
what it refuses is read once more by the other one, which finds the words.  Nothing here calls itself, so that no depth
of brackets can exhaust a stack.  Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import yaml

_MOST_NODES = 1_000_000  # with every alias (*name) counted as what it stands for: ten lines could mean a billion
_DEEPEST = 200  # collections within one another
_NULL = "tag:yaml.org,2002:null"
_UNTAGGED = (None, "!")
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))  # YAML 1.1, https://yaml.org/type/null.html

_LIBYAML: type[Any] | None = getattr(yaml, "CSafeLoader", None)  # None: PyYAML was built without it

# What the two read differently.  Each pattern begins with what a search finds fast.
_READ_DIFFERENTLY = [
    re.compile(pattern, re.VERBOSE)
    for pattern in (
        r"[\t?\ufeff\x85\u2028\u2029]",     # libyaml takes tabs and question marks in more places, and BOMs as white
        r"! (?<! [^\s\[{,] !)",               # it takes more for tags
        r"[\[{,] \s* :",                      # it has another place for a missing key,
        r": \s* (?: \#.{,200}\n \s* ){,9} [,}\]]",   # between brackets for a missing value,
        r"--- (?<! [^\n] ---) \s* (?: \#.*\s* )* \Z",  # and for nothing at all
        r"[|>] [-+0-9]* \#",                  # what is no comment, it takes for one
    )
]


class ScalarNode(NamedTuple):
    value: str
    line: int  # from 1, as all lines and columns here
    column: int
    is_null: bool = False  # whether nothing is written there, or YAML's word for it: ``~``, ``null``


class SequenceNode(NamedTuple):
    value: tuple[Node, ...]
    line: int
    column: int


class MappingNode(NamedTuple):
    value: tuple[tuple[Node, Node], ...]
    line: int
    column: int


Node: TypeAlias = ScalarNode | SequenceNode | MappingNode

# What aliases stand for, with the number of nodes in it; None: its end has not come yet.
_Anchored: TypeAlias = dict[str, tuple[Node, int] | None]


def is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.is_null


class NotYaml(Exception):
    """The text has no tree.  The line is 0 when it is the text as a whole."""

    def __init__(self, fact: str, remedy: str, line: int = 0, column: int = 0) -> None:
        super().__init__(fact)
        self.fact, self.remedy, self.line, self.column = fact, remedy, line, column


def read(text: str) -> Node | None:
    """The root; None when there is nothing but comments.  Raises NotYaml."""
    if _LIBYAML is not None and not is_read_differently(text):
        try:
            return _parsed(text, _LIBYAML)
        except (yaml.YAMLError, NotYaml):
            pass  # PyYAML's own parser has the words
    try:
        return _parsed(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise _malformed(", ".join(filter(None, (error.context, error.problem))), line, column) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        fact = f"character U+{ord(text[error.position]):04X} is not allowed"
        raise NotYaml(fact, "remove it", *place_after(before)) from None


def is_read_differently(text: str) -> bool:
    """Whether the two parsers may make different trees of it."""
    return any(pattern.search(text) for pattern in _READ_DIFFERENTLY)


def _parsed(text: str, loader: type[Any]) -> Node | None:
    parser = loader(text)
    try:
        return compose(iter(parser.get_event, None))
    finally:
        parser.dispose()


def place_after(before: str) -> tuple[int, int]:
    """Line and column of what follows the text."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


class _Collection(NamedTuple):
    """One whose end has not come yet."""

    start: yaml.CollectionStartEvent
    around: list[Node]  # what the collection around it has up to now
    nodes_before: int


def compose(events: Iterable[yaml.Event]) -> Node | None:
    """The tree of one document (YAML 1.1 §3.1, "compose").  Raises NotYaml."""
    anchored: _Anchored = {}
    unfinished: list[_Collection] = []
    items: list[Node] = []  # of the innermost collection
    nodes = 0
    node: Node
    for event in events:
        if isinstance(event, yaml.ScalarEvent):
            nodes += 1
            value, mark = event.value, event.start_mark
            assert mark is not None  # see ``_place``, which would take its time here
            is_null = value in _NULLS and event.implicit[0] if event.tag in _UNTAGGED else event.tag == _NULL
            node = ScalarNode(value, mark.line + 1, mark.column + 1, is_null)
            if event.anchor is not None:
                _announce(anchored, event, event.anchor)
                anchored[event.anchor] = node, 1
            items.append(node)
        elif isinstance(event, yaml.CollectionStartEvent):
            if event.anchor is not None:
                _announce(anchored, event, event.anchor)
            unfinished.append(_Collection(event, items, nodes))
            if len(unfinished) > _DEEPEST:
                raise _too_deep()
            items = []
        elif isinstance(event, yaml.CollectionEndEvent):
            start, around, nodes_before = unfinished.pop()
            nodes += 1
            collection = _collection(start, items)
            if start.anchor is not None:
                anchored[start.anchor] = collection, nodes - nodes_before
            items = around
            items.append(collection)
        elif isinstance(event, yaml.AliasEvent):
            node, more = _stood_for(anchored, event)
            nodes += more
            items.append(node)
        elif isinstance(event, yaml.DocumentStartEvent) and items:
            fact = "expected a single document in the stream, but found another document"
            raise _malformed(fact, *_place(event))
    if nodes > _MOST_NODES:
        raise NotYaml(f"more than {_MOST_NODES} values, each alias counted as what it stands for", "write fewer")
    return items[0] if items else None


def _collection(start: yaml.CollectionStartEvent, items: list[Node]) -> SequenceNode | MappingNode:
    line, column = _place(start)
    if isinstance(start, yaml.SequenceStartEvent):
        return SequenceNode(tuple(items), line, column)
    return MappingNode(tuple(zip(items[::2], items[1::2], strict=True)), line, column)


def _announce(anchored: _Anchored, event: yaml.NodeEvent, anchor: str) -> None:
    if anchor in anchored:
        raise _malformed(f"found duplicate anchor {anchor!r}; first occurrence, second occurrence", *_place(event))
    anchored[anchor] = None


def _stood_for(anchored: _Anchored, event: yaml.AliasEvent) -> tuple[Node, int]:
    anchor = event.anchor or ""
    if anchor not in anchored:
        raise _malformed(f"found undefined alias {anchor!r}", *_place(event))
    found = anchored[anchor]
    if found is None:  # it stands within what it stands for
        raise _too_deep()
    return found


def _place(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    assert mark is not None  # of every event that a text makes
    return mark.line + 1, mark.column + 1


def _malformed(fact: str, line: int, column: int) -> NotYaml:
    return NotYaml(fact, "check brackets, quotes and indentation (by spaces, not tabs)", line, column)


def _too_deep() -> NotYaml:
    return NotYaml("values are nested too deeply", "nest them less")
