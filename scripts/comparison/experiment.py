"""The frame of every experiment: what it asks, what it needs, and what it gives back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from comparison.processes import Process, Program, spawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_numeric: bool = True                 # all columns but the first are aligned to the right


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture: ``draw`` fills an empty figure."""

    title: str
    draw: Callable[[Figure], None]
    size: tuple[float, float] = (8.0, 4.5)  # inches


@dataclass(frozen=True, slots=True)
class Result:
    """What came out of one experiment."""

    measurements: dict[str, Any]            # all of it, for JSON
    tables: Sequence[Table]
    plots: Sequence[Plot]
    reading: str                            # two sentences, made from the numbers
    notes: Sequence[str] = ()               # what was left out, void runs, where the formula does not hold


@dataclass(frozen=True, slots=True)
class Experiment:
    number: int
    name: str                               # as for --only
    question: str
    setup: str                              # drawn in ASCII
    run: Callable[[Lab], Result]
    limits: str                             # what it does not show
    needs: Sequence[Program] = ()           # without any one of these it is skipped


@dataclass
class Lab:
    """Where one experiment is made: it starts parts, and stops them all in the end, whatever happens."""

    seed: int
    quick: bool
    repeats: int
    directory: Path                         # temporary, for configurations and logs
    progress: Callable[[str], None] = print
    notes: list[str] = field(default_factory=list)  # of conditions left out and of void runs; they join the result's
    lags: list[float] = field(default_factory=list)     # seconds, 99th percentile: the generator's, run by run
    stack: ExitStack = field(default_factory=ExitStack)
    _processes: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)

    @contextmanager
    def part(self) -> Iterator[None]:
        """What is started in this block is stopped at its end."""
        outer, self.stack = self.stack, ExitStack()
        outer_processes, self._processes = self._processes, []
        try:
            with self.stack:
                try:
                    yield
                finally:
                    self._tell_all_to_end()
        finally:
            self.stack, self._processes = outer, outer_processes

    def spawn(self, name: str, *command: object) -> Process:
        """Start a program.  Raises NotStartedError when there is none."""
        process = spawn(name, command, self.directory, self.stack)
        self._processes.append(process)
        return process

    def _tell_all_to_end(self) -> None:
        """The stack will wait for each in turn; they need not begin to end in turn."""
        for process in self._processes:
            process.popen.terminate()
            process.resume()

    def has(self, program: Program) -> bool:
        """Whether the program is there; when not, the result will say what was left out."""
        fact = program.missing()
        if fact and fact not in self.notes:
            self.notes.append(fact)
        return fact is None

    def shuffled(self, conditions: Sequence[T]) -> list[T]:
        """In random order, by the seed."""
        order = list(conditions)
        self.rng.shuffle(order)
        return order

    def full_or_quick(self, full: T, quick: T) -> T:
        return quick if self.quick else full


def sleep_until(moment: float) -> None:
    """Of the monotonic clock; at once when it has passed."""
    time.sleep(max(0.0, moment - time.monotonic()))


