"""The manual's Markdown becomes roff, for man pages.

Pure.  It knows what our pages use and no more: headings, paragraphs, lists, tables, blocks of code, and in a line code,
emphasis and links.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import takewhile

_FENCE = "```"
_SPAN = re.compile(r"`([^`]+)`|\*\*(.+?)\*\*|\*([^*\s][^*]*)\*|\[([^]]+)\]\(([^)]+)\)", re.DOTALL)
_LINE_BREAK = "\n.br\n"
_NOTHING = "\\&"


def escaped(text: str) -> str:
    """A line for roff, whose requests begin with a dot or an apostrophe, and to which a hyphen is another sign."""
    return _at_the_beginning(_plain(text))


def _plain(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-")


def _at_the_beginning(text: str) -> str:
    return f"{_NOTHING}{text}" if text.startswith((".", "'")) else text


def paragraphs(markdown: str, page_of: Callable[[str], str]) -> Iterator[str]:
    """The roff of each block.  ``page_of`` says what a link leads to: ``dnslb-zones(5)``, an address, or ''."""
    for block in _blocks(markdown):
        first, *rest = block
        if first.startswith(_FENCE):
            yield "\n".join([".PP", ".RS 4", ".nf", *map(escaped, rest), ".fi", ".RE"])
        elif first.startswith("#"):
            yield f".{'SH' if first.startswith('## ') else 'SS'} {escaped(first.lstrip('# '))}"
        elif first.startswith("|"):
            yield from _table(block, page_of)
        elif first.startswith("- "):
            yield f".IP \\(bu 2\n{_inline(' '.join(block).removeprefix('- '), page_of)}"
        else:
            yield f".PP\n{_inline(' '.join(block), page_of)}"


def _blocks(markdown: str) -> Iterator[list[str]]:
    """Lines that belong together, without what they are indented by; a block of code has no last fence."""
    lines = iter(markdown.splitlines())
    block: list[str] = []
    for line in map(str.lstrip, lines):
        alone = line.startswith(("#", _FENCE))
        if block and (not line or alone or line.startswith("- ") or line.startswith("|") != block[0].startswith("|")):
            yield block
            block = []
        if line.startswith(_FENCE):
            code = list(takewhile(lambda code: not code.lstrip().startswith(_FENCE), lines))
            indent = min((len(text) - len(text.lstrip()) for text in code if text), default=0)
            yield [line, *(text[indent:] for text in code)]
        elif alone:
            yield [line]
        elif line:
            block.append(line)
    if block:
        yield block


def _table(rows: list[str], page_of: Callable[[str], str]) -> Iterator[str]:
    """A paragraph a row: its first cell, and below that the others, which are named when they are several."""
    header, _, *others = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    for first, *cells in others:
        yield f".PP\n{_inline(first, page_of) or _NOTHING}"
        named = [(f"*{title}*: " if len(cells) > 1 and title else "") + cell
                 for title, cell in zip(header[1:], cells, strict=False) if cell]  # fmt: skip
        if named:
            yield f".RS 4\n{_inline('<br>'.join(named), page_of)}\n.RE"


def _inline(text: str, page_of: Callable[[str], str]) -> str:
    return _LINE_BREAK.join(_at_the_beginning(_spans(line, page_of)) for line in text.split("<br>"))


def _spans(text: str, page_of: Callable[[str], str]) -> str:
    parts: list[str] = []
    end = 0
    for found in _SPAN.finditer(text):
        code, strong, emphasis, link, target = found.groups()
        parts.append(_plain(text[end : found.start()]))
        end = found.end()
        if link:
            page = page_of(target)
            parts.append(_spans(link, page_of) + (f" (\\fB{_plain(page)}\\fR)" if page else ""))
        elif emphasis:
            parts.append(f"\\fI{_plain(emphasis)}\\fR")
        else:
            parts.append(f"\\fB{_plain(code) if code else _spans(strong, page_of)}\\fR")
    return "".join([*parts, _plain(text[end:])])
