"""Held-out rows of models with several linear predictors: densities, means and chances against brute force."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.linalg import block_diag

import lmeformula as lf
from lmeformula.checking.cross_validate import _fit_rows
from lmeformula.checking.folds import check_folds, make_folds
from lmeformula.design.select import select_rows
from lmeformula.errors import ModelError
from lmeformula.prediction.normal_points import normal_average, normal_points, row_roots
from lmeformula.prediction.normal_posterior import unseen_covariances
from lmeformula.prediction.posterior import normal_posterior_of
from lmeformula.prediction.predictive_density import log_predictive, row_log_density
from lmeformula.prediction.predictor import linear_predictor
from lmeformula.prediction.row_slopes import row_slopes
from lmeformula.prediction.scores import category_chances
from tests.likelihood.laplace.test_several import simulated

NUM_DRAWS = 200_000

CASES = {
    "gaussian": ({"mu": "y ~ x + (1 | p | g)", "sigma": "~ x + (1 | p | g)"}, "gaussian"),
    "zero_inflated_poisson": (
        {"mu": "count ~ x + (1 | g)", "zi": "~ x"},
        "zero_inflated_poisson",
    ),
    "categorical": ("kind ~ x + (1 | g)", "categorical"),
    "cumulative": ({"mu": "rating ~ x + (1 | g)", "disc": "~ x"}, "cumulative"),
}


@cache
def data() -> pd.DataFrame:
    return pd.DataFrame(simulated(3))


@cache
def fit_of(name: str) -> lf.Fit:
    formulas, family = CASES[name]
    return lf.fit(formulas, data(), family, method="laplace")


def wide(k: int, n: int, scale: float, seed: int = 5) -> np.ndarray:
    """(n, K, K) covariances of correlated predictors, and of some that are singular."""
    roots = np.random.default_rng(seed).normal(size=(n, k, k)) * scale / np.sqrt(k)
    roots[0, :, 0] = 0.0
    return roots @ roots.transpose(0, 2, 1)


def drawn(eta: np.ndarray, covariance: np.ndarray, seed: int) -> np.ndarray:
    """(K, m) predictors of a row."""
    values, vectors = np.linalg.eigh(covariance)
    z = np.random.default_rng(seed).standard_normal((len(eta), NUM_DRAWS))
    return eta[:, None] + vectors @ (np.sqrt(np.maximum(values, 0.0))[:, None] * z)


@pytest.mark.parametrize("scale", [0.2, 1.0])
@pytest.mark.parametrize("name", CASES)
def test_densities_and_means_are_averages_over_joint_draws(name, scale):
    """Within 4.5 standard errors of 200,000 draws of each row's predictors."""
    fit = fit_of(name)
    family, own, count = fit.model.family, fit.params.own, 6
    response = tuple(array[:count] for array in family.response(fit.model.design))
    eta = linear_predictor(fit, fit.model.design)[:, :count]
    spread = wide(len(eta), count, scale)
    found = log_predictive(fit, response, eta, spread)
    assert found.error < 1e-3
    means = None if name == "categorical" else normal_average(fit, "response", eta, spread)[:, 0]
    for i in range(count):
        there = drawn(eta[:, i], spread[i], i)
        row = tuple(array[i : i + 1] for array in response)
        each = np.exp(row_log_density(family, row, own, there[:, None])[0])
        error = each.std() / np.sqrt(NUM_DRAWS)
        assert abs(each.mean() - np.exp(found.values[i])) < 4.5 * error + 1e-9
        if means is not None:
            values = family.mean(there, own)
            error = values.std() / np.sqrt(NUM_DRAWS)
            assert abs(values.mean() - means[i]) < 4.5 * error + 1e-9


def test_a_normal_row_of_known_scale_has_the_closed_form():
    """Of a scale that does not vary the average over the mean is normal; far out and beside wide means, too."""
    fit = fit_of("gaussian")
    y = np.array([0.0, 4.0, 30.0, -2.0])
    eta = np.array([[0.0, 0.5, 1.0, -2.0], [0.0, -3.0, 0.5, 1.0]])
    spread = np.zeros((4, 2, 2))
    spread[:, 0, 0] = [0.0, 0.3, 25.0, 4.0]
    found = log_predictive(fit, (y, np.ones(4)), eta, spread).values
    sds = np.sqrt(spread[:, 0, 0] + np.exp(2 * eta[1]))
    np.testing.assert_allclose(found, stats.norm.logpdf(y, eta[0], sds), atol=1e-6)


