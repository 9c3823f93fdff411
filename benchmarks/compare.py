"""Fit the same models with this library and every installed peer, in turn, and write benchmarks/RESULTS.md.

    python benchmarks/compare.py [--peers-python PATH] [--slow] [--budget MINUTES] [--only CASE ...]

Python peers (glmm, gpboost, mixedlm) are looked for with the interpreter of --peers-python, by default that of
the environment variable PEERS_PYTHON, or this one; R's (lme4, glmmTMB, ordinal) through Rscript. A peer that is
not installed, is slow and was not asked for, or did not fit into the budget is listed without numbers.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from comparison import report
from comparison.cases import Case, Entrant, all_cases
from comparison.report import Measured, Row
from comparison.runner import Failed, Result, Runner


def measure(runner: Runner, case: Case, rounds: int, slow: bool, deadline: float) -> Measured:
    """Run a case's entrants in turn, `rounds` times; slow ones once."""
    results: dict[Entrant, list[Result]] = {entrant: [] for entrant in case.entrants}
    reasons: dict[Entrant, str] = {}
    for number in range(rounds):
        for entrant in case.entrants:
            if entrant in reasons or (entrant.slow and number):
                continue
            if entrant.slow and not slow:
                reasons[entrant] = "not run: slow (--slow)"
                continue
            if time.monotonic() > deadline:
                reasons.setdefault(entrant, "not run: out of time (--budget)")
                continue
            found = runner.run(case, entrant)
            if isinstance(found, Failed):
                reasons[entrant] = f"no result: {found.reason}"
                print(f"  {entrant.tool:<12} {found.reason}", flush=True)
                continue
            results[entrant] += found
            seconds = ", ".join(f"{result.seconds:.4g}" for result in found)
            print(f"  {entrant.tool:<12} {seconds} s", flush=True)
    rows = [Row(e, results[e], reasons.get(e, "not run")) for e in case.entrants]
    return Measured(case, rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", default=os.environ.get("PEERS_PYTHON", sys.executable))
    parser.add_argument(
        "--rounds", type=int, default=3, help="processes of each tool (%(default)s)"
    )
    parser.add_argument(
        "--repetitions", type=int, default=3, help="timed fits of each warm process (%(default)s)"
    )
    parser.add_argument("--slow", action="store_true", help="run what takes minutes, too")
    parser.add_argument("--budget", type=float, default=60.0, help="minutes in all (%(default)s)")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds of one process")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="these cases alone")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "RESULTS.md")
    options = parser.parse_args()
    cases = all_cases()
    if options.list:
        print("\n".join(f"{case.name:<20} {case.title}; {case.mode}" for case in cases))
        return 0
    unknown = set(options.only or ()) - {case.name for case in cases}
    if unknown:
        parser.error(f"no such case: {', '.join(sorted(unknown))}; see --list")
    with tempfile.TemporaryDirectory(prefix="lmeformula-bench-") as folder:
        runner = Runner(Path(folder), options.peers_python, options.repetitions, options.timeout)
        compare(runner, cases, options)
    print(f"written: {options.output}")
    return 0


def compare(runner: Runner, cases: Sequence[Case], options: argparse.Namespace) -> None:
    """Measure the cases that were asked for; the report is written anew after each."""
    deadline = time.monotonic() + 60.0 * options.budget
    load = os.getloadavg()[0]
    measured = []
    for case in cases:
        if options.only and case.name not in options.only:
            continue
        print(f"{case.title} ({case.mode})", flush=True)
        measured.append(measure(runner, case, options.rounds, options.slow, deadline))
        report.write(measured, options.output, (load, os.getloadavg()[0]))


if __name__ == "__main__":
    sys.exit(main())
