"""Averages over several linear predictors: by plain Monte Carlo, quadrature of one, and dense algebra."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import scipy.special

import lmeformula as lf
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.family import Family, family
from lmeformula.family.predicted import with_predictors
from lmeformula.prediction.averaged import _steps
from lmeformula.prediction.normal_points import normal_average
from lmeformula.prediction.parameter_errors import location_covariance
from tests.likelihood.laplace.test_several import simulated

NUM_DRAWS = 200_000


@cache
def data() -> pd.DataFrame:
    return pd.DataFrame(simulated(3))


CASES = {
    "zero_inflated_poisson": {"mu": "count ~ x + (1 | p | g) + (1 | h)", "zi": "~ x + (1 | p | g)"},
    "categorical": "kind ~ x + (1 | p | g) + (1 | h)",
    "cumulative": {"mu": "rating ~ x + (1 | p | g) + (1 | h)", "disc": "~ x + (1 | p | g)"},
}
fitted = cache(lambda name: lf.fit(CASES[name], data(), name, method="laplace"))
# What the others show, it does: it takes a while to compile.
SOME = [
    "zero_inflated_poisson",
    "categorical",
    pytest.param("cumulative", marks=pytest.mark.slow),
]


def drawn_means(fit: lf.Fit, kind: str, eta: np.ndarray, covariance: np.ndarray, seed: int):
    """Means (c,) of one row over plain draws of its predictors, and their standard errors."""
    r = np.random.default_rng(seed)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    drawn = eta[:, None] + root @ r.standard_normal((len(eta), NUM_DRAWS))
    work = fit.model.family.mean if kind == "response" else fit.model.family.probabilities
    each = np.asarray(work(drawn, fit.params.own)).reshape(NUM_DRAWS, -1)
    return each.mean(axis=0), each.std(axis=0) / np.sqrt(NUM_DRAWS)


def kind_of(fit: lf.Fit) -> str:
    return "response" if fit.model.family.categories is None else "prob"


@pytest.mark.parametrize("name", SOME)
def test_averages_over_unseen_levels_are_those_of_draws(name):
    """The effects of an unseen level of g have the covariance of their term, and those of h none here."""
    fit = fitted(name)
    kind, new = kind_of(fit), pd.DataFrame({"x": [-1.0, 0.5], "g": "new", "h": 0})
    found = np.asarray(fit.predict(new, kind=kind, new_levels="sample"), float).reshape(2, -1)
    eta = fit.predict(new, kind="link", new_levels="population").to_numpy()
    plain = np.asarray(fit.predict(new, kind=kind, new_levels="population"), float).reshape(2, -1)
    covariance = fit.params.covariances[0]
    for row in range(2):
        mean, error = drawn_means(fit, kind, eta[row], covariance, row)
        assert (np.abs(found[row] - mean) < 5.0 * error + 1e-4 * mean).all()
        # Sharp enough to notice the predictions at an effect of zero.
        assert (np.abs(plain[row] - found[row]) > 20.0 * error).any()


@pytest.mark.parametrize("name", SOME)
def test_averages_of_known_levels_are_over_the_joint_errors(name):
    """Errors and means of predictors by the whole inverse of the mixed-model equations, then plain draws."""
    fit = fitted(name)
    kind, rows = kind_of(fit), [0, 40, 77]
    found = np.asarray(fit.predict(averaged=True, kind=kind), float).reshape(len(data()), -1)
    link = fit.predict(kind="link").to_numpy()
    means, covariances = dense_predictors(fit, rows)
    for place, row in enumerate(rows):
        mean, error = drawn_means(
            fit, kind, link[row] + means[place], covariances[place], 100 + row
        )
        assert (np.abs(found[row] - mean) < 5.0 * error + 1e-4 * mean).all()


def test_averages_of_levels_of_one_factor_are_integrals_over_the_posterior():
    """Two effects a level, parameters taken as known: a grid of 401 x 401 points of the two."""
    frame = data()
    fit = lf.fit("kind ~ x + (1 | p | g)", frame, "categorical", method="laplace")
    p = len(fit.fixef)
    known = replace(fit, fixed_vcov=np.zeros((p, p)))
    found = known.predict(averaged=True, kind="prob").to_numpy()
    root = cholesky_semidefinite(fit.params.covariances[0])
    z = np.linspace(-7.0, 7.0, 401)
    points = np.stack(np.meshgrid(z, z, indexing="ij"), -1).reshape(-1, 2)
    effects = (points @ root.T).T
    base = known.predict(kind="link", re_form="NA").to_numpy()
    codes = pd.Categorical(frame["kind"], ["a", "b", "c"]).codes
    for level in (0, 5):
        rows = np.flatnonzero(frame["g"] == level)
        chances = [known.model.family.probabilities(base[r][:, None] + effects, ()) for r in rows]
        logs = -0.5 * (points**2).sum(axis=1)
        logs = logs + sum(np.log(at[:, codes[r]]) for at, r in zip(chances, rows, strict=True))
        mass = np.exp(logs - logs.max())
        mass /= mass.sum()
        for at, r in zip(chances, rows, strict=True):
            np.testing.assert_allclose(found[r], mass @ at, rtol=1e-5)


def test_rules_over_errors_of_parameters_have_the_moments_of_normal_ones():
    """Up to the fifth power on a grid, to the third on the axes."""
    steps, shares = _steps(5, 2, True)
    np.testing.assert_allclose(shares @ steps**4, 3.0)
    np.testing.assert_allclose(shares @ (steps[:, 0] ** 2 * steps[:, 1] ** 2), 1.0)
    coarse, chances = _steps(5, 2, False)
    np.testing.assert_allclose(coarse.T * chances @ coarse, np.eye(2), atol=1e-12)
    one, alone = _steps(5, 1, True)
    np.testing.assert_allclose(one[:, 0], np.polynomial.hermite_e.hermegauss(5)[0])
    assert alone.sum() == pytest.approx(1.0)


def dense_predictors(fit: lf.Fit, rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """How far means of predictors are from modes (r, K), and their covariances (r, K, K), by dense algebra.

    Derivatives of the rows' log density are by differences; the first term of the expansion of the mean about
    the mode is H^-1 sum of third derivatives times covariances over two.
    """
    model, design = fit.model, fit.model.design
    k, n = design.num_predictors, design.n
    # Coefficients of all effects, (K n, q), and of the fixed ones, (K n, p).
    X = np.vstack([design.X * (np.array(design.column_predictors) == a) for a in range(k)])
    C = fit.fixed_vcov
    if model.family.thresholds:
        # The first predictor is measured from the mean of the thresholds, which is uncertain, too.
        X, C = np.column_stack([X, -np.repeat(np.eye(k)[0], n)]), location_covariance(fit)
    # Effects of unit variance: a covariance may be singular.
    blocks = []
    for term, covariance in zip(design.terms, fit.params.covariances, strict=True):
        levels, size = len(term.levels), len(term.columns)
        block = np.zeros((k, n, levels, size))
        for column, predictor in enumerate(term.predictors):
            block[predictor, np.arange(n), term.index, column] = term.values[:, column]
        blocks.append((block @ cholesky_semidefinite(covariance)).reshape(k * n, levels * size))
    Z = np.hstack(blocks)
    eta = fit.predict(kind="link").to_numpy().T
    third, second = row_thirds(model, eta, fit.params.own)
    W = np.zeros((k * n, k * n))
    for a in range(k):
        for b in range(k):
            W[a * n + np.arange(n), b * n + np.arange(n)] = -second[:, a, b]
    H = np.linalg.inv(Z.T @ W @ Z + np.eye(Z.shape[1]))
    given = Z @ H @ Z.T
    within = np.array(
        [[given[a * n + np.arange(n), b * n + np.arange(n)] for b in range(k)] for a in range(k)]
    )
    pull = 0.5 * np.einsum("nabc,bcn->an", third, within).reshape(-1)
    moved = (Z @ (H @ (Z.T @ pull))).reshape(k, n)
    T = X - Z @ (H @ (Z.T @ (W @ X)))
    whole = given + T @ C @ T.T
    picked = [np.arange(k) * n + row for row in rows]
    return moved[:, rows].T, np.array([whole[np.ix_(at, at)] for at in picked])


def row_thirds(model, eta: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, K, K, K) third derivatives by differences of the second ones (n, K, K), which are automatic."""
    from lmeformula.prediction.row_slopes import row_slopes

    k, n = eta.shape
    slopes = row_slopes(model.family, model.family.response(model.design))
    step, third = 1e-4, np.zeros((n, k, k, k))
    for a in range(k):
        move = np.zeros((k, 1))
        move[a] = step
        ahead, behind = slopes(eta + move, own).second, slopes(eta - move, own).second
        third[:, a] = (ahead - behind) / (2.0 * step)
    return third, slopes(eta, own).second


