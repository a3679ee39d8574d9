"""Measure DNS balancing (dnslb) beside L7 balancers (HAProxy, Envoy, nginx), with real parts on this machine.

    scripts/compare                       all experiments, about half an hour on two cores
    scripts/compare --quick               all in short, about two minutes
    scripts/compare --only failover hop
    scripts/compare --list

Ctrl-C stops everything.  Exit status: 0 when all experiments were made, 1 when one was skipped or failed.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
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
    "ttl_load": (90, 15),
    "evenness": (120, 15),
    "failover": (360, 25),
    "hop": (200, 20),
    "unlike": (90, 8),
    "deploys": (150, 10),
    "balancer_death": (90, 10),
    "stubborn": (130, 12),
    "sessions": (90, 8),
    "content": (30, 5),
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
    return Done(experiment, result, seconds=time.monotonic() - began)


def perform_all(options: argparse.Namespace, directory: Path) -> list[Done]:
    done: list[Done] = []
    began = time.monotonic()
    estimates = [EXPERIMENTS[name][options.quick] for name in options.only]
    for at, name in enumerate(options.only):
        experiment = load(name)
        left = clock(sum(estimates[at:]))
        print(f"\n[{at + 1}/{len(options.only)}] {name}: {experiment.question} (about {left} left)", flush=True)
        own = directory / name
        own.mkdir()

        def progress(text: str, since: float = time.monotonic()) -> None:
            print(f"  {clock(time.monotonic() - since)} {text}", flush=True)

        lab = Lab(options.seed, options.quick, options.repeats, own, progress)
        one = perform(experiment, lab)
        if one.result is None:
            print(f"  skipped: {one.skipped}", flush=True)
        else:
            for table in one.result.tables:
                print(report.text_table(table))
            print(f"\n  {one.result.reading}")
            for note in one.result.notes:
                print(f"  note: {note}")
        done.append(one)
    print(f"\n{clock(time.monotonic() - began)} minutes", flush=True)
    return done


def interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str]) -> int:
    options = arguments()
    if options.list:
        print_list()
        return 0
    signal.signal(signal.SIGTERM, interrupt)
    try:
        circumstances = report.setting(["scripts/compare", *argv], options.seed, options.repeats, options.quick)
        with tempfile.TemporaryDirectory(prefix="dnslb-compare-") as directory:
            done = perform_all(options, Path(directory))
        output = options.output or Path(tempfile.mkdtemp(prefix="dnslb-comparison-"))
        report.write(output, circumstances, done)
    except KeyboardInterrupt:
        print("interrupted: everything is stopped, nothing is reported")
        return 130
    print(f"report: {output}/comparison.html, README.md, comparison.json")
    return 0 if all(one.result for one in done) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
