"""Results as JSON, as Markdown with pictures beside it, and as one HTML file that needs nothing else.

It measures nothing.
"""

from __future__ import annotations

import html
import io
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from comparison import verdicts
from comparison.envoy import ENVOY
from comparison.experiment import Experiment, Plot, Result, Table
from comparison.haproxy import HAPROXY
from comparison.nginx import NGINX
from comparison.processes import ROOT, Program
from comparison.redis import REDIS
from comparison.unbound import UNBOUND
from dnslb import __version__

TITLE = "DNS balancing beside L7 balancers"
VERSIONS: tuple[tuple[Program, str], ...] = (
    (HAPROXY, "-v"), (ENVOY, "--version"), (NGINX, "-v"), (UNBOUND, "-V"), (REDIS, "--version"),
    (Program("wrk", "wrk", "wrk"), "-v"))


@dataclass(frozen=True, slots=True)
class Done:
    """An experiment, and what became of it."""

    experiment: Experiment
    result: Result | None       # None: it was skipped
    skipped: str = ""           # why
    seconds: float = 0.0
    repeats: int = 1            # as the experiment made them
    lags: Sequence[float] = ()  # seconds, 99th percentile: the generator's, run by run


def setting(command: Sequence[str], seed: int, repeats: int, quick: bool) -> dict[str, Any]:
    """Under which circumstances the numbers came about."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": " ".join(command),
        "commit": git_commit(),
        "seed": seed, "repeats": repeats, "quick": quick,
        "machine": f"{found[1] if found else platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": {"dnslb": __version__, "Python": platform.python_version()} | {
            program.name: version(program, option) for program, option in VERSIONS},
    }


def git_commit() -> str:
    done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
                          capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def version(program: Program, option: str) -> str:
    path = program.path()
    if path is None:
        return "missing"
    done = subprocess.run([path, option], capture_output=True, text=True, check=False, timeout=20)
    # Three numbers: Envoy also prints its path, with Python's two in it.
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def write(directory: Path, setting: dict[str, Any], done: Sequence[Done]) -> None:
    """comparison.json, README.md with its pictures, comparison.html."""
    directory.mkdir(parents=True, exist_ok=True)
    pictures = {(one.experiment.name, at): draw(plot) for one in done if one.result
                for at, plot in enumerate(one.result.plots)}
    for (name, at), svg in pictures.items():
        (directory / picture_name(name, at)).write_text(svg)
    content = {"setting": setting, "experiments": {one.experiment.name: as_json(one) for one in done}}
    (directory / "comparison.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    (directory / "README.md").write_text("\n".join(markdown(setting, done)) + "\n")
    (directory / "comparison.html").write_text("\n".join(page(setting, done, pictures)) + "\n")


def picture_name(name: str, at: int) -> str:
    return f"{name}{f'-{at + 1}' if at else ''}.svg"


def as_json(one: Done) -> dict[str, Any]:
    if one.result is None:
        return {"number": one.experiment.number, "skipped": one.skipped}
    result = one.result
    return {"number": one.experiment.number, "question": one.experiment.question, "seconds": round(one.seconds, 1),
            "lag_ms": [round(1000 * lag, 2) for lag in one.lags],
            "measurements": result.measurements, "tables": [asdict(table) for table in result.tables],
            "reading": result.reading, "notes": list(result.notes)}


def draw(plot: Plot) -> str:
    import matplotlib as mpl  # noqa: PLC0415 (slow to import, and drawing comes last)

    mpl.use("Agg")
    # Text stays text: a tenth of the size, and it can be searched.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "dnslb", "axes.spines.top": False,
                         "axes.spines.right": False, "font.size": 10, "legend.frameon": False,
                         "font.family": "sans-serif", "axes.grid": True, "grid.color": "#e4e4e4",
                         "axes.axisbelow": True})
    from matplotlib.figure import Figure  # noqa: PLC0415 (after the settings)

    figure = Figure(figsize=plot.size, layout="constrained")
    plot.draw(figure)
    figure.suptitle(plot.title, fontsize=11)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    # A tenth of a pixel is enough.
    return re.sub(r"(\d+\.\d)\d+", r"\1", svg[svg.index("<svg"):])


def heading(one: Done) -> str:
    return f"{one.experiment.number}. {one.experiment.question}"


# Markdown.


def markdown(setting: dict[str, Any], done: Sequence[Done]) -> Iterator[str]:
    yield f"# {TITLE}\n"
    yield from (f"{line}  " for line in circumstances(setting))
    yield "\n`scripts/README.md` explains method and limits; `comparison.json` has all measurements.\n"
    for one in done:
        yield f"## {heading(one)}\n"
        if one.result is None:
            yield f"Skipped: {one.skipped}.\n"
            continue
        yield f"```\n{one.experiment.setup.strip(chr(10))}\n```\n"
        for table in one.result.tables:
            yield from markdown_table(table)
        for at, plot in enumerate(one.result.plots):
            yield f"![{plot.title}]({picture_name(one.experiment.name, at)})\n"
        yield f"{one.result.reading}\n"
        yield from (f"- {note}" for note in one.result.notes)
        yield ""
    yield "## Which to use\n"
    for table in verdicts.tables(results(done)):
        yield from markdown_table(table)


def markdown_table(table: Table) -> Iterator[str]:
    if table.title:
        yield f"{table.title}:\n"
    yield "| " + " | ".join(table.header) + " |"
    yield "| --- |" + " ---: |" * (len(table.header) - 1) if table.is_numeric else "| --- " * len(table.header) + "|"
    yield from ("| " + " | ".join(row) + " |" for row in table.rows)
    yield ""


def circumstances(setting: dict[str, Any]) -> Iterator[str]:
    yield f"`{setting['command']}`, seed {setting['seed']}, {setting['repeats']} repeats, {setting['date']}"
    yield (f"{setting['machine']}, Linux {setting['kernel']}, load {setting['load_before']} before; "
           f"commit {setting['commit']}")
    yield ", ".join(f"{name} {number}" for name, number in setting["versions"].items())


def results(done: Sequence[Done]) -> dict[str, Result]:
    return {one.experiment.name: one.result for one in done if one.result}


# HTML.

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
body { color: #222; background: #fff }
table { border-collapse: collapse; margin: 1rem 0; font-size: .9rem; display: block; overflow-x: auto }
th, td { padding: .2rem .7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
table.numeric td + td, table.numeric th + th { text-align: right; font-variant-numeric: tabular-nums }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; line-height: 1.25 }
svg { max-width: 100%; height: auto }
.note, .circumstances { color: #666; font-size: .9rem }
"""


