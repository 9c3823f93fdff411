"""Rows with a frequency against the repeated rows: every family, every way to integrate effects out."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.likelihood.gaussian.no_residual import (
    may_lack_residual,
    runs_away,
    without_limit,
    without_residual,
)
from lmeformula.likelihood.gaussian.sums import sums
from lmeformula.likelihood.laplace.perfect_fit import met_by_design

# The same likelihood climbed from the same start, whose rows are added up in another order.
ROUNDING = 1e-9


@functools.cache
def counted() -> pd.DataFrame:
    """48 rows that stand for 0 to 4 observations each."""
    r = np.random.default_rng(7)
    n = 48
    g, x = np.arange(n) % 8, r.integers(-1, 3, n) / 1.0
    eta = 0.2 + 0.3 * x + r.normal(0.0, 0.6, 8)[g]
    share = 1.0 / (1.0 + np.exp(-eta - r.normal(0.0, 0.7, n)))
    size = r.integers(2, 7, n)
    return pd.DataFrame(
        {
            "g": [f"g{i}" for i in g],
            "h": np.array(list("pqrs"))[r.integers(0, 4, n)],
            "x": x,
            "number": eta + r.standard_t(5, n),
            "count": r.poisson(np.exp(eta) * r.gamma(1.5, 1.0 / 1.5, n))
            * (r.uniform(size=n) < 0.8),
            "yes": (r.uniform(size=n) < share).astype(int),
            "size": size,
            "successes": r.binomial(size, share),
            "rating": np.digitize(eta + r.logistic(size=n), [-0.5, 0.7, 1.8]) + 1,
            "kind": np.array(list("klm"))[np.digitize(eta + r.logistic(size=n), [-0.4, 1.0])],
            "amount": r.gamma(3.0, np.exp(eta) / 3.0),
            "rain": r.gamma(3.0, np.exp(eta) / 3.0) * (r.uniform(size=n) < 0.7),
            "share": share,
            "ends": np.where(share < 0.25, 0.0, np.where(share > 0.85, 1.0, share)),
            "w": r.uniform(0.5, 2.0, n),
            "n": r.integers(0, 5, n),
        }
    )


@functools.cache
def repeated() -> pd.DataFrame:
    data = counted()
    return data.loc[data.index.repeat(data["n"])].reset_index(drop=True)


RESPONSES = {
    "number": ("student", "gaussian"),
    "count": (
        *("poisson", "nbinom2", "nbinom1", "generalized_poisson", "zero_inflated_poisson"),
        *("hurdle_poisson", "zero_inflated_nbinom2", "hurdle_nbinom2"),
    ),
    "yes": ("bernoulli", "bernoulli(probit)"),
    "successes | trials(size)": ("binomial(cloglog)", "beta_binomial"),
    "rating": ("cumulative", "cumulative(probit)", "acat", "sratio", "cratio"),
    "kind": ("categorical",),
    "amount": ("gamma", "lognormal", "inverse_gaussian"),
    "rain": ("tweedie",),
    "share": ("beta",),
    "ends": ("ordered_beta",),
}
FAMILIES = [(family, response) for response, families in RESPONSES.items() for family in families]


def both(formula: Any, family: Any, **options: Any) -> tuple[lf.Fit, lf.Fit]:
    """The fit of the rows with their frequencies, and that of the repeated rows."""
    options |= {"progress": False}
    return (
        lf.fit(formula, counted(), family, frequency="n", **options),
        lf.fit(formula, repeated(), family, **options),
    )


def assert_alike(found: lf.Fit, expected: lf.Fit, tolerance: float = ROUNDING) -> None:
    assert found.outcome is expected.outcome
    assert found.nobs == expected.nobs
    alike = functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance)
    alike(found.loglik.value, expected.loglik.value)
    # An ascent ends where the log-likelihood would rise by so much at most: so many standard errors away.
    rise = max(fit.certificate.claims[0].figure for fit in (found, expected) if fit.certificate)
    if rise == rise:
        alike = functools.partial(alike, atol=max(tolerance, 2.0 * math.sqrt(2.0 * rise)))
    alike(found.param_values, expected.param_values)
    alike(found.param_stderr, expected.param_stderr)
    for name in ("modes", "mode_cov"):
        for one, other in zip(getattr(found, name), getattr(expected, name), strict=True):
            alike(one, other)


@pytest.mark.parametrize(("family", "response"), FAMILIES)
def test_laplace_of_every_family(family, response):
    if family == "gaussian":
        formula: Any = {"mu": "number | weights(w) ~ x + (1 | g)", "sigma": "~ x"}
    else:
        formula = f"{response} ~ x + (1 | g)"
    found, expected = both(formula, family, method="laplace")
    # At a limit of an own parameter what stands for it hangs on the rows, by less than a likelihood tells.
    assert_alike(found, expected, 1e-6 if found.outcome is lf.Outcome.BOUNDARY else ROUNDING)


@pytest.mark.parametrize(
    ("formula", "family"),
    [("rating ~ 1 + (1 | g)", "cumulative"), ("count ~ 0 + offset(x) + (1 | g)", "poisson")],
)
@pytest.mark.parametrize("method", ["laplace", "quadrature"])
def test_models_without_fixed_effects(formula, family, method):
    assert_alike(*both(formula, family, method=method))


@pytest.mark.parametrize("family", ["bernoulli", "nbinom2", "cumulative", "gamma", "tweedie"])
def test_quadrature(family):
    response = next(name for name, families in RESPONSES.items() if family in families)
    assert_alike(*both(f"{response} ~ x + (1 | g)", family, method="quadrature"), 1e-7)


def test_quadrature_of_nested_factors():
    assert_alike(*both("count ~ x + (1 | g / h)", "poisson", method="quadrature"))


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("solver", ["direct", "iterative"])
def test_exact(solver, reml):
    formula = "number | weights(w) ~ x + offset(share) + (1 | g) + (1 | h)"
    assert_alike(*both(formula, "gaussian", solver=solver, reml=reml))


def test_exact_with_correlated_slopes_far_from_their_origin():
    assert_alike(*both("number ~ I(x + 100) + (I(x + 100) | g)", "gaussian"), 1e-7)


def test_the_iterative_solver_of_an_approximation():
    formula = "count ~ x + (1 | g) + (1 | h)"
    assert_alike(*both(formula, "poisson", method="laplace", solver="iterative"))


@pytest.mark.parametrize(
    ("formula", "family"),
    [
        ("number | weights(w) ~ x + (1 | g)", "gaussian"),
        ("yes ~ x + (1 | g)", "bernoulli"),
        ('number ~ x + (1 | gr(g, dist = "student"))', "gaussian"),
    ],
)
def test_monte_carlo_em(formula, family):
    found, expected = both(formula, family, method="mcem", seed=1)
    error = np.hypot(found.param_mc_error, expected.param_mc_error)
    both_finite = np.isfinite(found.param_values) & np.isfinite(expected.param_values)
    away = np.abs(found.param_values - expected.param_values)[both_finite]
    # Of one seed the draws are the same; five errors are what independent ones would be within.
    assert (away <= 5.0 * error[both_finite] + 1e-9).all()
    assert abs(found.loglik.value - expected.loglik.value) <= 1e-9 + 5.0 * np.hypot(
        found.loglik.mc_error, expected.loglik.mc_error
    )
    # Eight levels hardly tell degrees of freedom: errors by draws are then mostly their own.
    if found.params.has_normal_effects:
        np.testing.assert_allclose(found.param_stderr, expected.param_stderr, rtol=0.05)


def test_a_family_of_ones_own_with_prior_weights():
    import tensorflow_probability as tfp

    family = lf.Family(
        "mine",
        lambda mu, shape: tfp.distributions.Gamma(shape, shape / mu),
        link="log",
        parameters={"shape": (0.0, np.inf)},
        support="positive",
        weights=True,
    )
    for formula in (
        "amount | weights(w) ~ x + (1 | g)",
        {"mu": "amount ~ x + (1 | g)", "shape": "~ x"},
    ):
        assert_alike(*both(formula, family, method="laplace"), 1e-8)


def test_few_rows_that_meet_their_effects():
    """A residual is told from an effect of each row by rows that repeat, as of the repeated rows."""
    data = pd.DataFrame({"y": [1.0, 2.5, 4.0, 3.0], "g": list("abcd"), "n": [3, 2, 2, 1]})
    again = data.loc[data.index.repeat(data["n"])]
    for formula in ("y ~ 1 + (1 | g)",):
        found = lf.fit(formula, data, frequency="n", progress=False)
        expected = lf.fit(formula, again, progress=False)
        assert found.outcome is expected.outcome
        np.testing.assert_allclose(found.fixef, expected.fixef, rtol=1e-6)
    with pytest.raises(lf.FormulaDataError, match="as many levels as there are rows, 4"):
        lf.fit("y ~ 1 + (1 | g)", data.assign(n=1), frequency="n", progress=False)


def test_frequencies_beyond_what_could_be_repeated():
    """The log-likelihood of a thousand million observations is that of the rows, times as many."""
    data = counted().assign(n=counted()["n"] * 10_000_000)
    fit = lf.fit(
        "yes ~ x + (1 | g)", data, "bernoulli", frequency="n", method="laplace", progress=False
    )
    assert fit.converged
    assert fit.nobs == int(data["n"].sum())
    assert fit.model.design.n < len(data)


def endings() -> dict[str, tuple[str, Any, pd.DataFrame]]:
    """Data that do not determine a model, in ways that are told by looking at single observations."""
    r = np.random.default_rng(4)
    n = 30
    x, g = r.normal(size=n), np.array(list("abcdef"))[np.arange(n) % 6]
    times = r.integers(1, 5, n)
    apart = pd.DataFrame({"g": g, "x": x, "y": (x > 0.1).astype(int), "n": times})
    met = apart.assign(y=np.exp(0.3 * x) * (1.0 + (g == "b")))
    alike = apart.assign(y=(g < "d").astype(int))
    alone = pd.DataFrame({"g": list("abcdefgh"), "x": r.normal(size=8), "y": r.gamma(2.0, size=8)})
    return {
        "separated": ("y ~ x + (1 | g)", "bernoulli", apart.assign(n=200 * times)),
        "certain by their effects": ("y ~ 1 + (1 | g)", "bernoulli", alike),
        "met": ("y ~ x + (1 | g)", "gamma", met),
        "met by an effect of each row": ("y ~ x + (1 | g)", "gamma", alone.assign(n=2)),
        "normal, an effect of each row": ("y ~ x + (1 | g)", "gaussian", alone.assign(n=2)),
        "normal, one row twice": ("y ~ x + (1 | g)", "gaussian", alone.assign(n=[2, *[1] * 7])),
    }


@pytest.mark.parametrize("name", endings())
def test_a_fit_without_an_answer_ends_as_that_of_the_repeated_rows(name):
    formula, family, data = endings()[name]
    again = data.loc[data.index.repeat(data["n"])].reset_index(drop=True)
    method = "exact" if family == "gaussian" else "laplace"
    found = lf.fit(formula, data, family, frequency="n", method=method, progress=False)
    expected = lf.fit(formula, again, family, method=method, progress=False)
    assert found.outcome is expected.outcome
    assert found.singular == expected.singular
    np.testing.assert_array_equal(
        np.isfinite(found.param_stderr), np.isfinite(expected.param_stderr)
    )


@pytest.mark.parametrize("n", [[2] * 8, [2, *[1] * 7], [1] * 8])
def test_whether_responses_are_met_by_design_is_of_the_repeated_rows(n):
    r = np.random.default_rng(4)
    data = pd.DataFrame(
        {"g": list("abcdefgh"), "x": r.normal(size=8), "y": r.gamma(2.0, size=8), "n": n}
    )
    again = data.loc[data.index.repeat(data["n"])]
    found, expected = (
        lf.compile(lf.design("y ~ x + (1 | g)", rows, frequency=frequency), "gamma")
        for rows, frequency in ((data, "n"), (again, None))
    )
    one, other = met_by_design(found), met_by_design(expected)
    assert (one is None) == (other is None)
    assert (one is None) == (n == [1] * 8)


@pytest.mark.parametrize("n", [[3] * 4, [2, 1, 1, 1], [1] * 4])
@pytest.mark.parametrize("reml", [False, True])
def test_a_likelihood_without_residuals_is_that_of_the_repeated_rows(n, reml):
    data = pd.DataFrame({"g": list("abcd"), "h": list("uuvv"), "y": [1.0, 2.5, 4.0, 3.0], "n": n})
    again = data.loc[data.index.repeat(data["n"])]
    found, expected = (
        sums(lf.design("y ~ 1 + (1 | g) + (1 | h)", rows, frequency=frequency))
        for rows, frequency in ((data, "n"), (again, None))
    )
    assert may_lack_residual(found) == may_lack_residual(expected)
    assert without_limit(found) == without_limit(expected)
    covariances = (np.array([[1.5]]), np.array([[0.5]]))
    assert runs_away(found, covariances, 1e-3, reml) == runs_away(expected, covariances, 1e-3, reml)
    one, other = (without_residual(each, covariances, reml) for each in (found, expected))
    assert (one is None) == (other is None)
    if one is not None:
        np.testing.assert_allclose(one, other, rtol=1e-9)
