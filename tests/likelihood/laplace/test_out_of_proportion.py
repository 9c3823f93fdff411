"""Responses out of all proportion, in every family: an outcome or a refusal, and no claim that is not one."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import lmeformula as lf

N = 60
POSITIVE = ("gamma", "lognormal", "inverse_gaussian", "student", "tweedie")
COUNTS = (
    "poisson", "nbinom2", "nbinom1", "generalized_poisson", "zero_inflated_poisson", "hurdle_poisson",
    "zero_inflated_nbinom2", "hurdle_nbinom2",
)  # fmt: skip
ORDERED = ("cumulative", "sratio", "cratio", "acat")
CATEGORIES = (*ORDERED, "categorical")
# Families that need no compiler; the others take a while, hurdle_nbinom2 with a count of 1e9 minutes.
QUICK = ("gamma", "lognormal", "inverse_gaussian", "poisson", "binomial", "cumulative")


def one(values: np.ndarray, extreme: float) -> np.ndarray:
    """The values with an extreme one among them."""
    found = np.array(values, float)
    found[7] = extreme
    return found


def plain(family: str) -> dict[str, np.ndarray]:
    """Rows that the family takes."""
    rng = np.random.default_rng(6)
    g, x = np.repeat(np.arange(10), 6), rng.normal(size=N)
    eta = 0.5 + 0.4 * x + rng.normal(0, 0.4, 10)[g]
    data = {"g": np.array([f"g{i}" for i in g]), "x": x}
    if family in CATEGORIES:
        y = np.clip(np.round(eta + rng.normal(size=N)), -1, 2).astype(int) + 2
    elif family in ("binomial", "beta_binomial"):
        data["t"] = rng.integers(2, 9, N)
        y = rng.binomial(data["t"], 1.0 / (1.0 + np.exp(-eta - rng.normal(0, 0.8, N))))
    elif family == "beta":
        mean = 1.0 / (1.0 + np.exp(-eta))
        y = np.clip(rng.beta(4 * mean, 4 * (1 - mean)), 1e-4, 1 - 1e-4)
    elif family in COUNTS:
        y = rng.poisson(np.exp(eta) * rng.gamma(1.5, 1 / 1.5, N)) * (rng.random(N) < 0.8)
    else:
        y = np.exp(eta) * rng.gamma(3, 1 / 3, N)
        y = y * (rng.random(N) < 0.7) if family == "tweedie" else y
    return {**data, "y": y}


def odd(family: str) -> dict[str, dict[str, np.ndarray]]:
    """Columns in place of those, by what is odd about them."""
    data = plain(family)
    y = data["y"]
    if family in POSITIVE:
        values = {f"one of {v:.0e}": {"y": one(y, v)} for v in (1e300, 1e30, 1e-30, 1e-300)}
        return values | {f"times {v:.0e}": {"y": v / 100.0 * y} for v in (1e300, 1e-300)}
    if family in COUNTS:
        return {f"one of {v:.0e}": {"y": one(y, v)} for v in (1e18, 1e9)}
    if family == "beta":
        return {f"one of {v}": {"y": one(y, v)} for v in (1e-300, 1.0 - 1e-16)}
    if family in ("binomial", "beta_binomial"):
        few = {name: np.where(np.arange(N) < 6, 0, data[name]) for name in ("t", "y")}
        return {
            "no trials": {"t": np.zeros(N, int), "y": np.zeros(N, int)},
            "a group without trials": few,
            "1e18 trials": {"t": one(data["t"], 1e18), "y": one(y, 1e17)},
            "all": {"y": data["t"]},
        }
    return {
        "one category": {"y": np.ones(N, int)},
        "told by x": {"x": y.astype(float)},
        "x of 1e300": {"x": 1e300 * data["x"]},
        "one of another category": {"y": np.where(np.arange(N) == 7, 2, 1)},
    }


CASES = [
    pytest.param(
        family, name, id=f"{family}, {name}", marks=[pytest.mark.slow] * (family not in QUICK)
    )
    for family in (*POSITIVE, *COUNTS, "beta", "binomial", "beta_binomial", *CATEGORIES)
    for name in odd(family)
]


@pytest.mark.parametrize(("family", "name"), CASES)
def test_it_ends_in_an_outcome_or_a_refusal(family, name):
    data = {**plain(family), **odd(family)[name]}
    if family == "categorical":
        data["y"] = np.array(list("abcd"))[data["y"] - 1]
    response = "y | trials(t)" if family in ("binomial", "beta_binomial") else "y"
    try:
        with warnings.catch_warnings():
            # Ours, on what is odd about the data.
            warnings.simplefilter("ignore", lf.LmeFormulaWarning)
            fit = lf.fit(f"{response} ~ x + (1 | g)", data, family, method="laplace")
    except lf.LmeFormulaError:
        return
    assert isinstance(fit.outcome, lf.Outcome)
    assert str(fit.summary())
    assert str(fit.diagnostics)
    if fit.converged:
        assert fit.certificate.holds
        assert np.isfinite(fit.loglik.value)
        assert (fit.stderr > 0.0).all()
        assert np.isfinite(fit.stderr).all()
