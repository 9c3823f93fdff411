"""Small fits, one for each family and method, made once and shared by the tests of what comes after a fit."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd

import lmeformula as lf


class Case(NamedTuple):
    """What is fitted, and how."""

    formula: str
    family: str
    method: str


CASES = {
    "exact": Case("Reaction ~ Days + (Days | Subject)", "gaussian", "exact"),
    "gaussian mcem": Case("Reaction ~ Days + (1 | Subject)", "gaussian", "mcem"),
    "bernoulli": Case("y ~ x + (1 | g)", "bernoulli", "laplace"),
    "bernoulli mcem": Case("y ~ x + (1 | g)", "bernoulli", "mcem"),
    "probit": Case("y ~ x + (1 | g)", "bernoulli(probit)", "laplace"),
    "binomial": Case("cbind(k, m) ~ x + (1 | g)", "binomial", "laplace"),
    "poisson": Case("k ~ x + (1 | g)", "poisson", "laplace"),
    "cumulative": Case("rating ~ x + (1 | g)", "cumulative", "laplace"),
    "equidistant": Case(
        "rating ~ x + (1 | g)", "cumulative(probit, thresholds=equidistant)", "laplace"
    ),
    "symmetric": Case("rating ~ x + (1 | g)", "cumulative(thresholds=symmetric)", "laplace"),
    "sratio": Case("rating ~ x + (1 | g)", "sratio(cloglog)", "laplace"),
    "acat": Case("rating ~ x + (1 | g)", "acat(thresholds=equidistant)", "laplace"),
    "nbinom2": Case("c ~ x + (1 | g)", "nbinom2", "laplace"),
    "gamma": Case("t ~ x + (1 | g)", "gamma", "laplace"),
}


@cache
def data() -> pd.DataFrame:
    """Eight levels, fifteen rows each, and a response for every family."""
    rng = np.random.default_rng(5)
    n = 120
    g = np.repeat(np.arange(8), n // 8)
    x = rng.normal(size=n)
    eta = 0.4 * x + 1.2 * rng.normal(size=8)[g]
    latent = eta + rng.logistic(size=n)
    k = rng.binomial(9, 1.0 / (1.0 + np.exp(-eta)))
    return pd.DataFrame(
        {
            "x": x,
            "g": [f"g{i}" for i in g],
            "y": latent > 0,
            "k": k,
            "m": 9 - k,
            "c": rng.negative_binomial(2.0, 2.0 / (2.0 + np.exp(eta + 0.5))),
            "t": np.exp(eta) * rng.gamma(3.0, 1.0 / 3.0, size=n),
            "rating": pd.Categorical.from_codes(
                np.digitize(latent, [-1.0, 0.5, 1.5]), ["low", "fair", "good", "best"], ordered=True
            ),
        }
    )


@cache
def fitted(name: str) -> lf.Fit:
    """The fit of a case."""
    case = CASES[name]
    table = lf.datasets.load("sleepstudy") if "Reaction" in case.formula else data()
    return lf.fit(
        case.formula, table, family=case.family, method=case.method, seed=1, progress=False
    )


def new_rows(name: str) -> pd.DataFrame:
    """Rows that the fit has not seen, of levels that it has."""
    if "Reaction" in CASES[name].formula:
        return pd.DataFrame({"Days": [0.5, 11.0, 3.0], "Subject": ["308", "335", "308"]})
    return pd.DataFrame({"x": [0.1, -2.0, 1.0], "g": ["g0", "g7", "g3"]})