@pytest.mark.parametrize("k", [4, 5])
def test_many_predictors_are_drawn_with_the_error_that_is_said(k):
    """Of categories of which the first predictor alone is uncertain, by quadrature over that."""
    rng = np.random.default_rng(k)
    n = 300
    frame = pd.DataFrame(
        {"x": rng.normal(size=n), "g": rng.integers(8, size=n), "kind": np.arange(n) % (k + 1)}
    )
    frame["kind"] = frame["kind"].astype(str)
    fit = lf.fit("kind ~ x + (1 | g)", frame, "categorical", method="laplace")
    family, count = fit.model.family, 12
    response = tuple(array[:count] for array in family.response(fit.model.design))
    eta = linear_predictor(fit, fit.model.design)[:, :count]
    spread = np.zeros((count, k, k))
    spread[:, 0, 0] = 1.5
    found = log_predictive(fit, response, eta, spread)
    assert 0.0 < found.error < 0.01
    z, weights = np.polynomial.hermite_e.hermegauss(60)
    chances = np.zeros((count, k + 1))
    for node, weight in zip(z, weights / weights.sum(), strict=True):
        moved = eta.copy()
        moved[0] += np.sqrt(1.5) * node
        chances += weight * family.probabilities(moved, np.zeros(0))
    codes = response[0].astype(int)
    expected = np.log(chances[np.arange(count), codes])
    assert abs((found.values - expected).sum()) < 5 * found.error
    total = sum(w * family.probabilities(at, np.zeros(0)) for at, w in normal_points(eta, spread))
    np.testing.assert_allclose(total, chances, atol=2e-3)


def test_roots_are_of_their_covariances_in_any_unit():
    units = np.array([1e6, 1e-6, 1.0])
    covariances = wide(3, 20, 1.0)
    for scale in (np.ones(3), units):
        both = covariances * np.outer(scale, scale)
        roots = row_roots(both)
        again = roots @ roots.transpose(0, 2, 1)
        np.testing.assert_allclose(
            again / np.outer(scale, scale), covariances, rtol=1e-9, atol=1e-12
        )


def test_slopes_of_rows_are_differences_of_their_densities():
    fit = fit_of("zero_inflated_poisson")
    family, own = fit.model.family, fit.params.own
    response = family.response(fit.model.design)
    eta = linear_predictor(fit, fit.model.design)
    found, step = row_slopes(family, response)(eta, own), 1e-4

    def density(a: float, b: float) -> np.ndarray:
        moved = eta + step * np.array([[a], [b]])
        return row_log_density(family, response, own, moved[:, :, None])[:, 0]

    first = np.column_stack([density(1, 0) - density(-1, 0), density(0, 1) - density(0, -1)])
    np.testing.assert_allclose(found.first, first / (2 * step), atol=1e-5)
    mixed = density(1, 1) - density(1, -1) - density(-1, 1) + density(-1, -1)
    np.testing.assert_allclose(found.second[:, 0, 1], mixed / (4 * step**2), atol=1e-4)


# ---- covariances of predictors


