"""Toeplitz covariances: their chart and their form in TFP, and fits beside glmmTMB's and those of others."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import lmeformula as lf
from lmeformula.covariance.toeplitz import Lags, Toeplitz
from tests.simulate import differences

LEVELS, TIMES, ROWS = 50, 4, 2


@pytest.mark.parametrize("k", [2, 3, 6])
def test_factors_are_of_toeplitz_matrices_and_smooth_at_the_bounds(k):
    rng = np.random.default_rng(k)
    for angles in (rng.uniform(-1.5, 1.5, k - 1), np.append(np.pi / 2, rng.uniform(-1, 1, k - 2))):
        factor, first, second = Lags().at(angles, k)
        matrix = factor @ factor.T
        for steps in range(k):
            assert np.ptp(np.diagonal(matrix, steps)) < 1e-14
        np.testing.assert_allclose(np.diag(matrix), 1.0, rtol=1e-14)
        assert not np.triu(factor, 1).any()
        by = differences(lambda at: Lags().at(at, k)[0], angles)
        np.testing.assert_allclose(first, by, rtol=1e-7, atol=1e-8)
        by = differences(lambda at: Lags().at(at, k)[1], angles)
        np.testing.assert_allclose(second, by, rtol=1e-7, atol=1e-8)
        in_tfp = Toeplitz(homogeneous=True).tfp_factor(tf.constant(np.sin(angles)), k)
        np.testing.assert_allclose(np.abs(in_tfp), np.abs(factor), atol=1e-12)


def test_the_one_that_is_singular_comes_back():
    """Alternating signs: of partial autocorrelations but the first nothing is known."""
    signs = np.array([1.0, -1.0, 1.0, -1.0])
    structure = Toeplitz(homogeneous=True)
    theta, inside = structure.off_bounds(structure.to_free(np.outer(signs, signs)), 4, 1e-6)
    assert not inside[1:].any()
    factor = structure.cholesky(theta, 4)
    np.testing.assert_allclose(factor @ factor.T, np.outer(signs, signs), atol=1e-10)


@cache
def table() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    lags = np.array([1.0, 0.5, 0.3, -0.1])
    correlations = lags[np.abs(np.subtract.outer(range(TIMES), range(TIMES)))]
    sd = np.array([1.0, 1.5, 0.8, 1.2])
    b = rng.multivariate_normal(np.zeros(TIMES), correlations * np.outer(sd, sd), LEVELS)
    g = np.repeat(np.arange(LEVELS), TIMES * ROWS)
    t = np.tile(np.repeat(np.arange(TIMES), ROWS), LEVELS)
    x = np.round(rng.normal(size=len(g)), 3)
    eta = 1.0 + 0.5 * x + b[g, t]
    y = np.round(eta + 0.7 * rng.normal(size=len(g)), 4)
    count = rng.poisson(np.exp(0.3 * eta))
    return pd.DataFrame({"y": y, "count": count, "x": x, "g": g.astype(str), "t": t.astype(str)})


# glmmTMB 1.1.5, R 4.2: glmmTMB(y ~ x + toep(0 + t | g)), and with family = poisson of count.
OF_GLMMTMB = {
    "gaussian": (
        -601.636591313,
        [0.96142798, 0.39812439],
        [1.20340, 1.64250, 0.95339, 1.41046, 0.596, 0.233, -0.213],
    ),
    "poisson": (
        -643.820788423,
        [0.25191456, 0.15158206],
        [0.47220, 0.50268, 0.37845, 0.47709, 0.359, 0.332, -0.048],
    ),
}


@pytest.mark.parametrize("solver", ["direct", "iterative"])
@pytest.mark.parametrize("family", OF_GLMMTMB)
def test_fits_are_those_of_glmmtmb(family, solver):
    loglik, fixed, covariance = OF_GLMMTMB[family]
    response = "y" if family == "gaussian" else "count"
    method = "exact" if family == "gaussian" else "laplace"
    formula = f"{response} ~ x + toep(0 + t | g)"
    fit = lf.fit(formula, table(), family, method=method, solver=solver)
    assert fit.converged
    if solver == "direct":
        assert fit.loglik.value == pytest.approx(loglik, abs=2e-8)
    np.testing.assert_allclose(fit.fixef, fixed, rtol=2e-3 if solver == "iterative" else 2e-5)
    found = fit.param_values[2:9]
    np.testing.assert_allclose(found[:4], covariance[:4], rtol=2e-3)
    np.testing.assert_allclose(found[4:], covariance[4:], atol=2e-3)


def test_it_is_between_its_special_cases_and_the_unstructured():
    def value(structure: str) -> float:
        return float(lf.fit(f"y ~ x + {structure}", table()).loglik)

    chain = ("ar1(0 + t | g)", "homtoep(0 + t | g)", "toep(0 + t | g)", "(0 + t | g)")
    values = [value(structure) for structure in chain]
    assert np.all(np.diff(values) > 0.0)
    assert value("toep(0 + t | g, hom = TRUE)") == values[1]
    assert value("ar1(0 + t | g, hom = FALSE)") < values[2]


def small(seed: int) -> pd.DataFrame:
    """Few groups whose covariance is of any rank: maxima on bounds, and several of them."""
    rng = np.random.default_rng(seed)
    levels, times, rows = rng.integers(6, 30), rng.integers(3, 6), rng.integers(2, 4)
    root = rng.normal(size=(times, rng.integers(1, times + 1))) * rng.uniform(0.0, 1.5)
    g = np.repeat(np.arange(levels), times * rows)
    t = np.tile(np.repeat(np.arange(times), rows), levels)
    b = rng.normal(size=(levels, root.shape[1])) @ root.T
    y = b[g, t] + rng.normal(size=len(g))
    return pd.DataFrame({"y": y, "g": g.astype(str), "t": t.astype(str)})


@pytest.mark.parametrize(
    "seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 40))]
)
def test_no_maximum_is_lower_than_that_of_a_special_case(seed):
    data = small(seed)
    chains = (("ar1", "homtoep", "toep", ""), ("hetar1", "toep"), ("diag", "toep"))
    values = {
        name: lf.fit(f"y ~ 1 + {name}(0 + t | g)", data).loglik.value
        for name in {name for chain in chains for name in chain}
    }
    for chain in chains:
        assert (np.diff([values[name] for name in chain]) > -1e-6).all(), values


def test_the_rest_of_the_house_knows_it(tmp_path):
    fit = lf.fit("y ~ x + toep(0 + t | g)", table())
    assert fit.param_names[6:9] == ("cor(g:lag 1)", "cor(g:lag 2)", "cor(g:lag 3)")
    frame = fit.varcorr.to_frame()
    assert list(frame["term2"].dropna()) == ["t[1]", "t[2]", "t[3]"]
    np.testing.assert_allclose(frame["corr"].dropna(), fit.param_values[6:9])
    fit.save(tmp_path / "fit.lme")
    np.testing.assert_array_equal(lf.load(tmp_path / "fit.lme").param_values, fit.param_values)
    profile = fit.confint(method="profile").set_index("parameter").loc["cor(g:lag 1)"]
    assert profile["lower"] < fit.param_values[6] < profile["upper"]
    assert "|r - s|" in str(fit.model.equation())
    joint = fit.model.tfp_joint
    drawn = joint.distribution.sample(seed=[1, 2])
    with tf.GradientTape() as tape:
        value = joint.distribution.log_prob(drawn)
    assert all(
        slope is not None and np.isfinite(slope).all()
        for slope in tape.gradient(value, joint.trainable_variables)
    )
    drawn = fit.simulate(1, seed=2).iloc[:, 0]
    again = fit.refit(drawn)
    assert again.converged


def test_monte_carlo_em_is_near_laplace_and_says_its_error():
    """At effects this small the approximation is good to a fortieth of a standard error or so."""
    formula = "count ~ x + toep(0 + t | g)"
    rough = lf.fit(formula, table(), "poisson", method="laplace")
    fit = lf.fit(formula, table(), "poisson", method="mcem", progress=False)
    assert fit.converged
    assert (np.abs(fit.param_values - rough.param_values) < 0.15 * rough.param_stderr).all()
    np.testing.assert_allclose(fit.param_stderr, rough.param_stderr, rtol=0.1)
    assert abs(fit.loglik.value - rough.loglik.value) < 1.0


def test_columns_that_are_no_times_are_refused():
    with pytest.raises(lf.LmeFormulaError, match=r"toep|one factor"):
        lf.fit("y ~ x + toep(x | g)", table())
