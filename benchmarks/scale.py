"""Time and peak memory of fits with more and more rows, and the exponent of their growth.

`scale_data.py` says what the data are. Each size runs in a process of its own, so that its peak memory is its
own, and its estimates are held to what the data were drawn of, in standard errors. Seconds are of a processor:
other programs that run at the same time add little to them.

    python benchmarks/scale.py --runs benchmarks/scale_runs.json --write benchmarks/SCALE.md
    python benchmarks/scale.py --rows 1e5 1e6 --kinds crossed nested --families gaussian --methods exact
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from scale_data import Truth, in_memory, in_parquet

SIGMA = 1.0
# Sizes of up to so many rows are run three times, and the median is shown.
OFTEN = 1_000_000
BY_HAND = "## By hand"


class Case(NamedTuple):
    """Fits of one kind of data by one method, of several numbers of rows."""

    kind: str
    family: str
    method: str
    sizes: tuple[float, ...]
    from_file: bool = False


CASES = (
    Case("crossed", "gaussian", "exact", (1e5, 1e6, 1e7)),
    Case("heavy tails", "gaussian", "exact", (1e6, 25e6)),
    Case("heavy tails", "gaussian", "exact", (1e8,), from_file=True),
    Case("nested", "gaussian", "exact", (1e6,)),
    Case("many levels", "gaussian", "exact", (1e7,)),
    Case("slopes", "gaussian", "exact", (1e6,)),
    Case("crossed", "bernoulli", "laplace", (1e5, 1e6)),
    Case("heavy tails", "bernoulli", "laplace", (1e6, 3e6, 25e6)),
    Case("crossed", "poisson", "laplace", (1e5, 1e6)),
    Case("crossed", "bernoulli", "mcem", (1e5, 1e6)),
)


def run_one(truth: Truth, method: str, file: str = "") -> dict[str, Any]:
    """Fit one size in this process, of rows in memory or in a file."""
    data: Any = file or in_memory(truth)
    import lmeformula as lf

    base, started, cpu = peak_gib(), time.perf_counter(), time.process_time()
    design = lf.design(truth.formula, data)
    designed, cpu_designed = time.perf_counter(), time.process_time()
    fit = lf.estimate(
        lf.compile(design, truth.family), method=method, solver="iterative", progress=False
    )
    done, cpu_done = time.perf_counter(), time.process_time()
    expected = [*truth.fixed, *truth.sds, *([SIGMA] if truth.family == "gaussian" else [])]
    is_known = ~np.array([name.startswith("cor") for name in fit.param_names])
    distance = (fit.param_values[is_known] - expected) / fit.param_stderr[is_known]
    names = np.array(fit.param_names)[is_known].tolist()
    return {
        **truth._asdict(),
        "method": fit.method,
        "solver": fit.solver,
        "from_file": bool(file),
        "levels": [len(term.levels) for term in design.terms],
        "pairs": pairs(design),
        "design_seconds": designed - started,
        "fit_seconds": done - designed,
        "design_cpu_seconds": cpu_designed - cpu,
        "fit_cpu_seconds": cpu_done - cpu_designed,
        "data_gib": base,
        "peak_gib": peak_gib(),
        "outcome": fit.outcome.name,
        "distance": dict(zip(names, distance.round(2).tolist(), strict=True)),
        "mc_error": float(np.nanmax(fit.param_mc_error / fit.param_stderr)),
        "loglik": fit.loglik.value,
        "loglik_mc_error": fit.loglik.mc_error,
    }


def pairs(design: Any) -> int:
    """How many pairs of levels of the two factors meet in some row; of very many rows an estimate."""
    first, second = (np.asarray(term.index, np.int64) for term in design.terms[:2])
    whole = len(first)
    part = min(whole, 10_000_000)
    met = np.unique(first[:part] * (int(second.max()) + 1) + second[:part]).size
    return int(met * (whole / part))


def peak_gib() -> float:
    """Peak resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def table(runs: list[dict[str, Any]]) -> str:
    """Lay the runs out as a Markdown table, a fitted exponent under each kind, family and method."""
    lines = [
        "| data | family, method, solver | rows | levels | design CPU s | fit CPU s | CPU µs a row "
        "| of crossed | wall s | peak GiB | outcome | largest distance from truth, standard errors "
        "| largest MC error, standard errors | logLik |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        name, far = max(run["distance"].items(), key=lambda item: abs(item[1]))
        where = " from Parquet" if run["from_file"] else ""
        share = _of_crossed(run, runs)
        lines.append(
            f"| {run['kind']}{where} | {run['family']}, {run['method']}, {run['solver']} | {run['rows']:,} | "
            f"{' × '.join(f'{levels:,}' for levels in run['levels'])} | "
            f"{run['design_cpu_seconds']:.1f} | {run['fit_cpu_seconds']:.1f} | {_a_row(run):.1f} | {share} | "
            f"{run['design_seconds'] + run['fit_seconds']:.0f} | {run['peak_gib']:.2f} | "
            f"{run['outcome'].lower()} | {far:+.2f} {name} | {run['mc_error']:.1e} | "
            f"{run['loglik']:.2f} ± {run['loglik_mc_error']:.2f} |"
        )
    for case in dict.fromkeys(_case(run) for run in runs):
        same = [run for run in runs if _case(run) == case]
        if len({run["rows"] for run in same}) > 1:
            cpu = [run["design_cpu_seconds"] + run["fit_cpu_seconds"] for run in same]
            grows = np.polyfit(np.log([run["rows"] for run in same]), np.log(cpu), 1)[0]
            lines += ["", f"{', '.join(case)}: the CPU time grows as rows^{grows:.2f}."]
    return "\n".join(lines)


def _case(run: dict[str, Any]) -> tuple[str, str, str]:
    return run["kind"], run["family"], run["method"]


def _a_row(run: dict[str, Any]) -> float:
    return 1e6 * (run["design_cpu_seconds"] + run["fit_cpu_seconds"]) / run["rows"]


def _of_crossed(run: dict[str, Any], runs: list[dict[str, Any]]) -> str:
    """A row's time over that of a row of crossed data of the nearest size."""
    plain = [r for r in runs if _case(r) == ("crossed", run["family"], run["method"])]
    if not plain:
        return ""
    nearest = min(plain, key=lambda r: abs(np.log(r["rows"] / run["rows"])))
    return f"{_a_row(run) / _a_row(nearest):.1f}"


def machine() -> str:
    """Name the machine and the versions that ran."""
    import scipy

    import lmeformula as lf

    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, SciPy {scipy.__version__}, lmeformula {lf.__version__}."
    )