def test_a_constant_predictor_leaves_the_quadrature_of_one():
    """Counts whose chance of zero is a formula with an intercept, taken as known: one predictor's averages."""
    frame = data()
    formulas = {"mu": "count ~ x + (1 | g)", "zi": "~ 1"}
    two = lf.fit(formulas, frame, "zero_inflated_poisson", method="laplace")
    vcov = np.array(two.fixed_vcov)
    vcov[2], vcov[:, 2] = 0.0, 0.0
    two = replace(two, fixed_vcov=vcov)
    zi = scipy.special.expit(two.fixef["zi_Intercept"])
    sd = np.sqrt(two.params.covariances[0][0, 0])
    eta = two.fixef["Intercept"] + 0.5 * two.fixef["x"]
    new = pd.DataFrame({"x": [0.5], "g": ["new"]})
    found = two.predict(new, new_levels="sample").iloc[0]
    assert found == pytest.approx((1.0 - zi) * np.exp(eta + 0.5 * sd**2), rel=1e-9)
    both = two.predict(new, new_levels="sample", averaged=True).iloc[0]
    x = np.array([1.0, 0.5])
    spread = sd**2 + x @ vcov[:2, :2] @ x
    assert both == pytest.approx((1.0 - zi) * np.exp(eta + 0.5 * spread), rel=1e-9)


