"""What a check finds in models with several linear predictors, and does not find where they are right."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import lmeformula as lf
from lmeformula.checking.check import _tests
from lmeformula.checking.check_groups import row_scores
from lmeformula.checking.check_scores import _drawn, projection

ROWS, LEVELS = 300, 30

FORMULAS = {
    "gaussian": {"mu": "y ~ x + (1 | p | g)", "sigma": "~ x + (1 | p | g)"},
    "zero_inflated_poisson": {"mu": "y ~ x + (1 | g)", "zi": "~ x"},
    "categorical": "y ~ x + (1 | g)",
    "cumulative": {"mu": "y ~ x + (1 | g)", "disc": "~ x"},
}
EVERY = {"curvature", "autocorrelation", "effects of g", "levels of g", "singular"}
LOOKED_AT = {
    "gaussian": EVERY | {"tails", "unequal spread", "effects of sigma_Intercept by g"},
    "zero_inflated_poisson": EVERY | {"zeros"},
    "cumulative": EVERY,
}


def drawn(family: str, seed: int, rows: int = ROWS, slope: float = 1.0) -> pd.DataFrame:
    """Rows of the models above; `slope` multiplies what x does to the second predictor."""
    rng = np.random.default_rng(seed)
    g, x = rng.integers(0, LEVELS, rows), rng.normal(size=rows)
    u = rng.normal(size=(LEVELS, 2)) @ np.array([[0.7, 0.1], [0.0, 0.3]])
    eta = 0.5 + 0.4 * x + u[g, 0]
    if family == "gaussian":
        y = eta + np.exp(-0.2 + 0.3 * slope * x + u[g, 1]) * rng.normal(size=rows)
    elif family == "zero_inflated_poisson":
        zero = 1.0 / (1.0 + np.exp(1.0 - 0.8 * slope * x))
        y = rng.poisson(np.exp(0.5 + eta)) * (rng.uniform(size=rows) > zero)
    elif family == "categorical":
        each = np.column_stack([0.0 * x, 0.3 + 0.5 * x + u[g, 0], -0.2 - 0.4 * x + 2 * u[g, 1]])
        y = np.array(list("abc"), object)[np.argmax(each + rng.gumbel(size=each.shape), axis=1)]
    else:
        latent = eta + np.exp(0.3 * slope * x) * rng.logistic(size=rows)
        y = 1 + np.digitize(latent, [-1.0, 0.5, 1.5])
    return pd.DataFrame({"g": g, "x": x, "y": y})


@cache
def fit_of(family: str, seed: int) -> lf.Fit:
    return lf.fit(FORMULAS[family], drawn(family, seed), family, method="laplace")


def lacking(family: str, frame: pd.DataFrame) -> lf.Fit:
    """The same without x in the second predictor."""
    name = {"gaussian": "sigma", "zero_inflated_poisson": "zi"}[family]
    return lf.fit({"mu": "y ~ x + (1 | g)", name: "~ 1"}, frame, family, method="laplace")


@pytest.mark.parametrize("family", FORMULAS)
def test_nothing_is_wrong_with_a_model_that_is_right(family):
    """Two data sets of each at a level of 0.001: all pass but with a chance of 0.008."""
    for seed in (1, 2):
        found = fit_of(family, seed).check(level=0.001, seed=seed)
        assert not [one for one in found.findings if one.name != "singular"], found
        looked = set(found.looked_at)
        if family == "categorical":
            assert looked >= {"curvature", "autocorrelation", "levels of g", "singular"}
            assert not looked & {"tails", "zeros", "unequal spread", "columns", "ratings"}
        else:
            assert looked == LOOKED_AT[family]
        assert found.skipped == ()


def names(fit: lf.Fit) -> dict[str, object]:
    return {finding.name: finding for finding in fit.check().findings}


def test_a_scale_that_goes_with_a_column_that_its_formula_lacks():
    found = names(lacking("gaussian", drawn("gaussian", 3, slope=1.5)))
    assert found["unequal spread"].evidence > 0.2
    assert "where x is larger" in found["unequal spread"].what
    assert "formula of sigma" in found["unequal spread"].advice
    assert found["columns"].what.startswith("sigma goes up with x, which its formula lacks")


def test_a_chance_of_zero_that_goes_with_a_column_that_its_formula_lacks():
    found = names(lacking("zero_inflated_poisson", drawn("zero_inflated_poisson", 3)))
    assert found["columns"].what.startswith("zi goes up with x, which its formula lacks")
    assert found["columns"].advice == "Give the formula of zi that column."
    # How many there are in all is what the constant is fitted to.
    assert "zeros" not in found


@pytest.mark.parametrize("slope", [0.25, -0.5])
@pytest.mark.parametrize("family", ["gaussian", "zero_inflated_poisson"])
def test_what_a_column_would_add_is_what_fits_with_it_gain(family, slope):
    """Rao's statistic and the likelihood ratio of the two fits: alike where the effect is small."""
    frame = drawn(family, 11, slope=slope)
    small = lacking(family, frame)
    name = "sigma" if family == "gaussian" else "zi"
    large = lf.fit({"mu": "y ~ x + (1 | g)", name: "~ x"}, frame, family, method="laplace")
    doubt = next(each for each in _tests(small, 0) if each.name == "columns")
    root = np.sqrt(2.0 * max(float(large.loglik) - float(small.loglik), 0.0))
    assert np.sign(doubt.evidence) == np.sign(large.fixef[f"{name}_x"])
    assert abs(abs(doubt.evidence) - root) < 0.15 * root + 0.15
    assert doubt.p_value == pytest.approx(2 * stats.norm.sf(abs(doubt.evidence)))


