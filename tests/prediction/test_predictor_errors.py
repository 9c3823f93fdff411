"""Unseen levels with effects by Student's t distribution: intervals, averages, draws, against quadrature."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.special
from scipy import stats
from scipy.optimize import brentq

import lmeformula as lf
from lmeformula.prediction.predict_draws import predict_draws
from lmeformula.prediction.predictor_errors import (
    PredictorErrors,
    half_widths,
    means_over,
    weights_of,
    with_unseen,
)
from tests.prediction.student_fits import EFFECTS, at, known, t_shares

FREEDOM = [1.2, 2.0, 3.5, 30.0, 1e4]
NEW = {"g": ["new"] * 3, "x": [-1.0, 0.0, 4.0]}


def errors(variance: float, *parts: tuple[float, float]) -> PredictorErrors:
    """Of one row: a variance, and scales with degrees of freedom."""
    scales = np.array([[scale] for scale, _ in parts]).reshape(-1, 1)
    return PredictorErrors(np.array([variance]), scales, tuple(df for _, df in parts))


def beyond(at: float, variance: float, *parts: tuple[float, float]) -> float:
    """The chance of more than `at`, by the trapezoidal rule over all but one t error, which is exact."""
    (scale, df), *others = parts[::-1]
    if others:
        (further, its), *_ = others
        return float(t_shares(its) @ stats.t(df).sf((at - further * EFFECTS) / scale))
    z = np.linspace(-10.0, 10.0, 8001)
    shares = np.exp(-0.5 * z**2)
    return float(shares @ stats.t(df).sf((at - np.sqrt(variance) * z) / scale) / shares.sum())


@pytest.mark.parametrize("df", FREEDOM)
def test_weights_have_the_moments_of_a_gamma_distribution(df):
    for fineness, tolerance in ((0, 1e-8), (1, 1e-5)):
        nodes, chances = weights_of(df, fineness)
        assert chances @ nodes == pytest.approx(1.0, abs=tolerance)
        assert chances @ nodes**2 == pytest.approx(1.0 + 2.0 / df, rel=30 * tolerance)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("df", FREEDOM)
@pytest.mark.parametrize(("variance", "scale"), [(0.0, 2.0), (1.0, 0.3), (0.4, 5.0)])
def test_intervals_are_quantiles_of_the_convolution(df, variance, scale, level):
    found = half_widths(errors(variance, (scale, df)), level)[0]
    tail = 0.5 * (1.0 - level)
    assert beyond(found, variance, (scale, df)) == pytest.approx(tail, rel=1e-6)


@pytest.mark.parametrize("pair", [(1.3, 4.0), (2.0, 50.0)])
def test_two_t_errors_add_up(pair):
    parts = tuple(zip((0.7, 1.6), pair, strict=True))
    found = half_widths(errors(0.0, *parts), 0.9)[0]
    assert beyond(found, 0.0, *parts) == pytest.approx(0.05, rel=1e-4)


MEANS = {
    "logit": scipy.special.expit,
    "cloglog": lambda v: -np.expm1(-np.exp(np.minimum(v, 30.0))),
    "cauchit": lambda v: np.arctan2(1.0, -v) / np.pi,
    "root": lambda v: np.sqrt(1.0 + v**2),
}


@pytest.mark.parametrize("name", list(MEANS))
@pytest.mark.parametrize("df", FREEDOM)
@pytest.mark.parametrize(
    ("eta", "variance", "scale"),
    [(0.0, 0.0, 0.2), (-4.0, 0.0, 1.0), (3.0, 0.5, 6.0), (60.0, 0.0, 1.0)],
)
def test_means_are_integrals_over_the_convolution(name, df, eta, variance, scale):
    if name == "root" and df < 2.0:
        pytest.skip("what grows needs nodes farther out than these")
    mean = MEANS[name]
    found = means_over(
        errors(variance, (scale, df)), np.array([eta]), lambda v: np.asarray(mean(v))[:, None]
    )[0, 0]
    nodes, weights = (np.zeros(1), np.ones(1)) if not variance else hermite(variance)
    right = sum(
        w * (t_shares(df) @ mean(eta + node + scale * EFFECTS))
        for node, w in zip(nodes, weights, strict=True)
    )
    assert found == pytest.approx(right, abs=2e-6, rel=2e-6)


def hermite(variance: float) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(25)
    return np.sqrt(variance) * nodes, weights / weights.sum()


def test_a_mean_that_grows_too_fast_is_infinite():
    one = errors(0.0, (1.0, 3.0))
    at_zero = np.zeros(1)
    assert means_over(one, at_zero, lambda v: np.exp(v)[:, None])[0, 0] == np.inf
    assert np.isnan(means_over(one, at_zero, lambda v: (v**3)[:, None])[0, 0])
    square = means_over(one, at_zero, lambda v: (v**2)[:, None])[0, 0]
    assert square == pytest.approx(3.0, rel=1e-9)
    both = means_over(one, at_zero, lambda v: np.column_stack([np.exp(-v), scipy.special.expit(v)]))
    assert both[0, 0] == np.inf
    assert both[0, 1] == pytest.approx(0.5)


# ---- of fits


@pytest.mark.parametrize("df", [1.5, 4.0])
def test_prediction_intervals_of_normal_rows(df):
    fit = at("y", "gaussian", df, 1.2)
    found = fit.predict(NEW, interval="prediction", new_levels="sample", level=0.9)
    rows = np.column_stack([np.ones(3), NEW["x"]])
    variances = np.einsum("ni,ij,nj->n", rows, fit.fixed_vcov, rows) + fit.sigma**2
    for row, (low, high, variance) in enumerate(
        zip(found["lower"], found["upper"], variances, strict=True)
    ):
        middle = float(rows[row] @ fit.params.beta)
        assert middle - low == pytest.approx(high - middle)
        assert beyond(high - middle, variance, (1.2, df)) == pytest.approx(0.05, rel=1e-6)
    inner = fit.predict(NEW, new_levels="sample", interval="confidence", level=0.9)
    assert (inner["upper"] < found["upper"]).all()


def test_confidence_intervals_of_chances_are_those_of_the_predictor():
    fit = at("yes", "bernoulli", 1.8)
    found = fit.predict(NEW, interval="confidence", new_levels="sample", level=0.9)
    eta = known(fit).predict(NEW, kind="link", new_levels="population")
    rows = np.column_stack([np.ones(3), NEW["x"]])
    variances = np.einsum("ni,ij,nj->n", rows, fit.fixed_vcov, rows)
    upper = scipy.special.logit(found["upper"]) - eta
    for half, variance in zip(upper, variances, strict=True):
        assert beyond(half, variance, (1.0, 1.8)) == pytest.approx(0.05, rel=1e-6)
    right = t_shares(1.8) @ scipy.special.expit(np.asarray(eta) + EFFECTS[:, None])
    np.testing.assert_allclose(fit.predict(NEW, new_levels="sample"), right, atol=1e-7)


def test_chances_of_categories_are_averaged_and_have_intervals():
    fit = at("grade", "cumulative", 2.5)
    found = fit.predict(NEW, kind="prob", new_levels="sample")
    eta = np.asarray(fit.predict(NEW, kind="link", new_levels="population"))
    below = scipy.special.expit(fit.params.own[:, None] - eta[:, None, None] - EFFECTS)
    right = (below @ t_shares(2.5)).T
    np.testing.assert_allclose(found.iloc[:, 0], right[0], atol=1e-7)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)
    ends = fit.predict(NEW, kind="prob", interval="confidence", new_levels="sample")
    # By the delta method the slope takes the t along: without errors of the parameters it is a t quantile.
    alone = known(fit).predict(
        NEW, kind="prob", interval="confidence", new_levels="sample", level=0.8
    )
    slope = scipy.special.expit(fit.params.own[0] - eta)
    half = slope * (1 - slope) * stats.t(2.5).ppf(0.9)
    name = ends.columns[0][0]
    point = fit.predict(NEW, kind="prob", new_levels="population")[name]
    np.testing.assert_allclose(alone[name]["upper"], np.minimum(point + half, 1.0), rtol=1e-5)


def test_intervals_of_counts_exist_where_their_means_do_not():
    fit = known(at("count", "poisson", 3.0, 0.7))
    assert np.isinf(fit.predict(NEW, new_levels="sample")).all()
    found = fit.predict(
        NEW, interval="prediction", new_levels="sample", level=0.8, num_draws=10_000, seed=3
    )
    eta = np.asarray(fit.predict(NEW, kind="link", new_levels="population"))
    error = np.sqrt(0.9 * 0.1 / 10_000)
    for row in range(3):
        rates = np.exp(np.clip(eta[row] + 0.7 * EFFECTS, -50.0, 50.0))
        shares = t_shares(3.0)
        upper = found["upper"][row]
        assert shares @ stats.poisson.cdf(upper, rates) > 0.9 - 4 * error
        assert shares @ stats.poisson.cdf(upper - 1, rates) < 0.9 + 4 * error


def test_both_a_t_and_a_normal_level_may_be_new():
    fit = at("y", "gaussian", 2.2, 1.0, " + (1 | h)")
    variance = 0.36
    covariances = (fit.params.covariances[0], np.array([[variance]]))
    fit = replace(fit, params=fit.params._replace(covariances=covariances))
    new = {"g": [99], "h": [99], "x": [0.3]}
    found = known(fit).predict(new, interval="confidence", new_levels="sample", level=0.9)
    half = float((found["upper"] - found["estimate"])[0])
    assert beyond(half, variance, (1.0, 2.2)) == pytest.approx(0.05, rel=1e-6)


def test_draws_of_unseen_levels_have_the_tails():
    fit = at("y", "gaussian", 1.6, 1.3)
    draws = predict_draws(fit, NEW, num_draws=20_000, new_levels="sample", seed=2)
    effects = (draws.iloc[0] - fit.predict(NEW, new_levels="population")[0]) / 1.3
    for end in (-6.0, -1.0, 0.0, 0.4, 3.0, 20.0):
        chance = stats.t(1.6).cdf(end)
        error = np.sqrt(chance * (1 - chance) / 20_000)
        assert abs((effects <= end).mean() - chance) < 4 * error
    # The rows share a level, whose effect is one.
    apart = draws.iloc[1] - draws.iloc[0]
    np.testing.assert_allclose(apart, fit.fixef["x"], atol=1e-12)


def test_many_t_terms_at_once_are_refused():
    fit = at("y", "gaussian", 3.0)
    params = fit.params._replace(
        covariances=fit.params.covariances * 4, freedom=fit.params.freedom * 4
    )
    fresh = tuple(replace(term, index=-1 - 0 * term.index) for term in fit.model.design.terms * 4)
    rows = replace(fit.model.design, terms=fresh)
    with pytest.raises(lf.ModelError, match="more than 2 terms by Student's t"):
        with_unseen(replace(fit, params=params), rows, np.zeros(fit.nobs))


def test_brent_agrees_at_one_point():
    """A whole interval by a solver of its own."""
    right = brentq(lambda q: beyond(q, 0.7, (1.1, 2.6)) - 0.025, 0.1, 50.0, xtol=1e-12)
    assert half_widths(errors(0.7, (1.1, 2.6)), 0.95)[0] == pytest.approx(right, rel=1e-8)
