"""Shells complete commands and options, as click does it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from dnslb_server import DNSLB


def completed(**environment: str) -> str:
    done = subprocess.run(
        DNSLB, env={**os.environ, **environment}, capture_output=True, text=True, timeout=20, check=False
    )
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str) -> None:
    assert "_dnslb_completion" in completed(_DNSLB_COMPLETE=f"{shell}_source")


@pytest.mark.parametrize(("words", "which", "expected"), [
    ("dnslb dr", "1", "plain,drain\n"),
    ("dnslb log-level de", "2", "plain,debug\n"),
    ("dnslb serve --log-f", "2", "plain,--log-format\n"),
])  # fmt: skip
def test_words_are_completed(words: str, which: str, expected: str) -> None:
    assert completed(_DNSLB_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=which) == expected


@pytest.mark.parametrize("place", ["zones", "."])
def test_names_come_from_the_directory_that_is_probably_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / "example.test.zone").write_text("www A 192.0.2.1\n")
    monkeypatch.chdir(tmp_path)
    words = {"COMP_WORDS": "dnslb lookup ww", "COMP_CWORD": "2", "DNSLB_CONTROL": str(tmp_path / "none")}
    assert completed(_DNSLB_COMPLETE="bash_complete", **words) == "plain,www.example.test.\n"
