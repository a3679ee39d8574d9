"""Results as JSON, as Markdown and as HTML, both with the same pictures beside them.

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

from comparison import ages, caches, fetchers, summary, verdicts
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
    (Program("wrk", "wrk", "wrk"), "-v"), *dict.fromkeys((make.program, make.option) for make in caches.MAKES[1:]),
    *((program, "--version") for program in (fetchers.CURL, fetchers.WGET, fetchers.NODE, fetchers.CHROMIUM)),
    (fetchers.GO, "version"), (fetchers.JAVA, "-version"))


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
        "packaged": {program.name: month for program, _ in VERSIONS
                     if (path := program.path()) and (month := ages.packaged(path))},
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
    said = done.stdout + done.stderr
    # Three numbers if there are: Envoy also prints its path, with Python's two in it.
    found = re.search(r"\d+\.\d+\.\d+", said) or re.search(r"\d+\.\d+", said)
    return found[0] if found else "unknown"


def write(directory: Path, setting: dict[str, Any], done: Sequence[Done]) -> None:
    """comparison.json, README.md with its pictures, comparison.html."""
    directory.mkdir(parents=True, exist_ok=True)
    for stale in directory.glob("*.svg"):
        stale.unlink()
    for one in done:
        for at, plot in enumerate(one.result.plots if one.result else ()):
            (directory / picture_name(one.experiment.name, at)).write_text(draw(plot))
    content = {"setting": setting, "experiments": {one.experiment.name: as_json(one) for one in done}}
    (directory / "comparison.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    (directory / "README.md").write_text("\n".join(markdown(setting, done)) + "\n")
    (directory / "comparison.html").write_text("\n".join(page(setting, done)) + "\n")


def picture_name(name: str, at: int) -> str:
    return f"{name}{f'-{at + 1}' if at else ''}.svg"


def as_json(one: Done) -> dict[str, Any]:
    if one.result is None:
        return {"number": one.experiment.number, "left_out": one.skipped}
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
    yield "## In short\n"
    yield from markdown_table(summary.table(results(done)))
    yield from markdown_table(verdicts.choice(results(done)))
    yield "## How it was made\n"
    yield from (f"{line}  " for line in circumstances(setting))
    yield "\n`scripts/README.md` explains method and limits; `comparison.json` has all measurements.\n"
    yield "## Side by side\n"
    for table in verdicts.matrix(results(done)):
        yield from markdown_table(table)
    for one in done:
        yield f"## {heading(one)}\n"
        if one.result is None:
            yield f"Left out: {one.skipped}.\n"
            continue
        yield f"```\n{one.experiment.setup.strip(chr(10))}\n```\n"
        for table in one.result.tables:
            yield from markdown_table(table)
        for at, plot in enumerate(one.result.plots):
            yield f"![{plot.title}]({picture_name(one.experiment.name, at)})\n"
        yield f"{one.result.reading}\n"
        yield f"**What it does not show.** {one.experiment.limits}\n"
        yield from (f"- {note}" for note in one.result.notes)
        yield f"\nAgain: `{again(one)}`\n"


def again(one: Done) -> str:
    return f"scripts/compare --only {one.experiment.name}"


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
    packaged = setting["packaged"]
    yield ", ".join(f"{name} {number}{f' ({packaged[name]})' if name in packaged else ''}"
                    for name, number in setting["versions"].items()) + \
        "; in parentheses, when Debian first packaged that version"


def results(done: Sequence[Done]) -> dict[str, Result]:
    return {one.experiment.name: one.result for one in done if one.result}


# HTML.

STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --faint: #5f5f5f; --line: #ddd; --box: #f5f5f5 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #16181b; --faint: #a8a8a8; --line: #3a3d42; --box: #212429 }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
body { color: var(--ink); background: var(--paper); overflow-wrap: break-word }
a { color: inherit }
table { border-collapse: collapse; margin: 1rem 0; font-size: .9rem; display: block; overflow-x: auto }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
th:first-child, td:first-child { padding-left: 0 }
table.numeric td + td, table.numeric th + th { text-align: right; font-variant-numeric: tabular-nums }
table.numeric td { white-space: nowrap }
pre { background: var(--box); padding: .8rem; overflow-x: auto; line-height: 1.25 }
figure { margin: 1rem 0 }
/* Plots are black on white in any mode. */
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px }
.note, .circumstances { color: var(--faint); font-size: .9rem }
@media (max-width: 30rem) { body { margin: 1rem auto; font-size: 15px } th, td { padding: .2rem .4rem } }
"""


def page(setting: dict[str, Any], done: Sequence[Done]) -> Iterator[str]:
    yield "<!doctype html><html lang=en><meta charset=utf-8>"
    yield "<meta name=viewport content='width=device-width, initial-scale=1'>"
    yield f"<title>{TITLE}</title><style>{STYLE}</style><h1>{TITLE}</h1>"
    yield "<nav aria-label=Contents><ul><li><a href=#short>In short</a><li><a href=#matrix>Side by side</a>"
    yield from (f"<li><a href=#{one.experiment.name}>{html.escape(heading(one))}</a>" for one in done)
    yield "</ul></nav><h2 id=short>In short</h2>"
    yield html_table(summary.table(results(done)))
    yield html_table(verdicts.choice(results(done)))
    yield f"<p class=circumstances>{'<br>'.join(html.escape(line.replace('`', '')) for line in circumstances(setting))}"
    yield "<h2 id=matrix>Side by side</h2>"
    yield from map(html_table, verdicts.matrix(results(done)))
    for one in done:
        yield f"<h2 id={one.experiment.name}>{html.escape(heading(one))}</h2>"
        if one.result is None:
            yield f"<p>Left out: {html.escape(one.skipped)}."
            continue
        yield f"<pre>{html.escape(one.experiment.setup.strip(chr(10)))}</pre>"
        yield from map(html_table, one.result.tables)
        for at, plot in enumerate(one.result.plots):
            picture, title = picture_name(one.experiment.name, at), html.escape(plot.title, quote=True)
            yield f"<figure><img src='{picture}' alt='{title}'></figure>"
        yield f"<p>{html.escape(one.result.reading)}"
        yield f"<p><strong>What it does not show.</strong> {html.escape(one.experiment.limits)}"
        yield from (f"<p class=note>{html.escape(note)}" for note in one.result.notes)
        yield f"<p class=note>Again: <code>{again(one)}</code>"


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
