"""Matérn correlations against Bessel functions, a dense likelihood, and what they become at their ends."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy.spatial.distance import cdist
from scipy.special import gamma, kv
from scipy.stats import multivariate_normal

import lmeformula as lf
from lmeformula.covariance.matern import (
    ROUGHEST,
    SMOOTHEST,
    Matern,
    MaternAngles,
    correlation,
    log_distance,
)
from tests.simulate import differences

POSITIONS = np.array([[0.0, 0.0], [1.0, 0.5], [2.5, -1.0], [4.0, 2.0]])
SMOOTHNESSES = [0.15, 0.5, 1.3, 5.0, 19.0]
QUIET = {"progress": False}


def by_bessel(x, nu):
    return np.where(
        x > 0.0, np.where(x > 0, x, 1.0) ** nu * kv(nu, np.where(x > 0, x, 1.0)), 1.0
    ) * np.where(x > 0.0, 2.0 ** (1.0 - nu) / gamma(nu), 1.0)


@pytest.mark.parametrize("nu", SMOOTHNESSES)
def test_correlations_are_those_of_bessel_functions(nu):
    x = np.array([0.01, 0.5, 2.0, 20.0])
    value, by_log_x, by_nu = correlation(np.log(x), nu)
    np.testing.assert_allclose(value, by_bessel(x, nu), rtol=1e-12)
    by = differences(lambda at: correlation(at, nu)[0], np.log(x))
    np.testing.assert_allclose(np.diag(by_log_x), by, rtol=1e-6, atol=1e-9)
    by = differences(lambda at: correlation(np.log(x), float(at[0]))[0], np.array([nu]))
    np.testing.assert_allclose(by_nu, by[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("nu", SMOOTHNESSES)
@pytest.mark.parametrize("rho", [1e-100, 1e-5, 0.3, 0.9, 1.0 - 1e-8])
def test_the_distance_of_a_correlation_is_found(rho, nu):
    found = correlation(np.array([log_distance(rho, 1.0 - rho, nu)]), nu)[0][0]
    assert found == pytest.approx(rho, rel=1e-12)


@pytest.mark.parametrize("homogeneous", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_covariances_and_their_derivatives(homogeneous, seed):
    structure, k = Matern(POSITIONS, homogeneous=homogeneous), len(POSITIONS)
    theta = np.random.default_rng(seed).normal(size=structure.num_params(k))
    factor, report = structure.cholesky(theta, k), structure.to_report(theta, k)
    sds = np.broadcast_to(report[:-2], (k,))
    expected = by_bessel(cdist(POSITIONS, POSITIONS) / report[-2], report[-1])
    # What is added to the diagonal is 1e-10 of it.
    np.testing.assert_allclose(factor @ factor.T, np.outer(sds, sds) * expected, rtol=1e-9)
    np.testing.assert_allclose(structure.to_free(factor @ factor.T), theta, rtol=1e-6, atol=1e-6)
    by = differences(lambda at: structure.cholesky(at, k), theta)
    np.testing.assert_allclose(structure.cholesky_jacobian(theta, k), by, rtol=1e-6, atol=1e-8)
    by = differences(lambda at: structure.to_report(at, k), theta).T
    np.testing.assert_allclose(structure.report_jacobian(theta, k), by, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("angles", [(0.0, 0.3), (0.4, 0.0), (0.9, 1.57), (1.5, 1.2)])
def test_the_factor_is_smooth_where_correlations_vanish_and_at_the_ends_of_the_smoothness(angles):
    made, k = MaternAngles(POSITIONS), len(POSITIONS)
    _, one, two = made.at(np.array(angles), k)
    by = differences(lambda at: made.at(at, k)[0], np.array(angles))
    np.testing.assert_allclose(one, by, rtol=1e-5, atol=1e-6)
    by = differences(lambda at: made.at(at, k)[1], np.array(angles))
    np.testing.assert_allclose(two, by, rtol=1e-4, atol=1e-5)


def test_all_are_one_at_the_right_angle():
    factor = MaternAngles(POSITIONS).at(np.array([np.pi / 2.0, 0.4]), 4)[0]
    np.testing.assert_array_equal(factor @ factor.T, np.ones((4, 4)))


@pytest.mark.parametrize(("nu", "what"), [(0.5, "exp"), (SMOOTHEST, "gau")])
def test_of_half_it_is_exp_and_of_many_next_to_gau(nu, what):
    distance = np.linspace(0.5, 3.0, 6)
    rho = 0.9
    log_x = log_distance(rho, 1.0 - rho, nu)
    found = correlation(log_x + np.log(distance / distance[0]), nu)[0]
    expected = rho ** ((distance / distance[0]) ** (1.0 if what == "exp" else 2.0))
    np.testing.assert_allclose(found, expected, atol=1e-12 if what == "exp" else 0.02)


def test_the_form_in_tfp_has_the_same_factor_and_derivatives():
    structure, k = Matern(POSITIONS, homogeneous=True), len(POSITIONS)
    weights = np.arange(16.0).reshape(k, k)
    value = np.array([0.7, 1.4])

    def ours(at):
        share = (at[1] - ROUGHEST) / (SMOOTHEST - ROUGHEST)
        angles = np.arcsin(np.sqrt(np.array([at[0], share])))
        return np.array([(structure.angles.at(angles, k)[0] * weights).sum()])

    at = tf.Variable(value)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(structure.tfp_factor(at, k) * weights)
    np.testing.assert_allclose(total, ours(value)[0], rtol=1e-9)
    by = differences(ours, value).ravel()
    np.testing.assert_allclose(tape.gradient(total, at), by, rtol=1e-6)


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    n = 160
    data = pd.DataFrame({"g": np.arange(n) % 16, "t": rng.integers(0, 7, n) / 4.0})
    root = np.linalg.cholesky(by_bessel(cdist(*[np.arange(7)[:, None] / 4.0] * 2) / 0.6, 1.5))
    field = rng.normal(size=(16, 7)) @ root.T
    data["y"] = 2.0 + 1.5 * field[data["g"], (data["t"] * 4).astype(int)] + 0.5 * rng.normal(size=n)
    return data


def test_the_likelihood_is_the_dense_one_and_highest_where_it_ends():
    data = rows()
    fit = lf.fit("y ~ 1 + mat(0 + t | g)", data, **QUIET)
    assert fit.converged
    same = data["g"].to_numpy()[:, None] == data["g"].to_numpy()
    distance = np.abs(data["t"].to_numpy()[:, None] - data["t"].to_numpy())

    def dense(values):
        mean, sd, reach, nu, sigma = values
        V = same * sd**2 * by_bessel(distance / reach, nu) + sigma**2 * np.eye(len(data))
        return multivariate_normal(np.full(len(data), mean), V).logpdf(data["y"])

    best = fit.param_values
    assert dense(best) == pytest.approx(float(fit.loglik), abs=1e-6)
    for place, error in enumerate(fit.param_stderr):
        for sign in (-1.0, 1.0):
            moved = best.copy()
            moved[place] += sign * 0.1 * error
            assert dense(moved) < dense(best)


def test_saved_explained_and_said(tmp_path):
    data = rows()
    fit = lf.fit("y ~ 1 + mat(0 + t | g)", data, **QUIET)
    again = lf.load(fit.save(tmp_path / "field.fit"))
    np.testing.assert_allclose(again.predict(data[:5]), fit.predict(data[:5]), rtol=1e-12)
    assert "smoothness(g) is" in str(fit.summary())
    assert "as smoothly as the data say" in fit.formula.explain()
    assert "M_{\\nu" in fit.model.equation().latex


def test_distances_that_are_all_one_say_nothing_of_smoothness():
    data = rows().assign(t=lambda each: each["t"] > 0.7)
    with pytest.raises(lf.FormulaDataError, match="equally far apart"):
        lf.design(
            "y ~ 1 + mat(0 + as.numeric(t) | g)".replace("as.numeric(t)", "u"),
            data.assign(u=data["t"] * 1.0),
        )