def page(setting: dict[str, Any], done: Sequence[Done], pictures: dict[tuple[str, int], str]) -> Iterator[str]:
    yield "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    yield f"<title>{TITLE}</title><style>{STYLE}</style><h1>{TITLE}</h1>"
    yield f"<p class=circumstances>{'<br>'.join(html.escape(line) for line in circumstances(setting))}"
    for one in done:
        yield f"<h2 id={one.experiment.name}>{html.escape(heading(one))}</h2>"
        if one.result is None:
            yield f"<p>Skipped: {html.escape(one.skipped)}."
            continue
        yield f"<pre>{html.escape(one.experiment.setup.strip(chr(10)))}</pre>"
        yield from map(html_table, one.result.tables)
        for at, plot in enumerate(one.result.plots):
            svg = unique_ids(pictures[one.experiment.name, at], f"{one.experiment.name}{at}")
            yield f"<figure role=img aria-label='{html.escape(plot.title, quote=True)}'>{svg}</figure>"
        yield f"<p>{html.escape(one.result.reading)}"
        yield from (f"<p class=note>{html.escape(note)}" for note in one.result.notes)
    yield "<h2 id=verdicts>Which to use</h2>"
    yield from map(html_table, verdicts.tables(results(done)))


def unique_ids(svg: str, prefix: str) -> str:
    """Ids are one space in an HTML page; each picture's own must not meet another's."""
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", svg)


def html_table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}" for cell in table.header)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in row) for row in table.rows)
    title = f"<p>{html.escape(table.title)}:" if table.title else ""
    return f"{title}<table{' class=numeric' if table.is_numeric else ''}><tr>{head}{rows}</table>"


def text_table(table: Table) -> str:
    """For the terminal."""
    lines = [table.header, *table.rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(table.header))]
    pad = str.rjust if table.is_numeric else str.ljust
    return "\n".join([f"  {table.title}:" if table.title else "", *(
        ("  " + "  ".join([line[0].ljust(widths[0]), *map(pad, line[1:], widths[1:])])).rstrip() for line in lines)])
