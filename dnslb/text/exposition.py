"""Prometheus' text format, version 0.0.4: families of samples as lines of text.

Labels come as text, made once for all the families that share them: prometheus-client, which makes them anew for each
sample, takes several times as long.  Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate, chain, repeat
from typing import TypeAlias

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample: TypeAlias = tuple[str, int | float]                     # labels, value
Distribution: TypeAlias = tuple[str, Iterable[int], float]      # labels, observations by bucket, their sum


class Sort(Enum):
    """What a number does."""

    GAUGE = "gauge"          # rises and falls
    COUNTER = "counter"      # only rises; the name ends in ``_total``
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one name.  They must stand together, behind the head."""

    name: str
    sort: Sort
    meaning: str

    @property
    def head(self) -> str:
        return f"# HELP {self.name} {self.meaning}\n# TYPE {self.name} {self.sort.value}\n"

    def lines(self, samples: Iterable[Sample]) -> str:
        name = self.name
        return "".join([f"{name}{{{text}}} {value}\n" if text else f"{name} {value}\n" for text, value in samples])

    def histograms(self, bounds: tuple[float, ...], distributions: Iterable[Distribution]) -> str:
        """Observations by bucket: one for each upper bound, and a last one for what is above."""
        name = self.name
        edges = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        buckets = [f'{name}_bucket{{%s,le="{edge}"}} %s\n' for edge in edges]
        template = "".join((*buckets, f"{name}_sum{{%s}} %s\n", f"{name}_count{{%s}} %s\n"))
        lines = []
        for text, observed, total in distributions:
            counts = list(accumulate(observed))
            values = (*counts, total, counts[-1])
            lines.append(template % tuple(chain.from_iterable(zip(repeat(text), values))))
        return "".join(lines)


def gauge(name: str, meaning: str) -> Family:
    return Family(name, Sort.GAUGE, meaning)


def counter(name: str, meaning: str) -> Family:
    return Family(name, Sort.COUNTER, meaning)


def histogram(name: str, meaning: str) -> Family:
    return Family(name, Sort.HISTOGRAM, meaning)


def labels(**values: str) -> str:
    """What stands between the braces of a sample."""
    return ",".join([f'{label}="{_escaped(value)}"' for label, value in values.items()])


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
