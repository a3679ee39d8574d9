"""The figures as tables, JSON and a picture.  It measures nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmark.measurement import Refusal, Run
from benchmark.queries import POOLS

MEGABYTE = 1e6
FLOOR = "echo"
STATIC = "static"


@dataclass(frozen=True, slots=True)
class Figure:
    """One server under one query class: medians over the repeats, and the range."""

    microseconds: float
    lowest: float
    highest: float
    ratio: float | None         # to the floor of the same class
    to_static: float | None     # to what a name that is no pool costs the same server: of a pool, median of the repeats
    qps: float
    octets: float               # of the average reply
    busy: float
    memory: int                 # resident octets of all processes, after the last run
    growth: int                 # of memory during the runs of this class


Figures = dict[tuple[str, str], Figure]     # by server and query class


def summarise(runs: Sequence[Run]) -> Figures:
    grouped: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        grouped.setdefault((run.server, run.query_class), []).append(run)
    cost = {key: median(run.microseconds for run in group) for key, group in grouped.items()}
    figures = {}
    for (server, query_class), group in grouped.items():
        costs = [run.microseconds for run in group]
        floor = cost.get((FLOOR, query_class))
        figures[server, query_class] = Figure(
            microseconds=median(costs), lowest=min(costs), highest=max(costs),
            ratio=median(costs) / floor if floor else None,
            to_static=against(group, grouped.get((server, STATIC), ())) if query_class in POOLS else None,
            qps=median(run.qps for run in group), octets=median(run.octets for run in group),
            busy=median(run.busy for run in group),
            memory=group[-1].memory_after,
            growth=sum(run.memory_after - run.memory_before for run in group),
        )
    return figures


def against(runs: Sequence[Run], others: Sequence[Run]) -> float | None:
    """Median ratio of the runs to the others of the same repeats."""
    costs = {run.repeat: run.microseconds for run in others}
    ratios = [run.microseconds / costs[run.repeat] for run in runs if run.repeat in costs]
    return median(ratios) if ratios else None


def grid(title: str, rows: Iterable[str], columns: Sequence[str], cell: Callable[[str, str], str]) -> str:
    """Right-aligned columns under a title; a blank cell stands for no figure."""
    table = [["", *columns], *([row, *(cell(row, column) for column in columns)] for row in rows)]
    widths = [max(len(line[at]) for line in table) for at in range(len(columns) + 1)]
    lines = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in table]
    return "\n".join([title, *("  " + "  ".join(line).rstrip() for line in lines)])


def cost(figure: Figure) -> str:
    return f"{figure.microseconds:.2f} {f'{figure.ratio:.2f}×' if figure.ratio else '     '}"


def pool_ratio(figure: Figure) -> str:
    return f"{figure.to_static:.3f}×" if figure.to_static else "–"


def spread(figure: Figure) -> str:
    return f"{figure.lowest:.2f}–{figure.highest:.2f}"


def speed(figure: Figure) -> str:
    return f"{figure.qps / 1000:.0f}k {figure.busy:4.0%}"


def memory(figure: Figure) -> str:
    return f"{figure.memory / MEGABYTE:.1f} {figure.growth / MEGABYTE:+.1f}"


def size(figure: Figure) -> str:
    return f"{figure.octets:.0f}"


TABLES: tuple[tuple[str, Callable[[Figure], str]], ...] = (
    ("CPU µs per query, lowest to highest", spread),
    ("Queries per second, and how busy the server kept its core (below 95 % the generator was the limit)", speed),
    ("Resident MB of all processes after the last run, and the growth during the runs of the class", memory),
    ("Octets of the average reply; a larger one carries records that the others leave out, or a cookie", size),
    ("CPU µs per query, median, and its ratio to the echo floor of the same class", cost),
)


def tables(figures: Figures, servers: Sequence[str], classes: Sequence[str]) -> str:
    """All tables; those that matter come last, where the terminal stops."""
    def cell(show: Callable[[Figure], str], server: str, query_class: str) -> str:
        figure = figures.get((server, query_class))
        return show(figure) if figure else "–"

    shown = [grid(title, servers, classes, partial(cell, show)) for title, show in TABLES]
    pools = list(dict.fromkeys(query_class for (_, query_class), figure in figures.items() if figure.to_static))
    if pools:
        able = [server for server in servers if server != FLOOR and any((server, name) in figures for name in pools)]
        shown.append(grid(f"CPU per query of a probed pool / of a name that is none ({STATIC}), same server and repeat",
                          able, pools, partial(cell, pool_ratio)))
    return "\n\n".join(shown)


def write(path: Path, setting: dict[str, Any], outcomes: Sequence[Run | Refusal], figures: Figures,
          chart: Path | None) -> None:
    """The JSON file, and the chart: where it was asked for, else beside the JSON if matplotlib is there."""
    summary: dict[str, dict[str, Any]] = {}
    for (server, query_class), figure in figures.items():
        summary.setdefault(server, {})[query_class] = asdict(figure)
    runs = [asdict(outcome) for outcome in outcomes if isinstance(outcome, Run)]
    refused = [asdict(outcome) for outcome in outcomes if isinstance(outcome, Refusal)]
    content = {"setting": setting, "summary": summary, "runs": runs, "refused": refused}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    print(f"JSON:  {path}")
    if not figures:
        return
    chart = chart or path.with_suffix(".svg")
    try:
        draw(chart, figures, setting["versions"],
             f"One core, {setting['outstanding']} queries on the way ({setting['generator']}); "
             f"{setting['machine']}")
    except ImportError:
        print("no chart: pip install matplotlib")
    else:
        print(f"chart: {chart}")


def draw(path: Path, figures: Figures, servers: Iterable[str], title: str) -> None:
    """One panel per class, one bar per server with its range, the floor as a line.  ImportError without matplotlib."""
    import matplotlib as mpl  # noqa: PLC0415 (optional, and slow to import)

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415 (after the choice of a backend without a screen)

    shown = [server for server in servers if server != FLOOR and any(server == measured for measured, _ in figures)]
    classes = list(dict.fromkeys(query_class for _, query_class in figures))
    columns = min(4, len(classes))
    lines = -(-len(classes) // columns)
    size = (3.4 * columns, 0.9 + lines * (0.9 + 0.3 * len(shown)))
    picture, panels = pyplot.subplots(lines, columns, squeeze=False, sharey=True, figsize=size, layout="constrained")
    for panel, query_class in zip(panels.flat, classes, strict=False):
        for place, server in enumerate(shown):
            figure = figures.get((server, query_class))
            if not figure:
                continue
            error = [[figure.microseconds - figure.lowest], [figure.highest - figure.microseconds]]
            panel.barh(place, figure.microseconds, xerr=error, height=0.7, capsize=2, ecolor="#444444",
                       color="#d1495b" if server == "dnslb" else "#8fb1cc")
            ratio = f"  {figure.ratio:.2f}×" if figure.ratio else ""
            panel.text(0.03, place, f"{figure.microseconds:.2f}{ratio}", va="center", fontsize=8,
                       transform=panel.get_yaxis_transform())
        floor = figures.get((FLOOR, query_class))
        if floor:
            panel.axvline(floor.microseconds, color="#222222", linestyle="--", linewidth=1)
        panel.set_title(f"{query_class}" + (f" (floor {floor.microseconds:.2f})" if floor else ""), fontsize=10)
        panel.set_yticks(range(len(shown)), shown)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_xlim(left=0)
    panels.flat[0].invert_yaxis()
    for panel in panels.flat[len(classes):]:
        panel.set_visible(False)
    picture.suptitle(title, fontsize=11)
    picture.supxlabel("CPU µs per query; dashed: a C program that echoes the same packets", fontsize=9)
    picture.savefig(path, dpi=120)
    pyplot.close(picture)
