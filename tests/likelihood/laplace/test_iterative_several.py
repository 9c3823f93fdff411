"""Several linear predictors by the iterative solver against the direct one, within its Monte Carlo error."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.stats import chi2

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.probed import factor_iteratively
from lmeformula.algebra.sparseproducts import find_meetings, sparse_products
from lmeformula.em.outcome import Outcome
from lmeformula.likelihood.laplace.fit import fit_laplace
from lmeformula.likelihood.laplace.iterative import fit_iteratively
from tests.algebra.plain import random_signs

SEEDS = 12


@cache
def data(n: int = 1500) -> dict[str, np.ndarray]:
    """Responses over crossed factors g (80 levels) and h (50), each of which moves two predictors."""
    rng = np.random.default_rng(7)
    g, h, x = rng.integers(0, 80, n), rng.integers(0, 50, n), rng.normal(size=n)
    of_g = rng.normal(size=(80, 2)) @ np.array([[0.7, 0.15], [0.0, 0.4]])
    of_h = rng.normal(size=(50, 2)) * [0.4, 0.4]
    first, second = (of_g[g] + of_h[h]).T
    eta, other = 0.3 + 0.5 * x + first, -0.2 + 0.2 * x + second
    counts = rng.poisson(np.exp(eta)) * (rng.uniform(size=n) < 1 / (1 + np.exp(other - 1.0)))
    utilities = np.column_stack([0.0 * eta, eta, other]) + rng.gumbel(size=(n, 3))
    return {
        "g": g,
        "h": h,
        "x": x,
        "y": eta + np.exp(other) * rng.normal(size=n),
        "count": counts,
        "kind": np.array(list("abc"))[utilities.argmax(axis=1)],
    }


# One formula has correlations between predictors, one has zeros, whose pairs of predictors have no weight.
CASES = {
    "gaussian": (
        {"mu": "y ~ x + (1 | p | g) + (1 | h)", "sigma": "~ x + (1 | p | g) + (1 | h)"},
        "gaussian",
    ),
    "zeros": (
        {"mu": "count ~ x + (1 | g) + (1 | h)", "zi": "~ x + (1 | g)"},
        "zero_inflated_poisson",
    ),
    "categorical": ("kind ~ x + (1 | g) + (1 | h)", "categorical"),
}


@cache
def direct(name: str) -> lf.Fit:
    formula, family = CASES[name]
    return lf.fit(formula, data(), family, method="laplace", solver="direct")


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_direct_solver(name):
    formula, family = CASES[name]
    exact = direct(name)
    found = lf.fit(formula, data(), family, method="laplace", solver="iterative")
    assert exact.outcome is found.outcome is Outcome.CONVERGED
    assert found.solver == "iterative"
    assert found.certificate is not None
    assert found.certificate.holds
    assert np.isfinite(exact.param_stderr).all()
    error, stderr = found.param_mc_error, exact.param_stderr
    # Sharp enough to notice a wrong gradient.
    assert (error < 0.011 * stderr).all()
    # Eight probes know their own error to about a quarter; the direct ascent stops within 5e-5 errors.
    distance = np.abs(found.param_values - exact.param_values)
    assert (distance < 8.0 * error + 2e-4 * stderr).all()
    np.testing.assert_allclose(found.param_stderr, stderr, rtol=0.01)
    assert abs(float(found.loglik) - float(exact.loglik)) < 8.0 * found.loglik.mc_error + 1e-6
    places = found.model.space.theta_slices
    for mine, theirs, mine_cov, theirs_cov, place in zip(
        found.modes, exact.modes, found.mode_cov, exact.mode_cov, places, strict=True
    ):
        # Modes go along with the logarithm of their deviation, at most twice as far.
        sds = slice(place.start, place.start + theirs.shape[1])
        reach = 2.0 * 8.0 * (error[sds] / exact.param_values[sds]).max()
        np.testing.assert_allclose(mine, theirs, atol=1e-3 + reach * np.abs(theirs).max())
        np.testing.assert_allclose(mine_cov, theirs_cov, atol=0.08 * np.abs(theirs_cov).max())


# What one of these shows, the others do: they take a while.
SLOW = ("gaussian", "categorical")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in CASES]
)
def test_monte_carlo_errors_are_calibrated(name):
    """Over seeds the estimates scatter around the direct solver's as their reported errors say."""
    formula, family = CASES[name]
    model = lf.compile(lf.design(formula, data()), family)
    first = fit_laplace(model)
    exact, best = model.space.to_free(first.params), first.approximation.value
    found, variances, logliks, errors = [], [], [], []
    for seed in range(SEEDS):
        one = fit_iteratively(model, seed=seed, tolerance=0.02, max_probes=8)
        found.append(one.psi - exact)
        variances.append(np.diag(one.mc_covariance))
        logliks.append(one.loglik - best)
        errors.append(one.loglik_error)
    low, high = chi2.ppf([5e-5, 1 - 5e-5], SEEDS)
    for values, variance in (
        (np.array(found), np.mean(variances, axis=0)),
        (np.array(logliks), np.mean(np.square(errors))),
    ):
        statistic = (values**2).sum(axis=0) / variance
        assert (statistic > low).all()
        assert (statistic < high).all()


