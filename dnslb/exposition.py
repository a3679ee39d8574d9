"""Prometheus' text format, version 0.0.4: families of samples as lines of text.

In pieces, so that whoever writes a long one can do something else in between.  Labels come as text, made once for all
the families that share them: prometheus-client, which makes them anew each time, takes over a second where this takes
a tenth.  Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from typing import TypeAlias

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_PIECE = 2000  # lines, or a little more

Number: TypeAlias = int | float
Sample: TypeAlias = tuple[str, Number]  # labels, value
Distribution: TypeAlias = tuple[str, Iterable[int], Number]  # labels, observations by bucket, their sum


def labels(**values: str) -> str:
    """Between the braces of a sample."""
    return ",".join([f'{label}="{_escaped(value)}"' for label, value in values.items()])


def gauge(name: str, meaning: str, samples: Iterable[Sample]) -> Iterator[str]:
    """What may rise and fall."""
    yield from _family(name, "gauge", meaning, samples)


def counter(name: str, meaning: str, samples: Iterable[Sample]) -> Iterator[str]:
    """What only rises; the name ends in ``_total``."""
    yield from _family(name, "counter", meaning, samples)


def histogram(
    name: str, meaning: str, bounds: tuple[float, ...], distributions: Iterable[Distribution]
) -> Iterator[str]:
    """How observations are distributed; the last bucket, after that of the highest bound, takes what is above."""
    yield _header(name, "histogram", meaning)
    edges = [*(f'le="{bound:g}"' for bound in bounds), 'le="+Inf"']
    rest = iter(distributions)
    while chosen := list(islice(rest, _PIECE // len(edges))):
        lines = []
        for text, observed, total in chosen:
            counts = list(accumulate(observed))
            lines += [f"{name}_bucket{{{text},{edge}}} {count}\n" for edge, count in zip(edges, counts, strict=True)]
            lines.append(f"{name}_sum{{{text}}} {total}\n{name}_count{{{text}}} {counts[-1]}\n")
        yield "".join(lines)


def _family(name: str, kind: str, meaning: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield _header(name, kind, meaning)
    rest = iter(samples)
    while chosen := list(islice(rest, _PIECE)):
        yield "".join([f"{name}{{{text}}} {value}\n" if text else f"{name} {value}\n" for text, value in chosen])


def _header(name: str, kind: str, meaning: str) -> str:
    return f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
