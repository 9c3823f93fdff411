"""Time and peak memory of fits of crossed designs with more and more rows, and the exponent of their growth.

The design has two crossed factors of n/25 and n/60 levels, sds 0.7 and 0.4, and one covariate. Each size runs
in a process of its own, so that its peak memory is its own.

    python benchmarks/scale.py --write benchmarks/SCALE.md
    python benchmarks/scale.py --rows 1e5 1e6 --families gaussian poisson --methods exact laplace
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

INTERCEPTS = {"gaussian": 1.0, "bernoulli": -0.5, "poisson": 0.3}
SLOPE, SDS, SIGMA = 0.5, (0.7, 0.4), 1.0
FORMULA = "y ~ x + (1|g) + (1|h)"
# (family, method) and numbers of rows; the last one samples, and takes minutes.
CASES = {
    ("gaussian", "exact"): (1e5, 1e6, 1e7),
    ("bernoulli", "laplace"): (1e5, 1e6),
    ("poisson", "laplace"): (1e5, 1e6),
    ("bernoulli", "mcem"): (1e5, 1e6),
}


def simulate(rows: int, family: str, seed: int) -> dict[str, np.ndarray]:
    """Simulate the data as a mapping of arrays."""
    rng = np.random.default_rng(seed)
    g = rng.integers(0, rows // 25, rows, dtype=np.int32)
    h = rng.integers(0, rows // 60, rows, dtype=np.int32)
    x = rng.normal(size=rows)
    eta = INTERCEPTS[family] + SLOPE * x
    eta += SDS[0] * rng.normal(size=rows // 25)[g] + SDS[1] * rng.normal(size=rows // 60)[h]
    if family == "gaussian":
        y = eta + SIGMA * rng.normal(size=rows)
    elif family == "bernoulli":
        y = (rng.uniform(size=rows) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
    else:
        y = rng.poisson(np.exp(eta)).astype(float)
    return {"y": y, "x": x, "g": g, "h": h}


def run_one(rows: int, family: str, method: str, seed: int) -> dict[str, Any]:
    """Fit one size in this process."""
    data = simulate(rows, family, seed)
    import lmeformula as lf

    base, started, cpu = peak_gib(), time.perf_counter(), time.process_time()
    design = lf.design(FORMULA, data)
    designed, cpu_designed = time.perf_counter(), time.process_time()
    fit = lf.estimate(lf.compile(design, family), method=method, solver="iterative", progress=False)
    done = time.perf_counter()
    truth = [INTERCEPTS[family], SLOPE, *SDS] + ([SIGMA] if family == "gaussian" else [])
    distance = (fit.param_values - truth) / fit.param_stderr
    return {
        "rows": rows,
        "family": family,
        "method": fit.method,
        "levels": [len(term.levels) for term in design.terms],
        "design_seconds": designed - started,
        "fit_seconds": done - designed,
        "design_cpu_seconds": cpu_designed - cpu,
        "fit_cpu_seconds": time.process_time() - cpu_designed,
        "data_gib": base,
        "peak_gib": peak_gib(),
        "outcome": fit.outcome.name,
        "distance": dict(zip(fit.param_names, distance.round(2).tolist(), strict=True)),
        "mc_error": float(np.nanmax(fit.param_mc_error / fit.param_stderr)),
        "loglik": fit.loglik.value,
        "loglik_mc_error": fit.loglik.mc_error,
    }


def peak_gib() -> float:
    """Peak resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def table(runs: list[dict[str, Any]]) -> str:
    """Lay the runs out as a Markdown table, a fitted exponent under each family and method."""
    lines = [
        "| family, method | rows | levels | design s (CPU) | fit s (CPU) | peak GiB | outcome | "
        "largest distance from truth, standard errors | largest MC error, standard errors | logLik |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        name, far = max(run["distance"].items(), key=lambda item: abs(item[1]))
        lines.append(
            f"| {run['family']}, {run['method']} | {run['rows']:,} | "
            f"{' × '.join(f'{levels:,}' for levels in run['levels'])} | "
            f"{run['design_seconds']:.1f} ({run['design_cpu_seconds']:.1f}) | "
            f"{run['fit_seconds']:.1f} ({run['fit_cpu_seconds']:.1f}) | "
            f"{run['peak_gib']:.2f} | {run['outcome'].lower()} | {far:+.2f} {name} | "
            f"{run['mc_error']:.1e} | {run['loglik']:.2f} ± {run['loglik_mc_error']:.2f} |"
        )
    for family, method in dict.fromkeys((run["family"], run["method"]) for run in runs):
        same = [r for r in runs if (r["family"], r["method"]) == (family, method)]
        if len(same) > 1:
            rows = np.log([run["rows"] for run in same])
            wall, cpu = (
                np.polyfit(rows, np.log([run[key] for run in same]), 1)[0]
                for key in ("fit_seconds", "fit_cpu_seconds")
            )
            lines += [
                "",
                f"{family}, {method}: the time of the fit grows as rows^{wall:.2f}, its CPU time as "
                f"rows^{cpu:.2f}.",
            ]
    return "\n".join(lines)


def machine() -> str:
    """Name the machine and the versions that ran."""
    import scipy

    import lmeformula as lf

    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, SciPy {scipy.__version__}, lmeformula {lf.__version__}."
    )


def main() -> None:
    """Run the sizes one after the other and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, nargs="+", help="these sizes instead of the default")
    parser.add_argument("--families", nargs="+", choices=tuple(INTERCEPTS), default=[*INTERCEPTS])
    parser.add_argument("--methods", nargs="+", default=["exact", "laplace", "mcem"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="write the table to this file too")
    parser.add_argument("--one", action="store_true", help="one size in this process, as JSON")
    options = parser.parse_args()
    if options.one:
        found = run_one(int(options.rows[0]), options.families[0], options.methods[0], options.seed)
        print(json.dumps(found))
        return
    runs = []
    for (family, method), sizes in CASES.items():
        if family not in options.families or method not in options.methods:
            continue
        for rows in options.rows or sizes:
            command = [sys.executable, __file__, "--one", "--rows", str(rows)]
            command += ["--families", family, "--methods", method, "--seed", str(options.seed)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(runs[-1]), file=sys.stderr)
    text = f"{table(runs)}\n\n{machine()}"
    print(text)
    if options.write is not None:
        options.write.write_text(f"# Scale\n\n{__doc__.splitlines()[2]}\n\n{text}\n", "utf-8")


if __name__ == "__main__":
    main()