@cache
def dense(family: str) -> tuple[lf.Fit, np.ndarray, np.ndarray]:
    """A fit, P of its n K working responses written out, and W."""
    fit = fit_of(family, 1)
    projected = projection(fit, row_scores(fit, 0))
    n, k, _ = projected.weights.shape
    design = fit.model.design
    W = np.block([[np.diag(projected.weights[:, a, b]) for b in range(k)] for a in range(k)])
    V = np.linalg.inv(W)
    for block, covariance in zip(design.terms, fit.params.covariances, strict=True):
        Z = np.zeros((k, n, len(block.levels) * len(covariance)))
        for column, predictor in enumerate(block.predictors):
            place = block.index * len(covariance) + column
            Z[predictor, np.arange(n), place] = block.values[:, column]
        Z = Z.reshape(k * n, -1)
        V += Z @ np.kron(np.eye(len(block.levels)), covariance) @ Z.T
    X = np.vstack([design.X * (np.array(design.column_predictors) == a) for a in range(k)])
    inverse = np.linalg.inv(V)
    return fit, inverse - inverse @ X @ fit.fixed_vcov @ X.T @ inverse, W


@pytest.mark.parametrize("family", ["gaussian", "zero_inflated_poisson"])
def test_what_takes_working_responses_to_scores_is_the_matrix_written_out(family):
    fit, P, W = dense(family)
    some = np.arange(0, len(P), 37)
    found = projection(fit, row_scores(fit, 0)).given(W[:, some])
    np.testing.assert_allclose(found, P[:, some], rtol=1e-6, atol=1e-8)


def test_drawn_scores_have_the_covariance_of_the_observed():
    """Sums of squares of 100 draws of each predictor's scores, over all rows: P V P, near P."""
    fit, P, _ = dense("gaussian")
    scores = row_scores(fit, 0)
    n = fit.nobs
    one = scores._replace(first=scores.first[: 2 * n], drawn=scores.drawn[:, : 2 * n])
    found = _drawn(fit, one, projection(fit, scores), 0)
    for part in (slice(0, n), slice(n, 2 * n)):
        squares = (found[part] ** 2).sum(axis=0)
        error = squares.std(ddof=1) / np.sqrt(len(squares))
        assert abs(squares.mean() - np.trace(P[part, part])) < 4 * error
    # Of each level of g, whose effects of both predictors the draws have: the sum of its scores.
    index = fit.model.design.terms[0].index
    for start in (0, n):
        sums = np.array([found[start : start + n][index == j].sum(axis=0) for j in range(LEVELS)])
        expected = [
            P[start + np.flatnonzero(index == j)][:, start + np.flatnonzero(index == j)].sum()
            for j in range(LEVELS)
        ]
        squares = (sums**2).sum(axis=0)
        error = squares.std(ddof=1) / np.sqrt(len(squares))
        assert abs(squares.mean() - np.sum(expected)) < 4 * error