@pytest.mark.parametrize("name", CASES)
def test_covariances_are_those_of_the_dense_equations(name):
    """Of fixed effects and effects together, from (Z'WZ + Psi^-1)^-1 written out over pairs of predictors."""
    fit = fit_of(name)
    design, k = fit.model.design, fit.model.design.num_predictors
    n, eta = design.n, linear_predictor(fit, fit.model.design)
    slopes = row_slopes(fit.model.family, fit.model.family.response(design))
    W = -slopes(eta, fit.params.own).second
    columns = np.eye(k)[list(design.column_predictors)]
    X = np.einsum("np,pk->nkp", design.X, columns)
    vcov = fit.fixed_vcov
    if name == "cumulative":
        # Thresholds are the origin of the first predictor: their mean moves as one more coefficient.
        location = np.broadcast_to(-np.eye(k)[0][:, None], (n, k, 1))
        X = np.concatenate([X, location], axis=2)
        vcov = None
    columns, roots = [], []
    for block, covariance in zip(design.terms, fit.params.covariances, strict=True):
        q = len(block.columns)
        Z = np.zeros((n, k, len(block.levels) * q))
        for column, predictor in enumerate(block.predictors):
            Z[np.arange(n), predictor, block.index * q + column] = block.values[:, column]
        columns.append(Z)
        # A covariance may be singular.
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        roots.append(np.kron(np.eye(len(block.levels)), root))
    Z, root = np.concatenate(columns, axis=2), block_diag(*roots)
    inner = root.T @ np.einsum("nai,nab,nbj->ij", Z, W, Z) @ root
    inverse = root @ np.linalg.solve(np.eye(len(root)) + inner, root.T)
    posterior = normal_posterior_of(fit)
    if vcov is None:
        vcov = posterior.fixed_vcov
        assert len(vcov) == len(fit.fixed_vcov) + 1
    crossed = inverse @ np.einsum("nai,nab,nbp->ip", Z, W, X)
    t = X - np.einsum("nai,ip->nap", Z, crossed)
    expected = np.einsum("nap,pq,nbq->nab", t, vcov, t)
    expected += np.einsum("nai,ij,nbj->nab", Z, inverse, Z)
    found = posterior.covariances(design)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)


def test_the_origin_of_covariates_does_not_matter_to_chances_with_a_scale():
    frame = data()
    far = frame.assign(x=frame["x"] + 50.0)
    formulas = {"mu": "rating ~ x + (1 | g)", "disc": "~ h"}
    here = lf.fit(formulas, frame, "cumulative", method="laplace")
    there = lf.fit(formulas, far, "cumulative", method="laplace")
    np.testing.assert_allclose(
        category_chances(here, frame), category_chances(there, far), atol=2e-4
    )


# ---- cross-validation


@pytest.mark.parametrize("by", [None, "g"])
def test_a_scale_of_one_coefficient_differs_by_what_its_error_does(by):
    """The density of the plain model, averaged over the logarithm of its sigma, whose error is estimated."""
    one = lf.fit("y ~ x + (1 | g)", data())
    two = lf.fit({"mu": "y ~ x + (1 | g)", "sigma": "~ 1"}, data(), method="laplace")
    plain = one.cross_validate(3, by=by, seed=2)
    found = two.cross_validate(plain.folds)
    np.testing.assert_allclose(found.predicted, plain.predicted, rtol=1e-4, atol=1e-5)
    z, weights = np.polynomial.hermite_e.hermegauss(40)
    for fold in range(3):
        rest, held = (
            np.flatnonzero(plain.folds.of_row != fold),
            np.flatnonzero(plain.folds.of_row == fold),
        )
        fitted = _fit_rows(one, rest, "exact", 0, None)
        rows = select_rows(one.model.design, held)
        (mean,) = linear_predictor(fitted, rows)
        variance = normal_posterior_of(fitted).covariances(rows)
        again = _fit_rows(two, rest, "laplace", 0, None)
        spread = normal_posterior_of(again).covariances(select_rows(two.model.design, held))
        # Given its logarithm, sigma moves the mean by the covariance of the two.
        sd = np.sqrt(spread[:, 1, 1])
        slope = spread[:, 0, 1] / spread[:, 1, 1]
        left = spread[:, 0, 0] - slope * spread[:, 0, 1]
        np.testing.assert_allclose(left, variance[:, 0, 0], rtol=0.1)
        log_sigma = np.log(fitted.params.residual_sd)
        total = np.zeros(len(held))
        for node, weight in zip(z, weights / weights.sum(), strict=True):
            away = sd * node
            sds = np.sqrt(left + np.exp(2 * (log_sigma + away)))
            total += weight * stats.norm.pdf(data()["y"].to_numpy()[held], mean + slope * away, sds)
        # The two fits agree to 1e-5 of the estimates.
        np.testing.assert_allclose(found.log_densities[held], np.log(total), atol=2e-3)


