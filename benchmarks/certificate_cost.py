"""What the certificate costs: its share of the time of a fit, which is to be at most a tenth.

Each fit runs once to warm up (imports, compiling, caches), then a few times; the certificate is timed inside
it. The smallest fits end in a few milliseconds, of which any second look is a larger share: they are listed,
and held to an absolute time.

    python benchmarks/certificate_cost.py
"""

from __future__ import annotations

import functools
import sys
import time
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

import lmeformula as lf

# Share of a fit's time, or seconds where the whole fit is short.
MOST_SHARE, MOST_SECONDS = 0.1, 0.01
REPETITIONS = 5
# Where fits are certified.
CALLED = tuple(f"lmeformula.estimation.{one}" for one in ("gaussian", "approximate", "monte_carlo"))


class Case(NamedTuple):
    """A fit: formula, data set, and the options of the call."""

    formula: str
    data: str
    options: dict[str, Any]


INSTEVAL = "ratings ~ service + (1|students) + (1|instructors) + (1|departments)"
CBPP = "cbind(incidence, size - incidence) ~ period + (1|herd)"
CASES = (
    Case("Reaction ~ Days + (Days|Subject)", "sleepstudy", {}),
    Case("Reaction ~ Days + (Days|Subject)", "sleepstudy", {"reml": True}),
    Case("diameter ~ 1 + (1|plate) + (1|sample)", "penicillin", {}),
    Case(INSTEVAL, "insteval", {}),
    Case(INSTEVAL, "insteval", {"solver": "iterative"}),
    Case(CBPP, "cbpp", {"family": "binomial", "method": "laplace"}),
    Case(CBPP, "cbpp", {"family": "binomial", "method": "mcem"}),
    Case("Reaction ~ Days + (Days|Subject)", "sleepstudy", {"method": "mcem"}),
    Case(
        "rating ~ temp + (1|judge) + (1|bottle)",
        "wine",
        {"family": "cumulative", "method": "laplace"},
    ),
    Case(
        "rating ~ temp + (1|judge) + (1|bottle)", "wine", {"family": "cumulative", "method": "mcem"}
    ),
)


class Clock:
    """Seconds spent in what certifies."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def watch(self) -> None:
        """Put a watch around it, where it is called."""
        for module in CALLED:
            place = import_module(module)
            place.certify = self._timed(place.certify)

    def _timed(self, function):
        @functools.wraps(function)
        def timed(*given, **named):
            began = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                self.seconds += time.perf_counter() - began

        return timed


def main() -> int:
    """Print a line for each fit; the exit status is 1 where a certificate costs too much."""
    clock, worst = Clock(), 0
    clock.watch()
    print(f"{'certificate':>12} {'fit':>10} {'share':>7}")
    for case in CASES:
        data = lf.datasets.load(case.data)
        call = functools.partial(lf.fit, case.formula, data, progress=False, **case.options)
        call()
        own, whole = [], []
        for _ in range(REPETITIONS):
            clock.seconds, began = 0.0, time.perf_counter()
            fit = call()
            whole.append(time.perf_counter() - began)
            own.append(clock.seconds)
            assert fit.certificate is not None
            assert clock.seconds > 0.0, "no function that certifies was called"
        spent, total = float(np.median(own)), float(np.median(whole))
        is_dear = spent > max(MOST_SHARE * total, MOST_SECONDS)
        worst |= is_dear
        words = " ".join(f"{name}={value}" for name, value in case.options.items())
        mark = "  too much" if is_dear else ""
        print(
            f"{1e3 * spent:9.1f} ms {1e3 * total:7.1f} ms {spent / total:7.3f}  {case.data} {words}{mark}"
        )
    return int(worst)


if __name__ == "__main__":
    sys.exit(main())
