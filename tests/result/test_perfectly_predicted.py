"""After a fit that predicts some rows perfectly: numbers or nan, without a warning or a loop without end."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import lmeformula as lf

FAMILIES = ("bernoulli", "binomial", "poisson", "cumulative")


@functools.cache
def separated(family: str) -> lf.Fit:
    """A category, or the sign of x, tells some responses."""
    rng = np.random.default_rng(0)
    g, x = np.repeat(np.arange(10), 6), rng.normal(size=60)
    up = x > 0
    data = {"x": x, "g": g, "a": np.where(up, "p", "q"), "t": np.full(60, 5)}
    data["y"] = {
        "bernoulli": up.astype(int),
        "binomial": np.where(up, 5, 0),
        "poisson": np.where(up, rng.poisson(3, 60), 0),
        "cumulative": 1 + up + (x > 1),
    }[family]
    left = "y | trials(t)" if family == "binomial" else "y"
    right = "a" if family == "poisson" else "x"
    fit = lf.fit(f"{left} ~ {right} + (1 | g)", data, family, method="laplace")
    assert fit.outcome is lf.Outcome.SEPARATION
    return fit


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["pearson", "deviance", "quantile", "response"])
def test_residuals_are_numbers(family, kind):
    fit = separated(family)
    if (family, kind) == ("cumulative", "deviance"):
        return
    assert np.isfinite(fit.residuals(kind)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_met_has_no_pearson_residual(family):
    fit = separated(family)
    met = fit.residuals("response") == 0.0
    assert (fit.residuals("pearson")[met] == 0.0).all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("interval", ["confidence", "prediction"])
def test_intervals_are_numbers_around_the_estimate_or_not_known(family, interval):
    fit = separated(family)
    far = {"x": [-800.0, 0.1, 800.0], "g": [0, 1, 2], "t": [5] * 3, "a": ["p", "q", "p"]}
    for data in (None, far):
        frame = fit.predict(data, interval=interval)
        assert np.isfinite(frame["estimate"]).all()
        assert (frame["lower"].isna() == frame["upper"].isna()).all()
        assert not (frame["lower"] > frame["upper"]).any()


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_checks_are_made(family):
    assert str(separated(family).check(seed=1))


def test_rows_without_a_predictor_are_drawn_as_nan():
    """A sampler that rejects draws would go on without end."""
    from lmeformula.result.distribution import draw_rows

    fit, eta = separated("poisson"), np.array([[0.0, np.nan, 1.0]])
    drawn = draw_rows(fit, eta, (np.zeros(3),), np.random.SeedSequence(1))
    assert np.isnan(drawn).tolist() == [[False, True, False]]
