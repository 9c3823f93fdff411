"""Rows predicted from all others by several predictors, against the other rows' own posterior."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import lmeformula as lf
from lmeformula.checking.calibration import calibration, transforms
from lmeformula.checking.leave_one_out import _downdated, leave_one_out
from lmeformula.prediction.predictive_density import row_log_density
from lmeformula.prediction.predictor import linear_predictor
from lmeformula.prediction.row_slopes import row_slopes
from tests.checking.test_several_held_out import data, fit_of


def held(fit: lf.Fit) -> lf.Fit:
    """The fit with its parameters known."""
    p = fit.model.space.num_fixed
    return replace(fit, fixed_vcov=1e-14 * np.eye(p), param_vcov=1e-14 * fit.param_vcov)


def without_each_row(fit: lf.Fit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(K, n) means, (n, K, K) covariances of predictors and (n,) densities, from each level's other rows.

    By sums over 121 points along each of a level's two effects, eight standard deviations apart.
    """
    design, family, own = fit.model.design, fit.model.family, fit.params.own
    (block,), (covariance,) = design.terms, fit.params.covariances
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    axis = np.linspace(-6.0, 6.0, 121)
    z = np.stack(np.meshgrid(*[axis] * len(root), indexing="ij"), axis=-1).reshape(-1, len(root))
    effects, response = z @ root.T, family.response(design)
    base, n, k = linear_predictor(fit, design, with_random=False), design.n, design.num_predictors
    means, spread, logs = np.empty((k, n)), np.empty((n, k, k)), np.empty(n)
    for level in range(len(block.levels)):
        rows = np.flatnonzero(block.index == level)
        eta = np.repeat(base[:, rows, None], len(z), axis=2)
        for column, predictor in enumerate(block.predictors):
            eta[predictor] += effects[:, column] * block.values[rows, column, None]
        each = row_log_density(family, tuple(array[rows] for array in response), own, eta)
        together = each.sum(axis=0) - 0.5 * (z**2).sum(axis=1)
        for place, row in enumerate(rows):
            mass = np.exp(together - each[place] - (together - each[place]).max())
            mass /= mass.sum()
            logs[row] = np.log(mass @ np.exp(each[place]))
            means[:, row] = eta[:, place] @ mass
            away = eta[:, place] - means[:, row, None]
            spread[row] = (away * mass) @ away.T
    return means, spread, logs


@pytest.mark.parametrize("name", ["gaussian", "zero_inflated_poisson", "cumulative"])
def test_one_factor_is_exact_given_the_parameters(name):
    fit = fit_of(name)
    means, spread, logs = without_each_row(fit)
    known = held(fit)
    found = leave_one_out(known)
    sds = np.sqrt(np.einsum("nkk->kn", spread))
    apart = np.divide(found.eta - means, sds, out=np.zeros_like(means), where=sds > 1e-6)
    assert np.abs(apart).max() < 0.01
    scale = np.maximum(np.einsum("kn,ln->nkl", sds, sds), 1e-8)
    np.testing.assert_allclose((found.variances - spread) / scale, 0.0, atol=0.01)
    # The density of the row by the same points.
    family, response = fit.model.family, fit.model.family.response(fit.model.design)
    density = np.zeros(fit.nobs)
    for eta, weights in found.points():
        density += weights * np.exp(
            row_log_density(family, response, fit.params.own, eta[:, :, None])[:, 0]
        )
    np.testing.assert_allclose(np.log(density), logs, atol=0.01)


