"""What was measured, as markdown."""

from __future__ import annotations

import datetime as dt
import math
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from comparison.cases import Case, Entrant, Truth
from comparison.runner import Result

# Log-likelihoods of one model, by programs that work out the same approximation, differ by less.
LOGLIK_TOLERANCE = 0.02

INTRODUCTION = """# Side by side

Written by `make bench`; see `benchmarks/compare.py` for its options. The tools run in turn on the same data,
and every number is of this run: a tool that did not run has none. Seconds are medians, and but for whole
processes libraries are imported before the clock starts. "Ratio" is a tool's time
over ours: above 1 it is slower. An answer is right where its log-likelihood is within {tolerance} of the
reference fit's and its standard deviations within half a percent; a fast wrong answer is shown as wrong. Where
the machine was busy, processor seconds say more than seconds.
"""

PUBLISHED = """## Published by others, and not measured here

- MixedModels.jl: 25 million ratings of MovieLens by 162,541 users of 59,047 movies, Gaussian, `rating ~ 1 +
  (1 | userId) + (1 | movieId)`, on servers of 48 cores and 128 GiB: up to two hours a fit, 71 s an evaluation
  of the likelihood with movies of at least 50 and users of at least 80 ratings. Bates, Alday, Kliegl, Embrace
  Uncertainty, the chapter on a large-scale observational study.
"""


class Row(NamedTuple):
    """What became of one entrant of a case: its results, or why there are none."""

    entrant: Entrant
    results: Sequence[Result]
    reason: str

    @property
    def seconds(self) -> float:
        """Median of its times."""
        return statistics.median(result.seconds for result in self.results)

    @property
    def cpu(self) -> float:
        """Median of its processor times."""
        return statistics.median(result.cpu for result in self.results)


class Measured(NamedTuple):
    """A case with its rows, this library's first."""

    case: Case
    rows: Sequence[Row]


def verdict(truth: Truth, result: Result) -> str:
    """Say whether an answer is right, and what is wrong with it."""
    wrong = []
    apart = 0.0 if truth.loglik is None else result.loglik - truth.loglik
    if abs(apart) > LOGLIK_TOLERANCE:  # not so for a tool that gives none: nan
        wrong.append(f"log-likelihood off by {apart:+.3g}")
    for name, right in truth.sds.items():
        found = result.sds.get(name)
        if found is None:
            wrong.append(f"no sd of {name}")
        elif abs(found - right) > truth.tolerance * right + 1e-4:
            wrong.append(f"sd({name}) is {found:.4g}, not {right:.4g}")
    return "**wrong**: " + "; ".join(wrong) if wrong else "right"


def best_peer(measured: Measured) -> Row | None:
    """The fastest peer; of those with a right answer, if there are any."""
    peers = [row for row in measured.rows[1:] if row.results]
    right = [r for r in peers if verdict(measured.case.truth, r.results[-1]) == "right"]
    # Where the truth is beyond an approximation, every peer is off, and still what a user would take.
    return min(right or peers, key=lambda row: row.seconds, default=None)


def write(measured: Sequence[Measured], path: Path, loads: tuple[float, float]) -> None:
    """Write the report."""
    lines = [INTRODUCTION.format(tolerance=LOGLIK_TOLERANCE), *machine(loads), ""]
    lines += ["## Ratios to the best peer", "", *summary(measured)]
    for one in measured:
        lines += ["", *table(one)]
    lines += ["", *PUBLISHED.splitlines()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def machine(loads: tuple[float, float]) -> list[str]:
    """The machine, and how busy it was: ratios of a busy one mean little."""
    info = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (info.read_text(encoding="utf-8").splitlines() if info.exists() else ())
        if line.startswith("model name")
    ]
    return [
        f"- {dt.datetime.now(dt.UTC):%Y-%m-%d}, {os.cpu_count()} cores, "
        f"{names[0] if names else platform.processor() or platform.machine()}, {platform.system()}",
        f"- Python {platform.python_version()}",
        f"- load of the machine before and after: {loads[0]:.1f}, {loads[1]:.1f}",
    ]


def summary(measured: Sequence[Measured]) -> list[str]:
    """A line for each case: our time over the best peer's, and what it should be at most."""
    lines = [
        "| case | timed | ours, s | best peer | its s | ours / best | of processor time | at most |",
        "|" + " --- |" * 8,
    ]
    for one in measured:
        case, ours, best = one.case, one.rows[0], best_peer(one)
        goal = "" if case.goal is None else f"{case.goal:.3g}"
        mine = f"{ours.seconds:.4g}" if ours.results else ours.reason
        if best is None or not ours.results:
            lines.append(f"| {case.title} | {case.mode} | {mine} | none ran | | | | {goal} |")
            continue
        lines.append(
            f"| {case.title} | {case.mode} | {mine} | {best.entrant.tool} | {best.seconds:.4g} "
            f"| {ours.seconds / best.seconds:.3g} | {ours.cpu / best.cpu:.3g} | {goal} |"
        )
    return lines


def table(one: Measured) -> list[str]:
    """One case in full."""
    case, ours = one.case, one.rows[0]
    lines = [
        f"## {case.title}",
        "",
        f"`{case.formula}`, {case.kind}; timed: {case.mode}; reference: {case.truth.source}.",
        "",
        "| tool | method | s | least, most | processor s | runs | ratio | log-likelihood | answer |",
        "|" + " --- |" * 9,
    ]
    for row in one.rows:
        if not row.results:
            lines.append(
                f"| {row.entrant.tool} | {row.entrant.method} | {row.reason} | | | | | | |"
            )
            continue
        times = [result.seconds for result in row.results]
        last = row.results[-1]
        ratio = f"{row.seconds / ours.seconds:.3g}" if ours.results else ""
        loglik = "" if math.isnan(last.loglik) else f"{last.loglik:.4f}"
        answer = verdict(case.truth, last)
        if last.largest_error > 0:
            answer += f"; Monte Carlo error at most {last.largest_error:.2g} standard errors"
        lines.append(
            f"| {row.entrant.tool} {last.version} | {row.entrant.method} | {row.seconds:.4g} "
            f"| {min(times):.4g}, {max(times):.4g} | {row.cpu:.4g} | {len(times)} | {ratio} "
            f"| {loglik} | {answer} |"
        )
    return lines