def run(case: Case, rows: float, seed: int) -> dict[str, Any]:
    """One size, each time in a process of its own; medians of times."""
    truth = Truth(case.kind, int(rows), case.family, seed)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        if case.from_file:
            in_parquet(truth, file)
        command = [sys.executable, __file__, "--one", json.dumps(truth), case.method]
        command += [str(file)] if case.from_file else [""]
        found = []
        for _ in range(3 if rows <= OFTEN else 1):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    times = {
        key: median(each[key] for each in found) for key in found[0] if key.endswith("seconds")
    }
    return {**found[0], **times}


def main() -> None:
    """Run the sizes one after the other and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rows", type=float, nargs="+", help="these sizes alone, of those that there are"
    )
    parser.add_argument("--kinds", nargs="+")
    parser.add_argument("--families", nargs="+")
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--runs", type=Path, help="a JSON file of runs, which is read, and added to"
    )
    parser.add_argument(
        "--no-more", action="store_true", help="the table of the runs that there are"
    )
    parser.add_argument("--write", type=Path, help="write the table to this file too")
    parser.add_argument("--one", nargs=3, help="one size in this process, as JSON")
    options = parser.parse_args()
    if options.one:
        truth, method, file = options.one
        print(json.dumps(run_one(Truth(*json.loads(truth)), method, file)))
        return
    runs = (
        json.loads(options.runs.read_text("utf-8"))
        if options.runs and options.runs.exists()
        else []
    )
    for case in () if options.no_more else CASES:
        wanted = zip(case[:3], (options.kinds, options.families, options.methods), strict=True)
        if any(chosen and name not in chosen for name, chosen in wanted):
            continue
        for rows in case.sizes:
            if options.rows and rows not in options.rows:
                continue
            key = (*case[:3], int(rows))
            if key in {(*_case(each), each["rows"]) for each in runs}:
                continue
            runs.append(run(case, rows, options.seed))
            print(json.dumps(runs[-1]), file=sys.stderr)
            if options.runs:
                options.runs.write_text(json.dumps(runs, indent=1) + "\n", "utf-8")
    order = {key: place for place, key in enumerate(case[:3] for case in CASES)}
    runs.sort(key=lambda each: (order[_case(each)], each["rows"]))
    text = f"{table(runs)}\n\n{machine()}"
    print(text)
    if options.write is not None:
        said = " ".join(__doc__.split("\n\n")[1].split())
        before = options.write.read_text("utf-8") if options.write.exists() else ""
        # What was written by hand stays.
        _, mark, rest = before.partition(BY_HAND)
        options.write.write_text(
            f"# Scale\n\n{said}\n\n{text}\n\n{mark}{rest}".rstrip() + "\n", "utf-8"
        )


if __name__ == "__main__":
    main()
