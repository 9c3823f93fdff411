"""Calibration: uniform transforms and true chances where the model is true, and not where it is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import lmeformula as lf
from lmeformula.checking.calibration import _band, calibration, transforms
from lmeformula.checking.leave_one_out import leave_one_out
from lmeformula.errors import ModelError
from tests.prediction.after_fit import fit_of
from tests.prediction.test_scores import data


def drawn(seed: int, family: str) -> tuple[pd.DataFrame, str]:
    """500 rows of 200 levels: few rows a level, so that each row weighs in the prediction of itself."""
    rng = np.random.default_rng(seed)
    g, x = np.arange(500) % 200, rng.normal(size=500)
    eta = 0.5 * x + rng.normal(size=200)[g]
    y = {
        "gaussian": lambda: eta + rng.normal(size=500),
        "poisson": lambda: rng.poisson(np.exp(eta)),
        "bernoulli": lambda: (rng.uniform(size=500) < 1 / (1 + np.exp(-eta))).astype(float),
        "overdispersed": lambda: rng.poisson(np.exp(eta + rng.normal(size=500))),
    }[family]()
    return pd.DataFrame({"g": g, "x": x, "y": y}), "y ~ x + (1 | g)"


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_transforms_are_uniform_where_the_model_is_true(family):
    """A Kolmogorov-Smirnov test of 500 nearly independent numbers; in-sample ones are far too central."""
    frame, formula = drawn(3, family)
    fit = lf.fit(formula, frame, family, method="auto" if family == "gaussian" else "laplace")
    found = transforms(fit, leave_one_out(fit), seed=1)
    assert stats.kstest(found, "uniform").pvalue > 0.01
    # Normal scores have variance 1, within 3.5 errors; in-sample ones less.
    error = np.sqrt(2 / 500)
    assert abs(stats.norm.ppf(found).var() - 1) < 3.5 * error
    own = leave_one_out(fit)._replace(
        eta=fit.predict(kind="link").to_numpy()[None], variances=np.zeros((500, 1, 1))
    )
    assert stats.norm.ppf(transforms(fit, own, seed=1)).var() < 1 - 3.5 * error


def test_too_narrow_predictions_leave_the_band():
    frame, formula = drawn(4, "overdispersed")
    found = calibration(lf.fit(formula, frame, "poisson", method="laplace"))
    assert found.heights.mean() == pytest.approx(1.0)
    assert found.heights[[0, -1]].max() > found.upper
    assert found.curves == ()


def test_the_band_holds_all_bins_as_often_as_it_says():
    low, high = _band(500, 20, 0.95)
    counts = np.random.default_rng(8).multinomial(500, np.full(20, 0.05), 4000)
    held = ((counts >= low) & (counts <= high)).all(axis=1).mean()
    # Whole numbers: at least the level, by no more than the next numbers give up.
    error = np.sqrt(0.95 * 0.05 / 4000)
    assert held > 0.95 - 4 * error
    tighter = ((counts > low) & (counts < high)).all(axis=1).mean()
    assert tighter < 0.95 + 4 * error


def test_chances_are_those_predicted_and_come_true_as_often_as_counted():
    frame, formula = drawn(5, "bernoulli")
    fit = lf.fit(formula, frame, "bernoulli", method="laplace")
    (curve,) = calibration(fit, num_bins=5, seed=2).curves
    assert curve.rows.tolist() == [100] * 5
    left = leave_one_out(fit)
    noise = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)[:, None]
    chance = (1 / (1 + np.exp(-(left.eta[0] + np.sqrt(left.variances[:, 0, 0]) * noise)))).mean(
        axis=0
    )
    order = np.argsort(chance)
    np.testing.assert_allclose(curve.predicted, chance[order].reshape(5, 100).mean(1), atol=1e-4)
    np.testing.assert_allclose(
        curve.observed, frame["y"].to_numpy()[order].reshape(5, 100).mean(axis=1), atol=0.02
    )
    sds = np.sqrt((chance * (1 - chance))[order].reshape(5, 100).mean(axis=1) / 100)
    width = curve.upper - curve.lower
    np.testing.assert_allclose(width, 2 * 1.96 * sds, rtol=0.12)
    assert ((curve.observed > curve.lower) & (curve.observed < curve.upper)).sum() >= 4


def test_each_category_has_a_curve_and_their_shares_are_those_of_the_data():
    frame = data()
    fit = lf.fit("y ~ x + (1 | g)", frame, "cumulative", method="laplace")
    found = calibration(fit, num_bins=6)
    assert [curve.name for curve in found.curves] == ["1", "2", "3", "4"]
    for number, curve in enumerate(found.curves, 1):
        share = (curve.rows * curve.observed).sum() / curve.rows.sum()
        assert share == pytest.approx((frame["y"] == number).mean())
    total = sum((c.rows * c.predicted).sum() for c in found.curves)
    assert total == pytest.approx(600, rel=1e-6)


def test_successes_count_by_their_trials():
    fit = fit_of("cbpp")
    (curve,) = calibration(fit, num_bins=3).curves
    frame = lf.datasets.load("cbpp")
    assert curve.rows.sum() == len(frame)
    trials = frame["size"].to_numpy(float)
    overall = frame["incidence"].sum() / trials.sum()
    assert curve.observed.min() < overall < curve.observed.max()


def test_rows_of_one_chance_stay_in_one_bin():
    fit = lf.fit("y ~ 1 + (1 | g)", data().assign(y=data()["y"] > 2), "bernoulli", method="laplace")
    even = replace(fit, modes=(np.zeros_like(fit.modes[0]),))
    (curve,) = calibration(even, num_bins=10).curves
    assert curve.rows.sum() == 600
    assert (np.diff(curve.predicted) > 0).all()


@pytest.mark.parametrize("options", [{"num_bins": 1}, {"num_bins": 2.5}, {"level": 1.0}])
def test_bad_options_are_refused(options):
    with pytest.raises(ModelError, match="Give a"):
        calibration(fit_of("cbpp"), **options)
