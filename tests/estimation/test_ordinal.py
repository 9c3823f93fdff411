"""Ordinal families with one random intercept against adaptive quadrature, by Laplace and by Monte Carlo EM."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import expit

import lmeformula as lf
from tests.estimation.quadrature import integrated

GROUPS, ROWS, SLOPE, SD = 60, 4, 0.7, 1.2
CENTERS = np.array([-1.0, 0.4, 1.5])
CDF = {"logit": expit, "probit": stats.norm.cdf, "cloglog": lambda x: -np.expm1(-np.exp(x))}
CASES = (
    "sratio(logit)",
    "cratio(cloglog)",
    "acat(logit)",
    "acat(probit, thresholds=equidistant)",
    "cumulative(logit, thresholds=symmetric)",
    "cumulative(probit, thresholds=equidistant)",
)


def chances(written: str, eta: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(..., K) of the categories, from the definitions."""
    name, link = written.partition("(")[0], written.partition("(")[2].partition(",")[0].rstrip(")")
    F, eta = CDF[link], eta[..., None]
    if name == "cumulative":
        ends = np.zeros_like(eta)
        return np.diff(np.concatenate([ends, F(thresholds - eta), ends + 1.0], axis=-1))
    go = F(eta - thresholds) if name != "sratio" else 1.0 - F(thresholds - eta)
    if name == "acat":
        odds = np.cumprod(go / (1.0 - go), axis=-1)
        weights = np.concatenate([np.ones_like(eta), odds], axis=-1)
        return weights / weights.sum(axis=-1, keepdims=True)
    reached = np.concatenate([np.ones_like(eta), np.cumprod(go, axis=-1)], axis=-1)
    stops = np.concatenate([1.0 - go, np.ones_like(eta)], axis=-1)
    return reached * stops


@cache
def data_of(written: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(17)
    n = GROUPS * ROWS
    g, x = np.repeat(np.arange(GROUPS), ROWS), rng.normal(size=n)
    eta = SLOPE * x + SD * rng.normal(size=GROUPS)[g]
    below = np.cumsum(chances(written, eta, CENTERS), axis=1)[:, :-1]
    return {"g": g, "x": x, "y": 1 + (rng.uniform(size=n)[:, None] > below).sum(axis=1)}


def thresholds_of(written: str, own: np.ndarray) -> np.ndarray:
    """The three thresholds from what is reported."""
    if "equidistant" in written:
        return own[0] + own[1] * np.arange(3.0)
    return own[0] + own[1] * np.array([-1.0, 0.0, 1.0]) if "symmetric" in written else own


def quadrature(written: str, values: np.ndarray, num_nodes: int = 25) -> float:
    """The log-likelihood at (slope, sd, own)."""
    data = data_of(written)
    g, code, base = data["g"], data["y"] - 1, (values[0] * data["x"])[:, None]
    thresholds = thresholds_of(written, values[2:])

    def log_density(u: np.ndarray) -> np.ndarray:
        found = chances(written, base + values[1] * u[g], thresholds)
        total = np.zeros_like(u)
        # Far out a chance may underflow, where it counts for nothing.
        np.add.at(total, g, np.log(np.maximum(found[np.arange(len(code)), :, code], 1e-300)))
        return total

    return integrated(log_density, GROUPS, num_nodes)


@cache
def model(written: str) -> lf.Model:
    return lf.compile(lf.design("y ~ x + (1 | g)", data_of(written)), written)


@pytest.mark.parametrize("written", CASES)
def test_laplace_is_quadrature_with_one_node(written):
    """At the estimates, and with its maximum there."""
    fit = lf.estimate(model(written), method="laplace")
    assert fit.converged
    values = fit.param_values
    assert fit.loglik.value == pytest.approx(quadrature(written, values, 1), abs=1e-4)
    rng = np.random.default_rng(3)
    # A step of h standard errors lowers the likelihood by about h^2 / 2.
    for _ in range(4):
        step = 0.05 * rng.choice([-1.0, 1.0], len(values)) * fit.param_stderr
        assert quadrature(written, values + step, 1) < fit.loglik.value + 1e-4


@pytest.mark.parametrize(
    "written",
    [pytest.param(case, marks=[] if case == "acat(logit)" else pytest.mark.slow) for case in CASES],
)
def test_monte_carlo_em_is_quadrature_with_25(written):
    fit = lf.estimate(model(written), method="mcem", seed=1, progress=False)
    start = lf.estimate(model(written), method="laplace").param_values
    found = optimize.minimize(lambda at: -quadrature(written, at), start, method="BFGS")
    assert fit.converged
    assert (fit.param_mc_error < 0.0101 * fit.param_stderr).all()
    # BFGS stops within a thousandth of a standard error.
    allowed = 4.5 * fit.param_mc_error + 1e-3 * fit.param_stderr
    assert (np.abs(fit.param_values - found.x) < allowed).all()
    assert abs(fit.loglik.value + found.fun) < 4.5 * fit.loglik.mc_error + 1e-5