def test_a_row_is_taken_out_as_matrices_say():
    """(V^-1 + H)^-1 and its mean, with inverses written out, of any moves and third derivatives."""
    fit, rng = many_rows(), np.random.default_rng(6)
    eta = linear_predictor(fit, fit.model.design)
    roots = 0.2 * rng.normal(size=(240, 2, 2))
    spread, moved = roots @ roots.transpose(0, 2, 1), 0.3 * rng.normal(size=(2, 240))
    thirds = rng.normal(size=(240, 2, 2, 2))
    thirds = sum(thirds.transpose(0, *order) for order in permutations((1, 2, 3)))
    found = _downdated(fit, eta, moved, thirds, spread, 0.5 * spread)
    response = fit.model.family.response(fit.model.design)
    slopes = row_slopes(fit.model.family, response)(eta, fit.params.own)
    compared = 0
    for row in range(240):
        V, H = spread[row], slopes.second[row]
        precision = np.linalg.inv(V) + H
        if np.linalg.eigvalsh(precision)[0] < 0.1:
            continue
        without = np.linalg.inv(precision)
        pulled = 0.5 * np.einsum("kab,ab->k", thirds[row], V)
        apart = np.linalg.solve(np.eye(2) + V @ H, moved[:, row] - V @ pulled)
        mean = eta[:, row] - without @ slopes.first[row] + apart
        np.testing.assert_allclose(found.variances[row], without, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(found.eta[:, row], mean, rtol=1e-6, atol=1e-8)
        compared += 1
    assert compared > 200


def test_errors_of_the_parameters_move_no_row_to_where_it_is_next_to_impossible():
    """Levels of a few rows, one with a small scale far out: it had been predicted at -4.4 of -0.34 +- 0.5."""
    rng = np.random.default_rng(3)
    g, x, _ = rng.integers(0, 30, 300), rng.normal(size=300), rng.normal(size=300)
    u = rng.normal(size=(30, 2)) @ np.array([[0.7, 0.1], [0.0, 0.3]])
    y = 0.5 + 0.4 * x + u[g, 0] + np.exp(-0.2 + 0.3 * x + u[g, 1]) * rng.normal(size=300)
    formulas = {"mu": "y ~ x + (1 | p | g)", "sigma": "~ x + (1 | p | g)"}
    fit = lf.fit(formulas, pd.DataFrame({"g": g, "x": x, "y": y}), method="laplace")
    found, (means, spread, _) = leave_one_out(fit), without_each_row(fit)
    sds = np.sqrt(np.einsum("nkk->kn", spread))
    assert np.abs((found.eta - means) / sds).max() < 1.0
    assert (np.einsum("nkk->kn", found.variances) > 0.8 * sds**2).all()


@cache
def many_rows() -> lf.Fit:
    """Twelve levels of twenty rows: likelihoods of a level's other rows that are near normal."""
    rng = np.random.default_rng(2)
    g, x = np.arange(240) % 12, rng.normal(size=240)
    mu, log_sigma = 0.5 * x + 0.7 * rng.normal(size=12)[g], -0.5 + 0.3 * rng.normal(size=12)[g]
    frame = pd.DataFrame({"g": g, "x": x, "y": mu + np.exp(log_sigma) * rng.normal(size=240)})
    formulas = {"mu": "y ~ x + (1 | p | g)", "sigma": "~ 1 + (1 | p | g)"}
    return lf.fit(formulas, frame, method="laplace")


def test_normal_predictors_are_near_where_there_are_no_points(monkeypatch):
    """As of several factors: matrices are taken out of the joint normal distribution of a row's predictors."""
    known = held(many_rows())
    means, spread, _ = without_each_row(many_rows())
    monkeypatch.setattr("lmeformula.checking.leave_one_out.level_nodes", lambda fit: None)
    found = leave_one_out(known)
    assert not found.nodes.size
    sds = np.sqrt(np.einsum("nkk->kn", spread))
    seen = linear_predictor(known, known.model.design)
    apart, before = np.abs(found.eta - means) / sds, np.abs(seen - means) / sds
    # Rows far out say what is far from normal; of the others the other rows' skewness is left.
    assert np.quantile(apart, 0.5) < 0.03
    assert np.quantile(apart, 0.9) < 0.15
    assert np.quantile(apart, 0.9) < 0.3 * np.quantile(before, 0.9)
    ratio = np.einsum("nkk->kn", found.variances) / sds**2
    # Of which most is between the covariance at a mode and that of all.
    assert np.quantile(np.abs(np.log(ratio)), 0.9) < 0.25


# ---- calibration


@cache
def true_scale(seed: int = 3) -> lf.Fit:
    """500 rows of 100 levels, so that each row weighs in the prediction of itself."""
    rng = np.random.default_rng(seed)
    g, x = np.arange(500) % 100, rng.normal(size=500)
    mu, log_sigma = 0.5 * x + rng.normal(size=100)[g], 0.4 * x + 0.3 * rng.normal(size=100)[g]
    frame = pd.DataFrame({"g": g, "x": x, "y": mu + np.exp(log_sigma) * rng.normal(size=500)})
    formulas = {"mu": "y ~ x + (1 | g)", "sigma": "~ x + (1 | g)"}
    return lf.fit(formulas, frame, method="laplace")


def test_transforms_are_uniform_where_the_model_is_true():
    """A Kolmogorov-Smirnov test of nearly independent numbers; those of fitted values are far too central."""
    fit = true_scale()
    found = transforms(fit, leave_one_out(fit), seed=1)
    assert stats.kstest(found, "uniform").pvalue > 0.01
    error = np.sqrt(2 / 500)
    assert abs(stats.norm.ppf(found).var() - 1) < 3.5 * error
    assert fit.residuals("quantile").var() < stats.norm.ppf(found).var() - 0.1


def test_a_scale_that_is_wrong_leaves_the_band():
    fit = true_scale()
    frame = pd.DataFrame(
        {"g": np.arange(500) % 100, "x": fit.model.design.X[:, 1], "y": fit.model.design.y}
    )
    wrong = lf.fit({"mu": "y ~ x + (1 | g)", "sigma": "~ 1"}, frame, method="laplace")
    right, other = calibration(fit), calibration(wrong)
    assert right.curves == ()
    assert right.heights.min() >= right.lower
    assert right.heights.max() <= right.upper
    assert (
        stats.kstest(other.pit, "uniform").statistic > stats.kstest(right.pit, "uniform").statistic
    )


@pytest.mark.parametrize("name", ["categorical", "cumulative"])
def test_chances_of_categories_have_curves(name):
    fit = fit_of(name)
    found = calibration(fit, num_bins=3, seed=1)
    assert len(found.curves) == len(set(data()["kind" if name == "categorical" else "rating"]))
    inside = [((c.observed >= c.lower) & (c.observed <= c.upper)).mean() for c in found.curves]
    # Of bands of 95 % each, ten or so.
    assert np.mean(inside) > 0.75
    total = sum((c.observed * c.rows).sum() for c in found.curves)
    assert total == pytest.approx(fit.nobs)


def test_a_calibration_is_drawn():
    import matplotlib.pyplot as plt

    ax = fit_of("gaussian").plot.calibration()
    assert ax.get_title(loc="left").startswith("Calibration (n = 112)")
    plt.close(ax.figure)
