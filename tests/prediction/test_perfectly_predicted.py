"""After a fit that predicts some rows perfectly: numbers or nan, without a warning or a loop without end."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.checking.calibration import calibration
from lmeformula.errors import ModelError

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
    from lmeformula.prediction.distribution import draw_rows

    fit, eta = separated("poisson"), np.array([[[0.0, np.nan, 1.0]]])
    drawn = draw_rows(fit, eta, (np.zeros(3),), np.random.SeedSequence(1))
    assert np.isnan(drawn).tolist() == [[False, True, False]]


@functools.cache
def beside() -> lf.Fit:
    """The first level of a tells that the response is yes; b does not."""
    rng = np.random.default_rng(2)
    g, a, b = np.repeat(np.arange(10), 9), np.tile(list("pqr"), 30), np.array(["u", "v"])
    b = b[rng.integers(2, size=90)]
    y = (a == "p") | (rng.uniform(size=90) < np.where(b == "u", 0.35, 0.65))
    data = {"y": y.astype(int), "a": a, "b": b, "g": g}
    fit = lf.fit("y ~ a + b + (1 | g)", data, "bernoulli", method="laplace")
    assert fit.outcome is lf.Outcome.SEPARATION
    return fit


def test_what_does_not_rest_on_endless_coefficients_has_its_errors():
    """Levels of a are each a difference from an endless one; the coefficient of b is not."""
    fit = beside()
    z = (fit.fixef["b[T.v]"] / fit.stderr["b[T.v]"]) ** 2
    tests = fit.joint_tests().set_index("term")
    assert tests.loc["b", "statistic"] == pytest.approx(z, rel=1e-9)
    assert tests.loc["a", "df1"] == 2
    assert np.isnan(tests.loc["a", "p_value"])
    wald = fit.drop1("F").set_index("term")
    assert wald.loc["b", "statistic"] == pytest.approx(z, rel=1e-9)
    assert list(wald["df1"]) == [2, 1]
    contrast = fit.emmeans("b").contrasts().to_frame()
    assert contrast["std_error"][0] == pytest.approx(fit.stderr["b[T.v]"], rel=1e-9)
    assert fit.emmeans("a").contrasts().to_frame()["std_error"].isna().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_averages_are_numbers_or_not_known_where_intervals_are_not(family):
    fit = separated(family)
    unknown = fit.predict(interval="confidence")["lower"].isna()
    assert unknown.any()
    np.testing.assert_array_equal(fit.predict(averaged=True).isna(), unknown)


def test_folds_that_are_predicted_perfectly_are_scored_at_the_estimates():
    fit = beside()
    found = fit.cross_validate(2, seed=1)
    assert "separation" in found.outcomes
    assert np.isfinite(found.totals()["estimate"]).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_left_out_are_refused_by_the_names_of_endless_coefficients(family):
    fit = separated(family)
    with pytest.raises(ModelError, match="no finite estimate"):
        calibration(fit)


@functools.cache
def without_zeros(formulas: bool) -> lf.Fit:
    """Counts with fewer zeros than Poisson's: the chance of zeros of their own ends at nothing."""
    rng = np.random.default_rng(4)
    g, x = np.repeat(np.arange(10), 8), rng.normal(size=80)
    a = np.array(list("pq"))[rng.integers(2, size=80)]
    y = rng.binomial(4, 1.0 / (1.0 + np.exp(-0.3 * x - 0.4 * rng.normal(size=10)[g])))
    mean = "y ~ a + x + (1 | g)"
    data = {"y": y, "a": a, "x": x, "g": g}
    asked = {"mu": mean, "zi": "~ 1"} if formulas else mean
    fit = lf.fit(asked, data, "zero_inflated_poisson", method="laplace")
    assert fit.outcome is lf.Outcome.BOUNDARY
    return fit


@pytest.mark.parametrize(
    "work",
    [
        lambda fit: fit.predict(interval="confidence"),
        lambda fit: fit.predict(interval="confidence", re_form="NA"),
        lambda fit: fit.predict(averaged=True),
        lambda fit: fit.emmeans("a", kind="mean").to_frame()[["std_error", "conf_low"]],
        lambda fit: fit.joint_tests().query("df1 > 0")["p_value"],
        lambda fit: [len(str(fit.check(seed=1))) > 0],
    ],
    ids=["intervals", "of the population", "averages", "means", "tests", "check"],
)
def test_a_predictor_that_ended_at_nothing_is_as_a_number_that_did(work):
    """Means do not move with it there; the two ends differ by 1e-9 or so, and averages are by other rules."""
    found, expected = (np.asarray(work(without_zeros(each)), float) for each in (True, False))
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_predictor_without_errors_takes_none_from_the_others():
    frame = without_zeros(True).predict(interval="confidence", kind="link")
    assert np.isfinite(frame["mu"]).all(axis=None)
    assert frame["zi"]["lower"].isna().all()
