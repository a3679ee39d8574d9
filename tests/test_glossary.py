"""dnslb/README.md says what the words mean, and where they live: held against the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from test_house import FLOORS, PACKAGE

TEXT = (PACKAGE / "README.md").read_text()
ROW = re.compile(r"^\| ([^|`]+) \| [^|]+ \| `([\w.]+)` \|$", re.MULTILINE)
GLOSSARY = {word: place for words, place in ROW.findall(TEXT) for word in [words]}


def is_there(place: str) -> bool:
    """Whether a module, or a class in one, has that name."""
    path = PACKAGE.joinpath(*place.split("."))
    if path.with_suffix(".py").exists() or (path / "__init__.py").exists():
        return True
    module = path.parent.with_suffix(".py")
    return module.exists() and any(
        isinstance(node, ast.ClassDef) and node.name == path.name for node in ast.walk(ast.parse(module.read_text()))
    )


def test_there_is_a_glossary() -> None:
    assert len(GLOSSARY) >= 20


@pytest.mark.parametrize(("word", "place"), GLOSSARY.items())
def test_a_word_lives_where_the_glossary_says(word: str, place: str) -> None:
    assert is_there(place), f"{word} is not at {place}"


def test_every_room_is_in_the_picture() -> None:
    picture = TEXT.partition("```")[2].partition("```")[0]
    rows = [[room.strip("/ ") for room in re.findall(r"\w+/", line[:30])] for line in picture.strip().splitlines()]
    assert rows == FLOORS


def test_every_file_that_is_named_exists() -> None:
    for path in re.findall(r"`((?:\w+/)+\w+\.py)`", TEXT):
        assert (PACKAGE / path).exists() or (Path(PACKAGE.parent) / path).exists(), path