def test_held_out_levels_draw_linked_effects_together():
    """By brute force: effects of a new level drawn from their covariance, fixed effects from theirs."""
    fit = fit_of("gaussian")
    folds = make_folds(fit, 2, by="g", seed=3)
    found = fit.cross_validate(folds)
    held = np.flatnonzero(folds.of_row == 1)[:6]
    again = _fit_rows(fit, np.flatnonzero(folds.of_row != 1), "laplace", 0, None)
    frame, rng = data().iloc[held], np.random.default_rng(8)
    covariance = again.params.covariances[0]
    assert abs(covariance[0, 1]) > 0.01
    effects = rng.multivariate_normal(np.zeros(2), covariance, NUM_DRAWS)
    beta = rng.multivariate_normal(again.params.beta, again.fixed_vcov, NUM_DRAWS)
    for place, (x, y) in enumerate(zip(frame["x"], frame["y"], strict=True)):
        mu = beta[:, 0] + beta[:, 1] * x + effects[:, 0]
        log_sigma = beta[:, 2] + beta[:, 3] * x + effects[:, 1]
        each = stats.norm.pdf(y, mu, np.exp(log_sigma))
        error = each.std() / np.sqrt(NUM_DRAWS)
        assert abs(np.exp(found.log_densities[held[place]]) - each.mean()) < 4.5 * error


def test_categories_without_an_order_have_a_density_only():
    fit = fit_of("categorical")
    found = fit.cross_validate(3, seed=1)
    assert found.metrics == ("elpd",)
    assert found.ranked is None
    chances = np.exp(found.log_densities)
    assert ((chances > 0.0) & (chances < 1.0)).all()
    # Better than shares of the whole.
    shares = data()["kind"].value_counts(normalize=True)
    assert found.elpd.value > np.log(shares[data()["kind"]].to_numpy()).sum() - 5.0
    with pytest.raises(ModelError, match="metrics has 'ranked'"):
        fit.cross_validate(3, metrics="ranked")
    with pytest.raises(ModelError, match="metrics has 'rmse'"):
        fit.cross_validate(3, metrics="rmse")


def test_ordered_categories_with_a_scale_have_ranks_of_their_averaged_chances():
    fit = fit_of("cumulative")
    found = fit.cross_validate(2, by="g", seed=4)
    held = found.folds.of_row == 1
    there = lf.fit(CASES["cumulative"][0], data()[~held], "cumulative", method="laplace")
    chances = category_chances(there, data()[held])
    codes = data()["rating"].to_numpy()[held].astype(int) - 1
    at_most = np.cumsum(chances, axis=1)[:, :-1]
    was = codes[:, None] <= np.arange(at_most.shape[1])
    np.testing.assert_allclose(found.ranked[held], ((at_most - was) ** 2).sum(axis=1), rtol=1e-4)
    expected = np.log(chances[np.arange(len(codes)), codes])
    np.testing.assert_allclose(found.log_densities[held], expected, rtol=1e-3, atol=1e-4)
    numbers = chances @ np.arange(1.0, chances.shape[1] + 1.0)
    np.testing.assert_allclose(found.predicted[held], numbers, rtol=1e-4)


@pytest.mark.parametrize("name", ["categorical", "cumulative"])
def test_chances_of_new_rows_are_averages_over_joint_draws(name):
    fit = fit_of(name)
    new = pd.DataFrame({"x": [0.0, 1.0], "g": ["0", "new"]}).assign(g=[0, 99])
    found = category_chances(fit, new)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    rows = fit.model.design.rebuild(new)
    eta = linear_predictor(fit, rows)
    spread = normal_posterior_of(fit).covariances(rows)
    spread += unseen_covariances(fit, rows)
    assert spread[1, 0, 0] > spread[0, 0, 0]
    for i in range(2):
        each = fit.model.family.probabilities(drawn(eta[:, i], spread[i], i), fit.params.own)
        error = each.std(axis=0) / np.sqrt(NUM_DRAWS)
        assert (np.abs(each.mean(axis=0) - found[i]) < 4.5 * error).all()


def test_folds_may_leave_columns_that_predictors_share():
    """The same column in two formulas is no column too many."""
    fit = fit_of("gaussian")
    check_folds(fit, make_folds(fit, 2, seed=1))
    frame = data().assign(only=(np.arange(len(data())) < 5).astype(float))
    lone = lf.fit({"mu": "y ~ x + (1 | g)", "sigma": "~ only"}, frame, method="laplace")
    with pytest.raises(ModelError, match="do not determine the fixed effects"):
        lone.cross_validate((frame["only"] == 1).astype(str).to_numpy())
