"""The syntax of BIND's files: words, blocks in braces, semicolons; comments as in C, C++ and shells.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_DEEPEST = 16  # blocks within one another
_TOKEN = re.compile(
    r"""(?P<blank>\s+ | //[^\n]* | \#[^\n]* | /\*.*?\*/) | "(?P<text>(?:[^"\\]|\\.)*)" | (?P<sign>[{};])
    | (?P<word>[^\s{};"#/]+(?:/(?![/*])[^\s{};"#/]*)* | /(?![/*])[^\s{};"#]*)""",
    re.VERBOSE | re.DOTALL,
)


class NotStatements(ValueError):
    """A text that is not made of statements; where and why."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Words, and a block of statements behind them or none."""

    place: str
    words: tuple[str, ...]
    block: tuple[Statement, ...] | None = None

    @property
    def first(self) -> str:
        return self.words[0].lower() if self.words else ""

    def find(self, word: str) -> Statement | None:
        """The last statement of that name in the block: it is the one that counts."""
        return next((one for one in reversed(self.block or ()) if one.first == word), None)

    def argument(self, word: str) -> str | None:
        """What stands behind the name, if there is just that."""
        found = self.find(word)
        return found.words[1] if found is not None and len(found.words) > 1 else None


def parse(text: str, file: str) -> list[Statement]:
    """The statements of a file.  Raises NotStatements."""
    tokens = list(_tokens(text, file))
    statements, end = _block(tokens, 0, file, 0)
    if end < len(tokens):
        raise NotStatements(f"{file}:{tokens[end][1]}: a }} without its {{; remove it")
    return statements


def _tokens(text: str, file: str) -> Iterator[tuple[str, int, bool]]:
    """Each with its line, and whether it is a sign (and no quoted text that looks like one)."""
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise NotStatements(f"{file}:{line}: a comment or a quote is never closed, or a / stands alone; mend it")
        if match["blank"] is None:
            word = match["text"] if match["text"] is not None else match[0]
            yield word, line, match["sign"] is not None
        line += match[0].count("\n")
        at = match.end()


def _block(tokens: list[tuple[str, int, bool]], at: int, file: str, depth: int) -> tuple[list[Statement], int]:
    """The statements from there up to the closing brace, or the end; and where that is."""
    if depth > _DEEPEST:
        raise NotStatements(f"{file}:{tokens[at - 1][1]}: blocks are nested more than {_DEEPEST} deep")
    found: list[Statement] = []
    words: list[str] = []
    block: tuple[Statement, ...] | None = None
    line = 0
    while at < len(tokens):
        word, here, is_sign = tokens[at]
        if not is_sign:
            line = line if words or block is not None else here
            words.append(word)
        elif word == "{":
            line = line if words else here
            inner, at = _block(tokens, at + 1, file, depth + 1)
            if at == len(tokens):
                raise NotStatements(f"{file}:{here}: the {{ is never closed; close it with }};")
            block = (*(block or ()), *inner)
        elif word == ";":
            if words or block is not None:
                found.append(Statement(f"{file}:{line}", tuple(words), block))
            words, block = [], None
        else:
            break
        at += 1
    if words or block is not None:
        raise NotStatements(f"{file}:{line}: {' '.join(words) or 'a block'} is not ended; end it with a semicolon")
    return found, at
