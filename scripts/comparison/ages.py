"""How old a program is: when Debian first packaged its version, by the package's own changelog."""

from __future__ import annotations

import gzip
import re
import subprocess
from email.utils import parsedate_to_datetime
from pathlib import Path

ENTRY = re.compile(r"^\S+ \((?:\d+:)?([^)]+)\).*?^ -- .*?>  (.+?)$", re.MULTILINE | re.DOTALL)


def packaged(path: str) -> str:
    """Year and month, as in "2023-04"; empty for what is no package of Debian's, or brings no changelog."""
    done = subprocess.run(["dpkg", "-S", str(Path(path).resolve())], capture_output=True, text=True, check=False)
    package = done.stdout.partition(":")[0]
    for name in ("changelog.Debian.gz", "changelog.gz"):
        file = Path("/usr/share/doc") / package / name
        if package and file.exists():
            return first_of_latest(gzip.decompress(file.read_bytes()).decode(errors="replace"))
    return ""


def first_of_latest(changelog: str) -> str:
    """The date of the oldest entry with the upstream version of the newest; security fixes of it came later."""
    month, latest = "", ""
    for version, date in ENTRY.findall(changelog):
        upstream = version.rpartition("-")[0] or version
        latest = latest or upstream
        if upstream != latest:
            break
        month = parsedate_to_datetime(date).strftime("%Y-%m")
    return month
