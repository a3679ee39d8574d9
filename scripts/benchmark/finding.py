"""A figure beside its bar: what the tables of --abuse, --outage and --hang are made of.  It measures nothing."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HEAD = ("", "server", "figure", "bar", "")


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    server: str
    value: float                # in ``unit``; infinite: it never came to that
    unit: str                   # %, s, ms, or a noun in the plural
    most: float | None = None   # the bar; None: the figure is there to compare with
    note: str = ""

    @property
    def is_kept(self) -> bool:
        return self.most is None or self.value <= self.most


def shown(value: float, unit: str) -> str:
    if math.isinf(value):
        return "never"
    digits = {"%": 2, "s": 2, "ms": 1, "µs": 1}.get(unit, 0)
    return f"{value:,.{digits}f} {unit}"


def line(finding: Finding) -> tuple[str, ...]:
    bar = "" if finding.most is None else f"≤ {shown(finding.most, finding.unit)}"
    verdict = finding.note if finding.is_kept else f"MISSED{f'; {finding.note}' if finding.note else ''}"
    return finding.what, finding.server, shown(finding.value, finding.unit), bar, verdict


def table(title: str, findings: Sequence[Finding]) -> str:
    lines = [HEAD, *map(line, findings)]
    widths = [max(len(row[at]) for row in lines) for at in range(len(HEAD))]
    shape = [str.ljust, str.ljust, str.rjust, str.rjust, str.ljust]
    return "\n".join([title, *("  " + "  ".join(
        put(cell, width) for put, cell, width in zip(shape, row, widths, strict=True)).rstrip() for row in lines)])


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The rows as a table for scripts/README.md; the first column is text, the others are figures."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def as_rows(findings: Sequence[Finding]) -> str:
    """One row for each figure, one column for each server."""
    servers = list(dict.fromkeys(found.server for found in findings))
    bars: dict[str, str] = {}
    cells: dict[tuple[str, str], str] = {}
    for found in findings:
        cells[found.what, found.server] = line(found)[2]
        bars[found.what] = line(found)[3] or bars.get(found.what, "")
    return markdown(("", *servers, "bar"), (
        (what, *(cells.get((what, server), "–") for server in servers), bar) for what, bar in bars.items()))


def write(path: Path, machine: str, versions: dict[str, str | None], findings: Sequence[Finding],
          **more: Any) -> None:
    content = {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "machine": machine, "versions": versions,
               "findings": [asdict(found) | {"is_kept": found.is_kept} for found in findings], **more}
    # JSON has no infinity.
    text = json.dumps(content, indent=1, ensure_ascii=False).replace(": Infinity", ": null")
    path.write_text(text + "\n")
    print(f"JSON:  {path}")
