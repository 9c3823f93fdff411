"""The ordered beta distribution: SciPy's densities, glmmTMB's fit, quadrature, and shares without an end."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import stats
from scipy.special import expit

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.family import family, log_density
from lmeformula.family.ordered_beta import _predictor, response_arrays

ORDERED_BETA = family("ordered_beta")
OWN = np.array([5.0, -1.8, 2.2])


def expected(y: float, eta: float, own: np.ndarray) -> float:
    """The chance of an end, the density between, as the paper has them."""
    of_one, above = expit(eta - own[2]), expit(eta - own[1])
    if y in (0.0, 1.0):
        return float(of_one if y else 1.0 - above)
    mean = expit(eta)
    return float((above - of_one) * stats.beta(own[0] * mean, own[0] * (1.0 - mean)).pdf(y))


@pytest.mark.parametrize("own", [OWN, np.array([0.7, 0.4, 0.5]), np.array([300.0, -9.0, 8.0])])
def test_density_and_chances(own):
    y, eta = (part.ravel() for part in np.meshgrid([0.0, 0.04, 0.5, 0.97, 1.0], [-3.0, 0.3, 2.0]))
    given = tuple(tf.constant(part) for part in response_arrays(y))
    parameters = tuple(tf.constant(value) for value in own)
    found = np.exp(
        np.ravel(log_density(ORDERED_BETA, tf.constant(eta[:, None]), given, parameters))
    )
    right = [expected(*each, own) for each in zip(y, eta, strict=True)]
    np.testing.assert_allclose(found, right, rtol=1e-9)
    rows = ORDERED_BETA.distribution(tf.constant(eta), given, parameters)
    np.testing.assert_allclose(np.exp(rows.log_prob(y)), right, rtol=1e-9)
    np.testing.assert_allclose(rows.mean(), ORDERED_BETA.mean(eta, own), rtol=1e-12)
    for place, (value, at) in enumerate(zip(y, eta, strict=True)):
        mean, above, of_one = expit(at), expit(at - own[1]), expit(at - own[2])
        inner = stats.beta(own[0] * mean, own[0] * (1.0 - mean)).cdf(value)
        chance = 1.0 if value == 1.0 else 1.0 - above + (above - of_one) * inner
        assert float(rows.cdf(y)[place]) == pytest.approx(chance, rel=1e-10)


def test_far_out_the_density_keeps_its_digits():
    """Where the cuts nearly meet, and where one end is all but certain."""
    own = tuple(tf.constant(value, tf.float64) for value in (5.0, 0.3, 0.3 + 1e-12))
    eta = tf.constant([[0.1], [40.0], [-40.0], [700.0]], tf.float64)
    y = np.array([0.5, 0.0, 1.0, 1.0])
    found = np.ravel(log_density(ORDERED_BETA, eta, response_arrays(y), own))
    share = expit(0.1 - 0.3) * expit(0.3 - 0.1)
    mean = expit(0.1)
    # The distance of the cuts has four digits.
    inside = np.log(share * 1e-12) + stats.beta(5 * mean, 5 - 5 * mean).logpdf(0.5)
    np.testing.assert_allclose(found[0], inside, atol=1e-3)
    np.testing.assert_allclose(found[1:], [-39.7, -40.3, 0.0], atol=1e-9)


def test_a_mean_has_its_predictor():
    eta = np.linspace(-30.0, 30.0, 61)
    for own in (OWN, np.array([2.0, -1e4, 1e4]), np.array([2.0, 1.0, 1.1])):
        mean = ORDERED_BETA.mean(eta, own)
        known = (mean > 1e-11) & (mean < 1 - 1e-11)
        again = ORDERED_BETA.mean(_predictor(mean, own), own)
        np.testing.assert_allclose(again[known], mean[known], rtol=1e-9)


@cache
def table() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    n = 200
    g, x = np.repeat(np.arange(20), 10), np.round(rng.normal(size=n), 3)
    eta = 0.2 + 0.8 * x + 0.7 * rng.normal(size=20)[g]
    mean = expit(eta)
    y, part = rng.beta(5.0 * mean, 5.0 * (1.0 - mean)), rng.uniform(size=n)
    y = np.where(part < expit(eta + 1.8), y, 0.0)
    y = np.round(np.where(part < expit(eta - 2.2), 1.0, y), 4)
    return pd.DataFrame({"y": y, "x": x, "g": g.astype(str)})


def test_a_fit_is_that_of_glmmtmb():
    """glmmTMB 1.1.5, R 4.2: glmmTMB(y ~ x + (1 | g), family = ordbeta(), start = list(psi = c(-1, 1)))."""
    fit = lf.fit("y ~ x + (1 | g)", table(), "ordered_beta", method="laplace")
    assert fit.converged
    assert fit.loglik.value == pytest.approx(-106.609669226, abs=1e-8)
    right = [0.283683677, 0.874958280, 0.938928681, 5.37212829, -1.71971751852, 2.24995921462]
    np.testing.assert_allclose(fit.param_values, right, rtol=5e-6)
    np.testing.assert_allclose(fit.stderr, [0.22413937, 0.07716630], rtol=1e-5)
    again = fit.refit(table()["y"])
    np.testing.assert_allclose(again.param_values, fit.param_values, rtol=1e-5)


def test_monte_carlo_em_is_quadrature():
    data = table()
    y, x = data["y"].to_numpy(), data["x"].to_numpy()
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    fit = lf.fit("y ~ x + (1 | g)", data, "ordered_beta", method="mcem", seed=2, progress=False)
    assert fit.converged
    a, b, sd, *own = fit.param_values
    total = 0.0
    for level in range(20):
        rows = np.flatnonzero(np.repeat(np.arange(20), 10) == level)
        each = [
            np.prod([expected(y[i], a + b * x[i] + sd * node, np.array(own)) for i in rows])
            for node in nodes
        ]
        total += float(np.log(np.dot(each, weights) / np.sqrt(2.0 * np.pi)))
    # 61 nodes that are not adaptive are good to 1e-4 here (81: the same).
    assert fit.loglik.value == pytest.approx(total, abs=1e-4 + 4.5 * fit.loglik.mc_error)


@pytest.mark.parametrize(
    ("end", "name", "value"), [(0.0, "lower_cut", -np.inf), (1.0, "upper_cut", np.inf)]
)
def test_without_an_end_its_cut_is_at_its_limit(end, name, value):
    data = table()
    data = data[data["y"] != end]
    fit = lf.fit("y ~ x + (1 | g)", data, "ordered_beta", method="laplace")
    assert fit.converged
    assert fit.outcome is lf.Outcome.BOUNDARY
    assert fit.family_params[name] == value
    assert name in str(fit.diagnostics)
    others = [n for n in fit.param_names if n != name]
    found = dict(zip(fit.param_names, fit.param_stderr, strict=True))
    assert all(np.isfinite(found[n]) for n in others)
    assert np.isnan(found[name])
    assert np.isfinite(fit.residuals("pearson")).all()
    drawn = fit.simulate(5).to_numpy()
    assert not (drawn == end).any()
    assert (drawn == 1.0 - end).any()


def test_it_is_saved_and_served(tmp_path):
    fit = lf.fit("y ~ x + (1 | g)", table(), "ordered_beta", method="laplace")
    fit.save(tmp_path / "fit.lme")
    again = lf.load(tmp_path / "fit.lme")
    np.testing.assert_array_equal(again.param_values, fit.param_values)
    np.testing.assert_array_equal(again.predict(table()), fit.predict(table()))
    assert "prediction" in fit.export(tmp_path / "served").outputs


def test_quantile_residuals_are_normal_where_the_model_is_true():
    fit = lf.fit("y ~ x + (1 | g)", table(), "ordered_beta", method="laplace")
    many = pd.concat(
        [fit.refit(fit.simulate(1, seed=s).iloc[:, 0]).residuals("quantile") for s in range(5)]
    )
    # 1,000 residuals of five fits with some effects each.
    assert stats.kstest(many, "norm").pvalue > 1e-4


REFUSED = {
    "above": ([0.0, 0.5, 1.2, 0.3], "1 row is not; the first of them is row 2 .* with 1.2"),
    "no ends": ([0.2, 0.5, 0.7, 0.3], "has no zeros and ones"),
    "ends alone": ([0.0, 1.0, 1.0, 0.0], "has nothing but zeros and ones"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_responses_are_refused(case):
    y, says = REFUSED[case]
    data = {"y": y, "g": [1, 1, 2, 2]}
    with pytest.raises(ModelError, match=says):
        lf.compile(lf.design("y ~ 1 + (1 | g)", data), "ordered_beta")
