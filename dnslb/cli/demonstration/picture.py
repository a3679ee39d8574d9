"""What a moment of the demonstration looks like: a value in, lines of text out.

Pure: no terminal, no clock, no processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

LEAST_WIDTH, LEAST_HEIGHT = 40, 10
KEYS = "1 2 3 kill or revive   d drain   c cache   q quit"


class Tone(Enum):
    """How a word is said; the number is the terminal's (ECMA-48 SGR)."""

    PLAIN = 0
    STRONG = 1
    FAINT = 2
    BAD = 31
    GOOD = 32
    MILD = 33


Line = Sequence[tuple[str, Tone]]


@dataclass(frozen=True, slots=True)
class Backend:
    """One web server, as the visitors and dnslb see it."""

    key: str
    address: str
    alive: bool         # its process
    verdict: str        # of dnslb: up, down, or the order that it is under
    reason: str         # of the last probe
    visits: int         # in the last seconds
    failed: int         # of these


@dataclass(frozen=True, slots=True)
class Moment:
    """All that is shown."""

    question: str                   # the command that asks the same
    answer: Sequence[str]           # addresses, the leader first
    ttl: int
    why: str
    caching: float | None           # seconds that the visitors' cached answer still lasts; None: they ask each time
    backends: Sequence[Backend]
    window: float                   # seconds that visits are counted over
    visits: int                     # since the beginning
    failed: int
    events: Sequence[tuple[str, str]]   # clock and text, oldest first
    prompt: str


def draw(moment: Moment, width: int, height: int) -> list[Line]:
    """``height`` lines of at most ``width`` columns; what is too long is cut, old events go first."""
    if width < LEAST_WIDTH or height < LEAST_HEIGHT:
        wish = cut([(f"at least {LEAST_WIDTH}x{LEAST_HEIGHT}, please; q quits", Tone.PLAIN)], width)
        return [wish, *([] for _ in range(height - 1))]
    above = [*_head(moment), [], *_bars(moment, width), [], *_sums(moment), []]
    room = max(0, height - len(above) - 2)
    events = [[(f"{clock}  ", Tone.FAINT), (text, Tone.PLAIN)] for clock, text in moment.events[-room:]] if room else []
    blank: list[Line] = [[] for _ in range(room - len(events) + 1)]
    lines: list[Line] = [*above, *events, *blank, [(moment.prompt, Tone.STRONG)]]
    return [cut(line, width) for line in lines[:height - 1] + lines[-1:]]


def _head(moment: Moment) -> list[Line]:
    asking = "each asks dnslb" if moment.caching is None else f"one cached answer, for {moment.caching:.0f} s more"
    return [
        [("dnslb", Tone.STRONG), ("  balances without a proxy. Visitors: ", Tone.PLAIN), (asking, Tone.STRONG)],
        [],
        [("$ " + moment.question, Tone.FAINT)],
        [("  " + "  ".join(moment.answer), Tone.STRONG)],
        [("  TTL ", Tone.PLAIN), (f"{moment.ttl} s", Tone.STRONG), (f"  {moment.why}", Tone.FAINT)],
    ]


def _bars(moment: Moment, width: int) -> list[Line]:
    """Each server's share of the visits, and what dnslb thinks of it."""
    total = sum(backend.visits for backend in moment.backends) or 1
    length = max(8, width - 50)
    return [_bar(backend, backend.visits / total, length) for backend in moment.backends]


def _bar(backend: Backend, share: float, length: int) -> Line:
    full = round(share * length)
    bad = min(full, round(full * backend.failed / backend.visits)) if backend.visits else 0
    if backend.failed:
        bad, full = max(1, bad), max(1, full)
    tone = {"up": Tone.GOOD, "down": Tone.BAD}.get(backend.verdict, Tone.MILD)
    # A dead process that still counts as up: what the visitors suffer from.
    state = backend.verdict if backend.alive else f"{backend.verdict}, dead"
    return [
        (f"{backend.key} ", Tone.STRONG),
        (f"{backend.address:<11}", Tone.PLAIN),
        (f"{state:<11}", tone),
        ("█" * (full - bad), Tone.GOOD),
        ("▒" * bad, Tone.BAD),
        (" " * (length - full), Tone.PLAIN),
        (f"{share:5.0%} ", Tone.PLAIN),
        (backend.reason, Tone.FAINT),
    ]


def _sums(moment: Moment) -> list[Line]:
    recent = sum(backend.visits for backend in moment.backends)
    lost = sum(backend.failed for backend in moment.backends)
    return [
        [(f"last {moment.window:.0f} s: {recent} visits, ", Tone.PLAIN),
         (f"{lost} failed", Tone.BAD if lost else Tone.GOOD),
         (f"    in all: {moment.visits} visits, {moment.failed} failed", Tone.FAINT)],
    ]


def cut(line: Line, width: int) -> Line:
    """The first ``width`` columns."""
    kept, room = [], width
    for text, tone in line:
        if room <= 0:
            break
        kept.append((text[:room], tone))
        room -= len(text)
    return kept


def colored(line: Line) -> str:
    """For a terminal."""
    return "".join(text if tone is Tone.PLAIN else f"\x1b[{tone.value}m{text}\x1b[0m" for text, tone in line)


def plain(line: Line) -> str:
    return "".join(text for text, _ in line).rstrip()