def test_heavy_tails_beside_a_scale_that_varies():
    rng = np.random.default_rng(4)
    frame = drawn("gaussian", 4, rows=500)
    sd = np.exp(-0.2 + 0.3 * frame["x"])
    effects = rng.normal(size=LEVELS)[frame["g"]]
    frame["y"] = 0.4 * frame["x"] + effects + sd * rng.standard_t(2.5, 500)
    fit = lf.fit({"mu": "y ~ x + (1 | g)", "sigma": "~ x"}, frame, method="laplace")
    found = names(fit)
    assert "tails" in found
    assert found["tails"].evidence > 1.0


def test_a_curve_of_the_scale():
    rng = np.random.default_rng(5)
    frame = drawn("gaussian", 5)
    sd = np.exp(-0.5 + 0.5 * frame["x"] ** 2)
    frame["y"] = 0.4 * frame["x"] + rng.normal(size=LEVELS)[frame["g"]] + sd * rng.normal(size=ROWS)
    fit = lf.fit({"mu": "y ~ x + (1 | g)", "sigma": "~ x"}, frame, method="laplace")
    assert names(fit)["curvature"].what.startswith("sigma bends up along x")


def test_more_zeros_than_a_count_with_a_dispersion_by_formula():
    rng = np.random.default_rng(6)
    x, g = rng.normal(size=ROWS), rng.integers(LEVELS, size=ROWS)
    mean = np.exp(2.0 + 0.3 * x + 0.3 * rng.normal(size=LEVELS)[g])
    y = rng.negative_binomial(8.0, 8.0 / (8.0 + mean)) * (rng.uniform(size=ROWS) < 0.8)
    formulas = {"mu": "y ~ x + (1 | g)", "dispersion": "~ x"}
    fit = lf.fit(formulas, {"x": x, "g": g, "y": y}, "nbinom2", method="laplace")
    doubt = next(each for each in _tests(fit, 0) if each.name == "zeros")
    assert doubt.evidence > 1.2
    assert doubt.p_value < 1e-3


def test_ratings_with_a_scale_of_their_own():
    frame = drawn("gaussian", 7)
    frame["y"] = 1.0 + np.digitize(frame["y"], [-1.0, 0.0, 1.0, 1.5])
    fit = lf.fit({"mu": "y ~ x + (1 | g)", "sigma": "~ x"}, frame, method="laplace")
    assert "ratings" in names(fit)


def test_a_fit_without_its_rows_says_what_is_left_out(tmp_path):
    fit = fit_of("zero_inflated_poisson", 1)
    again = lf.load(fit.save(tmp_path / "several.fit", data=False))
    found = again.check()
    assert found.skipped
    assert set(found.looked_at) <= {"effects of g", "singular"}


NUM_SETS = 60


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gaussian", "zero_inflated_poisson"])
def test_false_alarms_come_as_often_as_they_may(family):
    """No test below its level in more data sets than 0.999 of binomial numbers; nor any test at all."""
    below: dict[str, int] = {}
    alarms = 0
    for seed in range(100, 100 + NUM_SETS):
        fit = lf.fit(FORMULAS[family], drawn(family, seed), family, method="laplace")
        doubts = list(_tests(fit, seed))
        alarms += any(doubt.p_value < 0.05 / len(doubts) for doubt in doubts)
        for doubt in doubts:
            below[doubt.name] = below.get(doubt.name, 0) + (doubt.p_value < 0.05)
    most = stats.binom.ppf(0.999, NUM_SETS, 0.05)
    assert alarms <= most
    assert max(below.values()) <= most, below
