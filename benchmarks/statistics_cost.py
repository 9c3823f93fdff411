"""Processor seconds of what follows a fit, family by family: residuals, the check, the calibration.

    python benchmarks/statistics_cost.py [FAMILY ...]

Prints a line for each family of the simulation study, of 2,000 rows in 100 groups: of the first call, which
compiles what is compiled, and of the second.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from simulation.cases import CASES, Case

import lmeformula as lf
from lmeformula.checking.calibration import calibration

ROWS, GROUPS = 2000, 100
STATISTICS: dict[str, Callable[[lf.Fit], object]] = {
    "quantile": lambda fit: fit.residuals("quantile"),
    "check": lambda fit: fit.check(),
    "calibration": calibration,
}


def fitted(case: Case) -> lf.Fit:
    """A fit of rows drawn from the case."""
    rng = np.random.default_rng(1)
    g, x = np.arange(ROWS) % GROUPS, rng.normal(size=ROWS)
    data = pd.DataFrame({"y": case.responses(rng, x, g, GROUPS), "x": x, "g": g.astype(str)})
    method = "exact" if case.family == "gaussian" else "laplace"
    return lf.fit(case.formula, data, case.family, method=method, progress=False)


def seconds(statistic: Callable[[lf.Fit], object], fit: lf.Fit) -> float:
    """Processor seconds of one call."""
    start = time.process_time()
    statistic(fit)
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    print("".join(f"{name:>22}" for name in STATISTICS))
    for name in sys.argv[1:] or [name for name, case in CASES.items() if isinstance(case, Case)]:
        fit = fitted(CASES[name])
        times = [[seconds(one, fit) for _ in range(2)] for one in STATISTICS.values()]
        print("".join(f"{first:14.2f} {again:7.2f}" for first, again in times), f"  {name}")


if __name__ == "__main__":
    main()
