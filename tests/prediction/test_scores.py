"""Scores of predicted chances, and the chances themselves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.prediction.scores import category_chances, score


def data(n: int = 600, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g, x = rng.integers(20, size=n), rng.normal(size=n)
    latent = 0.8 * x + rng.normal(size=20)[g] + rng.logistic(size=n)
    return pd.DataFrame({"g": g, "x": x, "y": 1 + np.searchsorted([-1.5, 0.0, 2.0], latent)})


def test_scores_are_their_definitions():
    chances = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    found = score(chances, np.array([0, 1]))
    assert found.log_score == pytest.approx(-np.log([0.7, 0.3]).mean())
    ranked = [(0.7 - 1) ** 2 + (0.9 - 1) ** 2, 0.1**2 + (0.4 - 1) ** 2]
    np.testing.assert_allclose(found.each[:, 1], ranked)
    assert found.ranked == pytest.approx(np.mean(ranked))


def test_both_are_smallest_where_the_chances_are_true():
    """Strictly proper: expected over the categories, any other chances score worse."""
    truth = np.array([0.5, 0.3, 0.2])

    def expected(said):
        each = score(np.tile(said, (3, 1)), np.arange(3)).each
        return truth @ each

    best = expected(truth)
    for other in ([0.6, 0.2, 0.2], [0.5, 0.2, 0.3], [0.4, 0.4, 0.2]):
        assert (expected(np.array(other)) > best).all()


def test_chances_of_a_gaussian_fit_lie_between_midpoints():
    frame = data()
    fit = lf.fit("y ~ x + (1 | g)", frame, method="exact")
    new = pd.DataFrame({"x": [0.0, 1.5, 1.0], "g": [3, 7, 99]})
    found = category_chances(fit, new, [1, 2, 3, 4])
    interval = fit.predict(new, interval="prediction", level=0.5, new_levels="sample")
    sds = (interval["upper"] - interval["lower"]) / (2 * stats.norm.ppf(0.75))
    for k, midpoint in enumerate([1.5, 2.5, 3.5]):
        at_most = stats.norm.cdf((midpoint - interval["estimate"]) / sds)
        np.testing.assert_allclose(found[:, : k + 1].sum(axis=1), at_most, rtol=1e-8)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    with pytest.raises(ModelError, match="no chances of categories"):
        category_chances(fit, new)


def test_chances_of_an_ordinal_fit_average_over_the_predictor():
    frame = data()
    fit = lf.fit("y ~ x + (1 | g)", frame, "cumulative", method="laplace")
    new = pd.DataFrame({"x": [0.0, 1.5, 1.0], "g": [3, 7, 99]})
    found = category_chances(fit, new)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    link = fit.predict(new, kind="link", interval="confidence", level=0.5, new_levels="sample")
    sds = (link["upper"] - link["lower"]) / (2 * stats.norm.ppf(0.75))
    draws = np.random.default_rng(1).standard_normal((40_000, 1))
    for i in range(3):
        eta = link["estimate"].iloc[i] + sds.iloc[i] * draws[:, 0]
        each = fit.model.family.probabilities(eta, fit.params.own)
        error = each.std(axis=0) / np.sqrt(len(eta))
        assert (np.abs(each.mean(axis=0) - found[i]) < 4.5 * error).all()
