"""The status page at ``/``: a few files, the same for everybody.

All that changes, the page asks the API for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class File:
    content_type: str
    body: bytes


_SCRIPTS = ("page.js", "orders.js", "graphs.js", "elements.js")

# Nothing but what comes from here, and no page around it: whatever text a backend sends, it stays text.
HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    ),
    ("X-Frame-Options", "DENY"),  # for browsers that do not know frame-ancestors
    ("Referrer-Policy", "no-referrer"),
)


def _read(name: str, content_type: str) -> File:
    return File(content_type, Path(__file__).with_name(name).read_bytes())


# Read at once: later, with privileges dropped, we may not be allowed to.
FILES = {
    "/": _read("page.html", "text/html; charset=utf-8"),
    **{f"/{name}": _read(name, "text/javascript; charset=utf-8") for name in _SCRIPTS},
    "/page.css": _read("page.css", "text/css; charset=utf-8"),
    "/page.svg": _read("page.svg", "image/svg+xml"),
}
