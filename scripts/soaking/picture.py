"""The run as a picture: memory, descriptors, latency and losses over time, and what happened when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from comparison import palette

from soaking.load import Tally
from soaking.samples import Sample
from soaking.trouble import Troubles

mpl.use("svg")
from matplotlib import pyplot as plt

STEPS = 120  # points of the latency


def draw(path: Path, began: float, samples: Sequence[Sample], tally: Tally, troubles: Troubles) -> None:
    figure, axes = plt.subplots(4, 1, sharex=True, figsize=(9, 9), layout="constrained")
    memory, files, latency, events = axes
    _lines(memory, began, samples, lambda held: held.memory / 2**20)
    memory.set_ylabel("memory (PSS, MB)")
    _lines(files, began, samples, lambda held: held.files)
    files.set_ylabel("descriptors")
    _latency(latency, began, tally.took)
    names = sorted({name for _, name in troubles.marks})
    for number, name in enumerate(names):
        at = [(when - began) / 60 for when, each in troubles.marks if each == name]
        events.plot(at, [number] * len(at), "|", color=palette.BLUE, markersize=9)
    lost = [(when - began) / 60 for when, _ in tally.lost]
    events.plot(lost, [len(names)] * len(lost), "x", color=palette.VERMILION)
    events.set_yticks(range(len(names) + 1), [*names, "lost"])
    events.set_xlabel("minutes")
    figure.savefig(path)
    plt.close(figure)


def _lines(axes: Any, began: float, samples: Sequence[Sample], value: Callable[[Any], float]) -> None:
    times = [(each.at - began) / 60 for each in samples]
    axes.plot(times, [value(each.parent) for each in samples], color=palette.ORANGE, label="parent")
    axes.plot(times, [value(each.workers) for each in samples], color=palette.BLUE, label="workers")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right")


def _latency(axes: Any, began: float, took: Sequence[tuple[float, float]]) -> None:
    ordered = sorted(took)
    size = max(1, len(ordered) // STEPS)
    pieces = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    times = [(piece[0][0] - began) / 60 for piece in pieces]
    for share, colour in ((0.5, palette.GREEN), (0.99, palette.VERMILION)):
        ranks = [sorted(seconds for _, seconds in piece)[int(share * (len(piece) - 1))] * 1000 for piece in pieces]
        axes.plot(times, ranks, color=colour, label=f"{share:.0%} within")
    axes.set_yscale("log")
    axes.set_ylabel("latency (ms)")
    axes.legend(loc="upper right")