def test_a_mean_that_is_a_predictor_is_its_own_average():
    formulas = {"mu": "y ~ x + (1 | p | g)", "sigma": "~ x + (1 | p | g)"}
    fit = lf.fit(formulas, data(), method="laplace")
    new = pd.DataFrame({"x": [0.5], "g": ["new"]})
    sampled = fit.predict(new, new_levels="sample")
    np.testing.assert_array_equal(sampled, fit.predict(new, new_levels="population"))


def test_many_predictors_have_the_error_that_is_stated():
    """Six categories: 4096 points in five dimensions, whose error is said to be about 1e-4."""
    fit, r = fitted("categorical"), np.random.default_rng(4)
    many = with_family(fit, fit.model.family.base.grow(tuple("bcdef")))
    root = 0.6 * r.normal(size=(5, 5))
    eta, covariance = r.normal(size=(5, 1)), root @ root.T
    found = normal_average(many, "prob", eta, covariance[None])[0]
    mean, error = drawn_means(many, "prob", eta[:, 0], covariance, 1)
    assert error.max() < 1e-3
    assert (np.abs(found - mean) < 5.0 * error + 2e-4).all()
    assert found.sum() == pytest.approx(1.0)


def test_three_predictors_are_averaged_over_together():
    """Of hurdle counts with a dispersion and a chance of zero: all three enter the mean."""
    r = np.random.default_rng(5)
    parts = ("dispersion", "zero_probability")
    three = with_family(
        fitted("zero_inflated_poisson"), with_predictors(family("hurdle_nbinom2"), parts)
    )
    root = 0.4 * r.normal(size=(3, 3))
    eta, covariance = np.array([[0.4], [0.2], [-0.5]]), root @ root.T
    found = normal_average(three, "response", eta, covariance[None])[:, 0]
    mean, error = drawn_means(three, "response", eta[:, 0], covariance, 2)
    plain = normal_average(three, "response", eta, np.zeros((1, 3, 3)))[:, 0]
    assert np.abs(found - mean) < 5.0 * error
    assert np.abs(plain - mean) > 20.0 * error


def with_family(fit: lf.Fit, changed: Family) -> lf.Fit:
    """The fit with another family without own parameters, for what takes nothing else of it."""
    return replace(fit, model=replace(fit.model, family=changed))


@pytest.mark.parametrize("sd", [0.5, 2.0])
def test_two_predictors_that_do_not_depend_are_a_product(sd):
    """Of zero-inflated counts E[(1 - zi) mu] = E[1 - zi] E[mu], each by its own quadrature; else not."""
    fit = fitted("zero_inflated_poisson")
    eta = np.array([[0.3], [-0.8]])
    z = np.linspace(-12.0, 12.0, 20_001)
    w = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
    alone = w @ scipy.special.expit(-(eta[1, 0] + sd * z))
    apart = normal_average(fit, "response", eta, np.diag([sd**2, sd**2])[None])[0, 0]
    assert apart == pytest.approx(alone * np.exp(eta[0, 0] + 0.5 * sd**2), rel=1e-7)
    # Together: tilting the counts' predictor moves that of the zeros by the covariance.
    for rho in (-0.9, 0.9):
        covariance = sd**2 * np.array([[1.0, rho], [rho, 1.0]])
        tilted = w @ scipy.special.expit(-(eta[1, 0] + rho * sd**2 + sd * z))
        found = normal_average(fit, "response", eta, covariance[None])[0, 0]
        assert found == pytest.approx(tilted * np.exp(eta[0, 0] + 0.5 * sd**2), rel=1e-6)


def test_intervals_of_sampled_levels_are_about_their_averages():
    fit = fitted("zero_inflated_poisson")
    new = pd.DataFrame({"x": [0.5], "g": ["new"], "h": [0]})
    found = fit.predict(new, interval="confidence", new_levels="sample")
    assert found["estimate"].iloc[0] == fit.predict(new, new_levels="sample").iloc[0]