@pytest.mark.parametrize("name", CASES)
def test_the_equations_are_those_of_the_stacked_rows(name):
    """M by products against dense algebra, of row weights of both signs."""
    formula, family = CASES[name]
    rows = {column: values[:300] for column, values in data().items()}
    # A factor of few levels: constants over the levels of others that share one are worked out.
    rows["h"] = rows["h"] % 20
    model = lf.compile(lf.design(formula, rows), family)
    terms, mixture = model.stack.terms, model.stack.mixture
    plan = layout(terms)
    rng = np.random.default_rng(3)
    k = mixture.num_predictors
    blocks = rng.normal(size=(300, k, k + 2))
    weights = mixture.to_weights(blocks @ blocks.transpose(0, 2, 1))
    # Rows in which predictors do not meet, as of counts that are not zero.
    weights.reshape(-1, 300)[k:, ::2] = 0.0
    weights.reshape(-1, 300)[k:, rows["g"] == rows["g"][0]] = 0.0
    weights = mixture.held(weights)
    assert (weights < 0.0).any()
    lambdas = tuple(
        np.tril(rng.normal(size=(len(t.columns),) * 2)) + np.eye(len(t.columns)) for t in terms
    )
    signs = random_signs(plan, 16, 0)
    factor = factor_iteratively(sparse_products(find_meetings(plan), weights), lambdas, signs)
    Z = np.hstack([np.asarray(matrix.todense()) for matrix in plan.matrices])
    Lambda = np.zeros((plan.num_effects, plan.num_effects))
    for j, one in enumerate(lambdas):
        Lambda[plan.place(j), plan.place(j)] = np.kron(np.eye(len(terms[j].levels)), one)
    M = Lambda.T @ Z.T @ (weights[:, None] * Z) @ Lambda + np.eye(plan.num_effects)
    right = rng.normal(size=plan.num_effects)
    np.testing.assert_allclose(factor.solve(right), np.linalg.solve(M, right), atol=1e-7)
    each = factor.probed.log_det_each
    error = each.std(ddof=1) / np.sqrt(len(each))
    # Sixteen probes know their own error to about a sixth.
    assert abs(factor.log_det - np.linalg.slogdet(M)[1]) < 7.0 * error + 1e-6
    leverages = np.einsum("ij,jk,ik->i", Z @ Lambda, np.linalg.inv(M), Z @ Lambda)
    by_probe = np.array(list(factor.leverages_by_probe()))
    error = by_probe.std(axis=0, ddof=1) / np.sqrt(len(by_probe))
    # Of hundreds of rows: t with 15 degrees of freedom is beyond 9 less than once in a million times.
    assert (np.abs(factor.leverages() - leverages) < 9.0 * error + 1e-6).all()
