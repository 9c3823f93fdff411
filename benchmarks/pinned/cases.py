"""The calls whose answers are recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from simulation.cases import CASES as FAMILIES
from simulation.study import data_sets

import lmeformula as lf

# Rows of the larger data set by the iterative solver: enough for probes to be estimates.
LEVELS, ROWS = (300, 200), 3000


class Call(NamedTuple):
    """A call of `lf.fit`.

    Attributes:
      formula: or a mapping, a formula for each predictor.
      data: makes the rows.
      options: further arguments.
    """

    formula: str | Mapping[str, str]
    data: Callable[[], Any]
    options: dict[str, Any]

    def fit(self) -> lf.Fit:
        """Do it."""
        return lf.fit(self.formula, self.data(), progress=False, **self.options)


def shipped(name: str) -> Callable[[], Any]:
    """A data set of the package."""
    return lambda: lf.datasets.load(name)


@cache
def of_family(name: str) -> Any:
    """One data set of the simulation study."""
    return next(iter(data_sets(FAMILIES[name], 1)))


@cache
def slopes() -> pd.DataFrame:
    """Three columns of slopes in 25 groups, crossed with 6 others; positive weights, an offset."""
    rng = np.random.default_rng(20)
    n = 500
    g, h = rng.integers(0, 25, n), rng.integers(0, 6, n)
    x, z, w = rng.normal(size=(3, n))
    effects = rng.multivariate_normal(
        np.zeros(3), [[1.0, 0.4, 0.2], [0.4, 0.6, 0.1], [0.2, 0.1, 0.4]], 25
    )
    mean = 1.0 + 0.5 * x + (effects[g] * np.column_stack([np.ones(n), x, z])).sum(axis=1)
    mean += 0.6 * rng.normal(size=6)[h]
    eta = 0.7 * mean - 0.5
    return pd.DataFrame(
        {
            "y": mean + 0.8 * rng.normal(size=n),
            "k": rng.poisson(np.exp(np.clip(0.4 * mean, -3.0, 3.0))),
            "b": (eta + rng.logistic(size=n) > 0.0).astype(int),
            "x": x,
            "z": z,
            "a": rng.choice(["u", "v", "w"], n),
            "t": rng.integers(0, 4, n),
            "g": [f"g{i:02d}" for i in g],
            "h": [f"h{i}" for i in h],
            "weight": rng.uniform(0.5, 2.0, n),
            "o": 0.3 * w,
        }
    )


@cache
def crossed() -> pd.DataFrame:
    """Two crossed factors of hundreds of levels."""
    rng = np.random.default_rng(21)
    g, h = rng.integers(0, LEVELS[0], ROWS), rng.integers(0, LEVELS[1], ROWS)
    x = rng.normal(size=ROWS)
    eta = 0.3 + 0.5 * x + 0.9 * rng.normal(size=LEVELS[0])[g] + 0.5 * rng.normal(size=LEVELS[1])[h]
    return pd.DataFrame(
        {
            "y": eta + rng.normal(size=ROWS),
            "b": (eta + rng.logistic(size=ROWS) > 0.0).astype(int),
            "x": x,
            "g": g,
            "h": h,
        }
    )


CROSSED = "~ x + (1 | g) + (1 | h)"
SLEEP, SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)", shipped("sleepstudy")
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"

GAUSSIAN = {
    "sleepstudy": Call(SLEEP, SLEEPSTUDY, {}),
    "sleepstudy, REML": Call(SLEEP, SLEEPSTUDY, {"reml": True}),
    "sleepstudy, mcem": Call(SLEEP, SLEEPSTUDY, {"method": "mcem"}),
    "double bar": Call("Reaction ~ Days + (Days || Subject)", SLEEPSTUDY, {}),
    "fixed sigma": Call(SLEEP, SLEEPSTUDY, {"sigma": 25.0}),
    "penicillin": Call("diameter ~ 1 + (1|plate) + (1|sample)", shipped("Penicillin"), {}),
    "singular": Call("Yield ~ 1 + (1|Batch)", shipped("Dyestuff2"), {}),
    "nested, REML": Call("strength ~ 1 + (1|batch/cask)", shipped("Pastes"), {"reml": True}),
    "three slopes": Call("y ~ x + a + (1 + x + z | g) + (1 | h)", slopes, {}),
    "weights and offset": Call("y ~ x + offset(o) + (x | g)", slopes, {"weights": "weight"}),
    "cs": Call("y ~ x + cs(1 + x | g)", slopes, {}),
    "homcs": Call("y ~ x + homcs(0 + a | g)", slopes, {}),
    "ar1": Call("y ~ x + ar1(0 + factor(t) | g)", slopes, {}),
    "diag": Call("y ~ x + diag(0 + a | g)", slopes, {}),
    "student effects": Call('y ~ x + (1 | gr(g, dist = "student"))', slopes, {}),
    "iterative": Call(f"y {CROSSED}", crossed, {"solver": "iterative"}),
    "iterative, REML": Call(f"y {CROSSED}", crossed, {"solver": "iterative", "reml": True}),
}
OTHERS = {
    "cbpp": Call(CBPP, shipped("cbpp"), {"family": "binomial", "method": "laplace"}),
    "cbpp, mcem": Call(CBPP, shipped("cbpp"), {"family": "binomial", "method": "mcem"}),
    "slopes, laplace": Call(
        "b ~ x + (x | g) + (1 | h)", slopes, {"family": "bernoulli", "method": "laplace"}
    ),
    "slopes, mcem": Call(
        "b ~ x + (x | g) + (1 | h)", slopes, {"family": "bernoulli", "method": "mcem"}
    ),
    "counts, cs": Call("k ~ x + cs(1 + x | g)", slopes, {"family": "poisson", "method": "laplace"}),
    "counts, double bar": Call(
        "k ~ x + (x || g)", slopes, {"family": "poisson", "method": "laplace"}
    ),
    "probit": Call("b ~ x + (1 | g)", slopes, {"family": "bernoulli(probit)", "method": "laplace"}),
    "iterative, laplace": Call(
        f"b {CROSSED}",
        crossed,
        {"family": "bernoulli", "method": "laplace", "solver": "iterative"},
    ),
    "iterative, mcem": Call(
        f"b {CROSSED}", crossed, {"family": "bernoulli", "method": "mcem", "solver": "iterative"}
    ),
    "wine": Call(
        "rating ~ temp + contact + (1|judge)",
        shipped("wine"),
        {"family": "cumulative", "method": "laplace"},
    ),
    "wine, mcem": Call(
        "rating ~ temp + contact + (1|judge)",
        shipped("wine"),
        {"family": "cumulative", "method": "mcem"},
    ),
}


def _of_families() -> dict[str, Call]:
    found = {}
    for name, case in FAMILIES.items():
        # Several predictors take the longest by Monte Carlo EM: the categorical family stands for all.
        methods = ("laplace", "mcem") if isinstance(case.formula, str) else ("laplace",)
        for method in methods if name != "gaussian" else ():
            found[f"{name}, {method}"] = Call(
                case.formula, partial(of_family, name), {"family": case.family, "method": method}
            )
    return found


CALLS = GAUSSIAN | OTHERS | _of_families()

# Calls that are refused, for their words.
REFUSED: dict[str, Call] = {
    "no such column": Call("y ~ nothing + (1 | g)", slopes, {}),
    "syntax": Call("y ~ x + (1 | g", slopes, {}),
    "no such family": Call("y ~ x + (1 | g)", slopes, {"family": "gaussain"}),
    "response of another kind": Call("y ~ x + (1 | g)", slopes, {"family": "bernoulli"}),
    "REML of counts": Call("k ~ x + (1 | g)", slopes, {"family": "poisson", "reml": True}),
    "exact counts": Call("k ~ x + (1 | g)", slopes, {"family": "poisson", "method": "exact"}),
    "no such method": Call("y ~ x + (1 | g)", slopes, {"method": "bayes"}),
    "one level": Call("y ~ x + (1 | factor(o * 0))", slopes, {}),
    "seed of another type": Call("y ~ x + (1 | g)", slopes, {"seed": "a"}),
    "no such solver": Call("y ~ x + (1 | g)", slopes, {"solver": "fast"}),
}
