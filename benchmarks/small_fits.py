"""How long small fits take: the median of warm ones, and a cold one of a fresh process, in processor time.

Processor time, for the machine has other things to do; a busy one takes several times as long for the same, so
that what is compared has to be measured side by side, which `--beside` does with another checkout.

    python benchmarks/small_fits.py [--beside CHECKOUT] [NAME...]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
# Seconds spent on each case, and fewest and most fits.
SECONDS, FEWEST, MOST = 0.5, 5, 40
COLD = """import lmeformula as lf
lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"), progress=False)"""
NUM_COLD = 5
# Problems of one factor, by default by quadrature.
SIZES = ((20, 5), (100, 10), (500, 50), (2000, 100), (8000, 400))
FAMILIES = ("bernoulli", "poisson", "gamma", "nbinom2")


class Case(NamedTuple):
    """A fit: formula, data set or the numbers of rows and groups of one that is simulated, and options."""

    formula: str
    data: str | tuple[int, int]
    options: dict[str, Any]


def cases() -> dict[str, Case]:
    """Every case by name."""
    incidence = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    found = {
        "sleepstudy": Case("Reaction ~ Days + (Days | Subject)", "sleepstudy", {}),
        "penicillin": Case("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin", {}),
        "cbpp": Case(incidence, "cbpp", {"family": "binomial"}),
        "cbpp, laplace": Case(incidence, "cbpp", {"family": "binomial", "method": "laplace"}),
        "verbagg, laplace": Case(
            "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)",
            "VerbAgg",
            {"family": "binomial", "method": "laplace"},
        ),
        "grouseticks, laplace": Case(
            "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)",
            "grouseticks",
            {"family": "poisson", "method": "laplace"},
        ),
    }
    for method in ("quadrature", "laplace"):
        for size in SIZES:
            for family in FAMILIES:
                options = {"family": family, "method": method}
                name = f"{family} {size[0]}, {method}"
                found[name] = Case("y ~ x + (1 | g)", size, options)
    return found


def table_of(case: Case) -> Any:
    """A case's data."""
    import lmeformula as lf

    if isinstance(case.data, str):
        return lf.datasets.load(case.data)
    n, groups = case.data
    rng = np.random.default_rng(1)
    x, g, effects = rng.normal(size=n), rng.integers(groups, size=n), rng.normal(size=groups)
    mean = np.exp(0.3 + 0.5 * x + 0.7 * effects[g])
    y = {
        "bernoulli": lambda: (rng.random(n) < mean / (1.0 + mean)) * 1,
        "poisson": lambda: rng.poisson(mean),
        "gamma": lambda: rng.gamma(2.0, mean / 2.0),
        "nbinom2": lambda: rng.negative_binomial(2, 2.0 / (2.0 + mean)),
    }[case.options["family"]]()
    return {"x": x, "g": g, "y": y}


def serve() -> None:
    """Fit each case whose name comes in, and say how long it took; the first fit of a case is not counted."""
    import lmeformula as lf

    warnings.simplefilter("ignore")
    known, tables = cases(), {}
    for line in sys.stdin:
        name = line.rstrip("\n")
        case = known[name]
        if name not in tables:
            tables[name] = table_of(case)
            lf.fit(case.formula, tables[name], progress=False, **case.options)
        began = time.process_time()
        lf.fit(case.formula, tables[name], progress=False, **case.options)
        print(json.dumps(time.process_time() - began), flush=True)


class Server:
    """A process that fits by a checkout of the package."""

    def __init__(self, checkout: Path) -> None:
        self.environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).resolve()), "--serve"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=checkout,
            env=self.environment,
        )

    def fit(self, name: str) -> float:
        """Seconds of a warm fit."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(name, file=self.process.stdin, flush=True)
        return float(json.loads(self.process.stdout.readline()))

    def cold(self) -> float:
        """Seconds of a process that imports and fits once."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", COLD], check=True, env=self.environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured(servers: list[Server], names: list[str]) -> Iterator[tuple[str, list[float]]]:
    """Median milliseconds by each server of every case, measured in turns."""
    for name in names:
        first = [server.fit(name) for server in servers]
        count = int(np.clip(SECONDS / max(max(first), 1e-3), FEWEST, MOST))
        times = [[server.fit(name) for server in servers] for _ in range(count)]
        yield name, [1e3 * statistics.median(each) for each in zip(*times, strict=True)]


def main() -> None:
    """Print a line for each case, and medians of those of one factor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", help="cases whose names hold one of these; all by default"
    )
    parser.add_argument(
        "--beside", type=Path, help="another checkout, measured in turns with this one"
    )
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    checkouts = [ROOT] if options.beside is None else [options.beside.resolve(), ROOT]
    servers = [Server(checkout) for checkout in checkouts]
    chosen = [n for n in cases() if not options.names or any(one in n for one in options.names)]
    by_method: dict[str, list[list[float]]] = {}

    def show(name: str, found: list[float]) -> None:
        ratio = f"{found[-1] / found[0]:8.2f}" if len(found) > 1 else ""
        print(f"{name:28}" + "".join(f"{each:10.2f}" for each in found) + ratio, flush=True)

    print(f"{'milliseconds':28}" + "".join(f"{checkout.name:>10}" for checkout in checkouts))
    for name, found in measured(servers, chosen):
        show(name, found)
        if not isinstance(cases()[name].data, str):
            by_method.setdefault(cases()[name].options["method"], []).append(found)
    for method, rows in by_method.items():
        show(f"one factor, {method}", [statistics.median(each) for each in zip(*rows, strict=True)])
    if not options.names or "cold" in options.names:
        times = [[server.cold() for server in servers] for _ in range(NUM_COLD)]
        show("cold", [1e3 * statistics.median(each) for each in zip(*times, strict=True)])


if __name__ == "__main__":
    main()
