"""A model of each family with chosen parameters and effects, whose rows are drawn from it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd

import lmeformula as lf
from lmeformula.family import family as find_family
from lmeformula.model.params import Params
from lmeformula.prediction.simulate import responses, sampler_of, with_drawn
from tests.prediction.fakes import fake_fit

ROWS, LEVELS = 2000, 25
# Formula, family, and a column that the family takes, from which its own parameters' names follow.
CASES = {
    "gaussian": ("y | weights(w) ~ x + (1 | g)", "gaussian"),
    "bernoulli": ("yes ~ x + (1 | g)", "bernoulli"),
    "bernoulli of a factor": ("word ~ x + (1 | g)", "bernoulli(cloglog)"),
    "binomial of two columns": ("cbind(k, m) ~ x + (1 | g)", "binomial"),
    "binomial of trials": ("k | trials(size) ~ x + (1 | g)", "binomial(probit)"),
    "binomial of shares": ("share | weights(size) ~ x + (1 | g)", "binomial"),
    "poisson": ("count ~ x + (1 | g)", "poisson"),
    "nbinom2": ("count ~ x + (1 | g)", "nbinom2"),
    "nbinom1": ("count ~ x + (1 | g)", "nbinom1"),
    "gamma": ("time ~ x + (1 | g)", "gamma"),
    "beta": ("part ~ x + (1 | g)", "beta"),
    "ordered_beta": ("cover ~ x + (1 | g)", "ordered_beta"),
    "beta_binomial": ("k | trials(size) ~ x + (1 | g)", "beta_binomial"),
    "generalized_poisson": ("count ~ x + (1 | g)", "generalized_poisson"),
    "zero_inflated_poisson": ("count ~ x + (1 | g)", "zero_inflated_poisson"),
    "hurdle_nbinom2": ("count ~ x + (1 | g)", "hurdle_nbinom2"),
    "student": ("y ~ x + (1 | g)", "student"),
    "lognormal": ("time ~ x + (1 | g)", "lognormal"),
    "inverse_gaussian": ("time ~ x + (1 | g)", "inverse_gaussian"),
    "sratio": ("rating ~ x + (1 | g)", "sratio"),
    "acat": ("rating ~ x + (1 | g)", "acat"),
    "cumulative": ("rating ~ x + (1 | g)", "cumulative"),
    "cumulative of numbers": ("number ~ x + (1 | g)", "cumulative(probit)"),
}
OWN = {"nbinom2": 1.5, "nbinom1": 2.0, "gamma": 3.0, "beta": 6.0, "beta_binomial": 5.0}


@cache
def table() -> pd.DataFrame:
    """2,000 rows of 25 levels, and something that each family takes."""
    rng = np.random.default_rng(11)
    size = rng.integers(3, 12, ROWS)
    k = rng.binomial(size, 0.4)
    part = rng.beta(2.0, 3.0, ROWS)
    category = rng.integers(0, 4, ROWS)
    return pd.DataFrame(
        {
            "x": rng.normal(size=ROWS),
            "g": [f"g{i}" for i in np.arange(ROWS) % LEVELS],
            "h": [f"h{i}" for i in rng.integers(0, 10, ROWS)],
            "w": rng.uniform(0.5, 2.0, ROWS),
            "y": rng.normal(size=ROWS),
            "yes": rng.uniform(size=ROWS) < 0.5,
            "word": np.array(["bad", "good"])[rng.integers(2, size=ROWS)],
            "size": size,
            "k": k,
            "m": size - k,
            "share": k / size,
            "count": rng.poisson(2.0, ROWS),
            "time": rng.gamma(2.0, 1.0, ROWS),
            "part": part,
            "cover": np.clip(1.3 * part - 0.15, 0.0, 1.0),
            "number": category + 1,
            "rating": pd.Categorical.from_codes(
                category, ["low", "fair", "good", "best"], ordered=True
            ),
        }
    )


@cache
def true_fit(name: str) -> lf.Fit:
    """A fit whose estimates, modes and rows are those of a true model: nothing was estimated."""
    formula, written = CASES[name]
    family = find_family(written)
    model = lf.compile(lf.design(formula, table()), family)
    rng = np.random.default_rng(7)
    own = np.array([OWN[name]]) if name in OWN else model.space.own.start
    own = np.array([1.3]) if family.is_normal else own
    beta = np.array([0.3, 0.5])[-len(model.design.names) :]
    params = Params(beta, (np.array([[0.49]]),), own)
    modes = (0.7 * rng.standard_normal((LEVELS, 1)),)
    fit = fake_fit(
        model=model,
        params=params,
        modes=modes,
        mode_cov=(np.full((LEVELS, 1, 1), 1e-12),),
        method="exact" if family.is_normal else "laplace",
        param_names=model.space.names,
        fixed_vcov=np.eye(len(beta)) * 1e-12,
    )
    sampler = sampler_of(fit)._replace(kept=(True,))
    drawn = next(responses(sampler, 1, 5))
    return replace(fit, model=replace(model, design=with_drawn(fit, drawn)))
