"""Foreign text, fit for one line of a log or a terminal."""

from __future__ import annotations

_MOST = 1000  # characters: more than any fact that quotes a word or two

def one_line(text: str) -> str:
    r"""The text in one line that any terminal takes: line ends, control codes and surrogates as Python escapes them."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def shortened(text: str) -> str:
    """The same of a text that may be as long as a file."""
    return one_line(text if len(text) <= _MOST else f"{text[: _MOST // 2]} … {text[-_MOST // 2 :]}")
