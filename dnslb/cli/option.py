"""Kinds of option values that several commands take."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import isfinite
from typing import TypeVar

import click

from dnslb.text import duration

DIRECTORY = "zones"  # where none is given

_Value = TypeVar("_Value")


def value(parse: Callable[[str], _Value | None], complaint: str) -> Callable[[str], _Value]:
    """A parser that raises click.BadParameter with the complaint on ``{text}`` where ``parse`` gives None."""

    def parsed(text: str) -> _Value:
        found = parse(text)
        if found is None:
            raise click.BadParameter(complaint.replace("{text}", text))
        return found

    return parsed


def seconds(least: float, most: float) -> Callable[[str], float]:
    """A parser of durations within bounds, in seconds; it raises click.BadParameter."""

    def parse(text: str) -> float:
        value = duration.parse(text)
        if value is None:
            raise click.BadParameter(f"{text} is no duration; {duration.REMEDY}")
        if not least <= value <= most:
            raise click.BadParameter(f"{text} is out of range; write {least:g}s to {_text(most)}")
        return value

    return parse


def number(least: float, most: float) -> Callable[[str], float]:
    """A parser of numbers within bounds; it raises click.BadParameter."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise click.BadParameter(f"{text} is no number") from None
        if not isfinite(number) or not least <= number <= most:
            raise click.BadParameter(f"{text} is out of range; write {least:g} to {most:g}")
        return number

    return parse


def percent(least: int, most: int) -> Callable[[str], float]:
    """A parser of percentages within bounds, as shares; it raises click.BadParameter."""

    def parse(text: str) -> float:
        match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?)%", text, re.ASCII)
        if match is None or not least <= float(match[1]) <= most:
            raise click.BadParameter(f"{text} is no share of {least}% to {most}%; write such a share, as in {most}%")
        return float(match[1]) / 100

    return parse


def _text(length: float) -> str:
    return f"{length / 3600:g}h" if length > 3600 else f"{length:g}s"
