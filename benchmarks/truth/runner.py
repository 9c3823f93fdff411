"""The campaign's command line: runs cases, keeps what came of them, prints the table."""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from truth.generate import METHODS, case
from truth.judge import Verdict, judge
from truth.report import table
from truth.shrink import shrink, written

# Failures of one property that are made small: the others have the same cause more often than not.
SHRUNK = 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 1 where a case fails."""
    parser = argparse.ArgumentParser(description="Hold random models on random data to properties.")
    parser.add_argument(
        "--cases",
        nargs="+",
        default=["gaussian=2000", "laplace=200", "mcem=40", "quadrature=40"],
        metavar="METHOD=NUMBER",
    )
    parser.add_argument("--case", metavar="METHOD:SEED:INDEX", help="one case again, in words")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--minutes", type=float, help="stop after so long, and go on at the next call"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("campaign.jsonl"), help="a line for each case"
    )
    parser.add_argument("--report", type=Path, help="the table, in Markdown; printed as well")
    parser.add_argument(
        "--shrink", type=float, default=15.0, help="seconds to make a failing case small"
    )
    options = parser.parse_args(arguments)
    if options.case is not None:
        return _again(options.case, options.shrink)
    wanted = [name for text in options.cases for name in _names(text, options.seed)]
    records = _read(options.out)
    todo = [name for name in wanted if name not in records]
    shrunk: dict[str, int] = {}
    end = math.inf if options.minutes is None else time.monotonic() + 60.0 * options.minutes
    with options.out.open("a", encoding="utf-8") as file:
        for verdict in _verdicts(todo, options.workers):
            record = _record(verdict)
            records[verdict.name] = record
            file.write(json.dumps(record) + "\n")
            file.flush()
            for finding in verdict.failures:
                print(f"{verdict.name}: {finding.name}: {finding.words}", flush=True)
                shrunk[finding.name] = shrunk.get(finding.name, 0) + 1
                if shrunk[finding.name] <= SHRUNK and options.shrink > 0:
                    _show(verdict.name, finding.name, options.shrink)
            if time.monotonic() > end:
                break
    kept = [records[name] for name in wanted if name in records]
    text = table(kept)
    if options.report is not None:
        options.report.write_text(text + "\n", encoding="utf-8")
    print(text)
    return int(any(record["failures"] for record in kept))


def _names(text: str, seed: int) -> Iterator[str]:
    method, _, number = text.partition("=")
    if method not in METHODS or not number.isdigit():
        raise SystemExit(
            f"--cases {text}: write METHOD=NUMBER, a method being one of {', '.join(METHODS)}"
        )
    return (f"{method}:{seed}:{index}" for index in range(int(number)))


def _judged(name: str) -> Verdict:
    method, seed, index = name.split(":")
    return judge(case(method, int(seed), int(index)))


def _verdicts(names: list[str], workers: int) -> Iterator[Verdict]:
    if workers == 1:
        yield from map(_judged, names)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(_judged, names, chunksize=4)


def _record(verdict: Verdict) -> dict[str, Any]:
    return {
        "case": verdict.name,
        "outcome": verdict.outcome,
        "words": verdict.words,
        "seconds": round(verdict.seconds, 4),
        # JSON has neither infinity nor nan.
        "findings": [
            (found.name, float(f"{found.size:.3g}") if math.isfinite(found.size) else None)
            for found in verdict.findings
        ],
        "failures": [(found.name, found.words) for found in verdict.failures],
    }


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    records = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:  # a run was killed in the middle of a line
            continue
        records[record["case"]] = record
    return records


def _show(name: str, property_name: str, seconds: float) -> None:
    method, seed, index = name.split(":")
    small = shrink(case(method, int(seed), int(index)), property_name, seconds)
    print(f"again: {Path(sys.executable).name} benchmarks/campaign.py --case {name}")
    print(written(small), flush=True)
    for finding in judge(small, property_name).failures:
        print(f"# {finding.name}: {finding.words}", flush=True)


def _again(name: str, seconds: float) -> int:
    method, seed, index = name.split(":")
    made = case(method, int(seed), int(index))
    verdict = judge(made)
    print(f"{made.call}\n{len(made.data)} rows; {made.truth}; {verdict.outcome} {verdict.words}")
    for finding in verdict.findings:
        sign = "FAILS" if finding.fails else "holds"
        print(
            f"{sign}  {finding.name}  {finding.size:.3g}  {finding.words if finding.fails else ''}"
        )
    for failing in dict.fromkeys(finding.name for finding in verdict.failures):
        _show(name, failing, seconds)
    return int(bool(verdict.failures))
