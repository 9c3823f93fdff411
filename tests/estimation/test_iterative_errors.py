"""Standard errors by the iterative solver are the direct one's, to the errors that are stated of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import lmeformula as lf

FORMULAS = (
    "y ~ x + a + (x | g)",
    "y ~ x + a + (1 | g) + (1 | h)",
    "y ~ x + a + diag(x | g) + (1 | h)",
)


def rows():
    """Few groups beside eight coefficients of a factor: the two likelihoods' errors are 2 to 40 % apart."""
    rng = np.random.default_rng(2)
    g, h, x = rng.integers(0, 16, 240), rng.integers(0, 10, 240), rng.normal(size=240)
    b = rng.normal(size=(16, 2)) * [1.0, 0.7]
    y = x + b[g, 0] + b[g, 1] * x + 0.8 * rng.normal(size=10)[h] + rng.normal(size=240)
    labels = {"a": g % 8, "g": g, "h": h}
    return {"y": y, "x": x} | {k: [f"{k}{i}" for i in v] for k, v in labels.items()}


@pytest.mark.parametrize("formula", FORMULAS)
def test_errors_of_the_restricted_likelihood(formula):
    direct = lf.fit(formula, rows(), reml=True, solver="direct")
    found = lf.fit(formula, rows(), reml=True, solver="iterative")
    assert direct.converged
    assert found.converged
    # Of few effects all is worked out: what is left is by differences over 1e-5 of a logarithm.
    room = 1e-4 + 5.0 * found.param_stderr_error / direct.param_stderr
    assert (np.abs(found.param_stderr / direct.param_stderr - 1.0) < room).all()
    inner = slice(found.model.space.num_fixed, None)
    covariance = np.array([fit.param_vcov[inner, inner] for fit in (direct, found)])
    size = np.outer(*2 * (direct.param_stderr[inner],))
    assert np.abs((covariance[1] - covariance[0]) / size).max() < 1e-2


# Of a right error the chance to fall outside the bounds below, at each end.
LEVEL = 1e-4
SEEDS = 16
CROSSED = {
    "ML": ("y ~ x + (x | g) + (1 | h)", {}),
    "REML": ("y ~ x + (1 | g) + (x | h)", {"reml": True}),
    "three terms, REML": ("y ~ x + (1 | g) + (1 | h) + (1 | c)", {"reml": True}),
}


def crossed():
    """As many levels as make the probes noisy, and slopes far from their origin."""
    rng = np.random.default_rng(3)
    n = 1200
    g, h, c = (rng.integers(0, levels, n) for levels in (240, 180, 120))
    t = rng.normal(size=n)
    y = 1.0 + t + rng.normal(size=240)[g] + 0.5 * rng.normal(size=240)[g] * t
    y += (0.6 + 0.5 * t) * rng.normal(size=180)[h] + 0.3 * rng.normal(size=180)[h] * t
    y += 0.5 * rng.normal(size=120)[c] + rng.normal(size=n)
    return {"y": y, "x": t + 7.0, "g": g, "h": h, "c": c}


@pytest.mark.parametrize("name", CROSSED)
def test_all_that_is_said_scatters_by_its_error(name):
    """Estimates, fixed effects of REML as well, their standard errors, and the log-likelihood."""
    formula, options = CROSSED[name]
    model = lf.compile(lf.design(formula, crossed()))
    direct = lf.estimate(model, solver="direct", **options)
    right = np.array([*direct.param_values, *direct.param_stderr, direct.loglik.value])
    ratios = []
    for seed in range(SEEDS):
        fit = lf.estimate(model, solver="iterative", seed=seed, **options)
        assert fit.converged
        said = np.array([*fit.param_values, *fit.param_stderr, fit.loglik.value])
        errors = np.array([*fit.param_mc_error, *fit.param_stderr_error, fit.loglik.mc_error])
        assert (errors > 0.0).all()
        ratios.append((said - right) / errors)
    squares = (np.array(ratios) ** 2).mean(axis=0)
    # An error from eight probes is an estimate: a ratio has variance one, and the tails of t.
    t = stats.t(7).rvs((50_000, SEEDS), random_state=2) * np.sqrt(5.0 / 7.0)
    low, high = np.quantile((t**2).mean(axis=1), [LEVEL, 1.0 - LEVEL])
    assert (squares > low).all(), squares
    assert (squares < high).all(), squares
