"""Measure DNS balancing (dnslb) beside L7 balancers (HAProxy, Envoy, nginx), with real parts on this machine.

    scripts/compare                       all experiments, a little more than half an hour on two cores
    scripts/compare --quick               all in short, about four minutes
    scripts/compare --only failover hop
    scripts/compare --list

Ctrl-C stops everything, and reports what was done.  Exit status: 0 when all experiments were made, 1 when one was
skipped (its program is missing, or a part did not start), 2 when nothing could begin.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType

from comparison import report
from comparison.experiment import Experiment, Lab
from comparison.processes import NotStartedError
from comparison.report import Done

SEED = 1
REPEATS = 5
# In the order of the report; about how many seconds each takes, in full and in short.
EXPERIMENTS = {
    "ttl_load": (90, 12),
    "evenness": (120, 12),
    "failover": (370, 18),
    "hop": (340, 20),
    "unlike": (95, 7),
    "deploys": (150, 16),
    "balancer_death": (110, 12),
    "stubborn": (130, 18),
    "sessions": (90, 7),
    "content": (30, 7),
    "clients": (240, 12),
    "resolvers": (175, 20),
    "miss": (60, 8),
    "trouble": (70, 16),
    "both": (180, 20),
    "busy": (60, 14),
    "paper": (1, 1),
    "feedback": (105, 25),
    "hidden": (275, 35),
    "joining": (75, 36),
}


def load(name: str) -> Experiment:
    experiment = importlib.import_module(f"comparison.{name}").EXPERIMENT
    if not isinstance(experiment, Experiment):
        raise TypeError(f"comparison.{name}.EXPERIMENT is no Experiment")
    return experiment


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/compare", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(__doc__ or "").strip(), epilog="scripts/README.md explains method and limits.")
    add = parser.add_argument
    add("--only", nargs="+", metavar="NAME", choices=list(EXPERIMENTS), default=list(EXPERIMENTS),
        help=f"of: {' '.join(EXPERIMENTS)}")
    add("--quick", action="store_true", help="shorter, once round: to see that it works, not to quote")
    add("--repeats", type=int, choices=range(1, 21), metavar="N",
        help=f"of what varies from run to run; default: {REPEATS}, with --quick 1")
    add("--seed", type=int, default=SEED, help=f"of all schedules and orders; default: {SEED}")
    add("--output", type=Path, metavar="DIRECTORY", help="for the report; default: a new one under /tmp")
    add("--list", action="store_true", help="print the experiments and what they need")
    options = parser.parse_args()
    options.repeats = options.repeats or (1 if options.quick else REPEATS)
    return options


def print_list() -> None:
    for name in EXPERIMENTS:
        experiment = load(name)
        print(f"{experiment.number:2}  {name:15} {experiment.question}")
        for program in experiment.needs:
            if fact := program.missing():
                print(f"    {fact}")


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def perform(experiment: Experiment, lab: Lab) -> Done:
    """Make one experiment; what cannot be made is skipped with its reason."""
    missing = [fact for program in experiment.needs if (fact := program.missing())]
    if missing:
        return Done(experiment, None, "; ".join(missing))
    began = time.monotonic()
    try:
        with lab.part():
            result = experiment.run(lab)
    except NotStartedError as error:
        return Done(experiment, None, str(error))
    return Done(experiment, result, seconds=time.monotonic() - began, lags=tuple(lab.lags))


def perform_all(options: argparse.Namespace, directory: Path) -> Iterator[Done]:
    estimates = [EXPERIMENTS[name][options.quick] for name in options.only]
    for at, name in enumerate(options.only):
        experiment = load(name)
        left = clock(sum(estimates[at:]))
        print(f"\n[{at + 1}/{len(options.only)}] {name}: {experiment.question} (about {left} left)", flush=True)
        own = directory / name
        own.mkdir()
        lab = Lab(options.seed, options.quick, options.repeats, own, partial(progress, time.monotonic()))
        yield perform(experiment, lab)


def progress(since: float, text: str) -> None:
    print(f"  {clock(time.monotonic() - since)} {text}", flush=True)


def show(done: Done) -> None:
    """For whoever waits for the rest."""
    if done.result is None:
        print(f"  skipped: {done.skipped}", flush=True)
        return
    for table in done.result.tables:
        print(report.text_table(table))
    print(f"\n  {done.result.reading}")
    for note in done.result.notes:
        print(f"  note: {note}")


def interrupt(signum: int, frame: FrameType | None) -> None:
    # Whoever presses Ctrl-C twice must not stop the stopping.
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt


def check_output(wanted: Path | None) -> None:
    """Whether a report can be written, before half an hour is spent.  Raises NotStartedError."""
    if importlib.util.find_spec("matplotlib") is None:
        raise NotStartedError("matplotlib is missing: pip install matplotlib")
    try:
        if wanted:
            wanted.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotStartedError(f"--output {wanted}: {(error.strerror or str(error)).lower()}") from None


def main(argv: Sequence[str]) -> int:
    options = arguments()
    if options.list:
        print_list()
        return 0
    try:
        check_output(options.output)
    except NotStartedError as error:
        print(error)
        return 2
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, interrupt)
    began, done, status = time.monotonic(), [], 0
    circumstances = report.setting(["scripts/compare", *argv], options.seed, options.repeats, options.quick)
    try:
        with tempfile.TemporaryDirectory(prefix="dnslb-compare-") as directory:
            for one in perform_all(options, Path(directory)):
                show(one)
                done.append(one)
    except KeyboardInterrupt:
        print("interrupted: everything is stopped")
        status = 130
    if not done:
        return status
    output = options.output or Path(tempfile.mkdtemp(prefix="dnslb-comparison-"))
    report.write(output, circumstances, done)
    print(f"\n{clock(time.monotonic() - began)} minutes\nreport: {output}/comparison.html, README.md, comparison.json")
    return status or (0 if all(one.result for one in done) else 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
