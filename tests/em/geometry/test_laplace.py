"""Modes, Laplace's approximation and its derivatives, for a density whose marginal is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from lmeformula.em.density import Bound, Density
from lmeformula.em.geometry.dense import missing_information
from lmeformula.em.geometry.laplace import (
    Approximation,
    laplace_at,
    maximise,
    with_bends,
)
from lmeformula.em.geometry.modes import find_mode
from lmeformula.em.geometry.scales import Edges, find_scales, parameter_at, sd_of, with_unit
from lmeformula.errors import ModelError
from tests.simulate import differences

RNG = np.random.default_rng(4)
Y = 1.0 + 0.8 * RNG.normal(size=(6, 1)) + RNG.normal(size=(6, 3))
COUNTS = RNG.poisson(np.exp(0.5 + 0.5 * RNG.normal(size=(6, 1))), (6, 3)).astype(float)


def density_of(value) -> Density:
    def bind(psi, data):
        return Bound(lambda u: value(psi, u), (psi,), lambda parts: parts[0])

    return Density(bind, 2, 6, (), "float64")


def gaussian(p, u):
    prior = -0.5 * tf.reduce_sum((u * tf.exp(-p[1])) ** 2) - 6 * p[1]
    return prior - 0.5 * tf.reduce_sum((tf.constant(Y) - p[0] - u[:, None]) ** 2)


def poisson(p, u):
    prior = -0.5 * tf.reduce_sum((u * tf.exp(-p[1])) ** 2) - 6 * p[1]
    eta = p[0] + u[:, None]
    return prior + tf.reduce_sum(tf.constant(COUNTS) * eta - tf.exp(eta))


@pytest.fixture(scope="module")
def densities():
    return {"gaussian": density_of(gaussian), "poisson": density_of(poisson)}


def loglik(p):
    covariance = np.exp(2 * p[1]) + np.eye(3)
    residual = Y - p[0]
    squares = np.sum(residual * np.linalg.solve(covariance, residual.T).T)
    return -0.5 * (6 * np.linalg.slogdet(covariance)[1] + squares)


PSI = np.array([0.3, -0.4])


@pytest.mark.parametrize("name", ["gaussian", "poisson"])
def test_a_mode_has_no_slope(densities, name):
    mode = find_mode(densities[name], PSI, 3.0 * RNG.normal(size=6))
    assert mode.is_maximum
    assert np.abs(densities[name].slopes(PSI, mode.latents)[2]).max() < 1e-6


def test_of_a_gaussian_density_it_is_the_marginal_likelihood(densities):
    other = np.array([1.0, 0.2])
    one, two = (laplace_at(densities["gaussian"], psi, np.zeros(6)) for psi in (PSI, other))
    assert two.value - one.value == pytest.approx(loglik(other) - loglik(PSI), rel=1e-9)


@pytest.mark.parametrize("name", ["gaussian", "poisson"])
def test_gradient_and_information_by_differences(densities, name):
    density = densities[name]

    def value(psi):
        return laplace_at(density, psi, np.zeros(6)).value

    at = laplace_at(density, PSI, np.zeros(6))
    found = Approximation(density).with_gradient(at).gradient
    np.testing.assert_allclose(found, differences(value, PSI), rtol=1e-5, atol=1e-5)
    expected = -differences(lambda psi: differences(value, psi, 1e-3), PSI, 1e-3)
    matrix, error = Approximation(density).information(at, np.ones(2))
    np.testing.assert_allclose(matrix, expected, rtol=2e-3, atol=2e-3)
    assert (error < 0.02 * np.abs(np.diag(matrix)).max()).all()


def test_missing_information_of_a_gaussian_density(densities):
    """Complete less observed, the former by hand: n rows, and 2 q for a log sd."""
    density = densities["gaussian"]
    limits = (np.full(2, -np.inf), np.full(2, np.inf))
    at = maximise(Approximation(density), PSI, np.zeros(6), np.ones(2), limits)
    assert at.converged
    end = with_bends(density, at.at)
    observed, _ = Approximation(density).information(end, np.ones(2))
    # At the maximum the expected squares of the effects are their prior's.
    np.testing.assert_allclose(
        np.diag(observed + missing_information(end)), [18.0, 12.0], rtol=1e-3
    )


def test_limits_stop_a_climb(densities):
    least = np.array([-np.inf, 1.0])
    found = maximise(
        Approximation(densities["gaussian"]),
        np.array([0.0, 1.5]),
        np.zeros(6),
        np.ones(2),
        (least, np.full(2, np.inf)),
    )
    assert found.converged
    assert found.at.psi[1] == 1.0
    assert found.at.gradient[0] == pytest.approx(0.0, abs=1e-3)


# ---- scales


PRIORS = {
    "log sd": (lambda p: tf.exp(p), np.exp),
    "log variance": (lambda p: tf.exp(p / 2), lambda p: np.exp(p / 2)),
    "softplus": (tf.math.softplus, lambda p: np.log1p(np.exp(p))),
    "itself": (lambda p: p + 2.0, lambda p: p + 2.0),
}


@pytest.mark.parametrize(
    ("name", "centred"),
    [
        ("softplus", True),
        pytest.param("log sd", False, marks=pytest.mark.slow),
        pytest.param("log variance", True, marks=pytest.mark.slow),
        pytest.param("itself", False, marks=pytest.mark.slow),
    ],
)
def test_scales_are_read_off_the_density(name, centred):
    sd, expected = PRIORS[name]

    def value(p, u):
        mean = p[0] if centred else 0.0
        block = u[:4]
        prior = -0.5 * tf.reduce_sum(((block - mean) / sd(p[1])) ** 2) - 4 * tf.math.log(sd(p[1]))
        rows = -0.5 * tf.reduce_sum((tf.constant(Y[:4]) - p[0] - block[:, None]) ** 2)
        return prior + rows - tf.reduce_sum(u[4:] ** 2 * (1.0 + 0.1 * tf.sin(p[0])))

    density = density_of(value)
    (found,) = find_scales(density, PSI, np.zeros(6))
    assert found.place == 1
    assert found.block.tolist() == [True] * 4 + [False] * 2
    assert found.sd == pytest.approx(expected(PSI[1]), rel=1e-6)
    other = np.array([0.1, 0.7])
    assert sd_of(density, found, other, np.zeros(6))[0] == pytest.approx(expected(0.7), rel=1e-6)
    place = parameter_at(density, found, PSI, np.zeros(6), 1e-3)
    if place is not None:
        assert expected(place) == pytest.approx(1e-3, rel=1e-6)
    at = laplace_at(density, PSI, np.zeros(6))
    scale = with_unit(found, np.diag(at.hessian), found.sd)
    assert scale.unit == pytest.approx(1 / np.sqrt(3), rel=1e-6)  # three rows of variance one
    (edge,) = Edges(density, (scale,), ("mean", "sd"), np.zeros(6))(PSI)
    assert edge.name == "sd sd"
    assert edge.nearness == pytest.approx(found.sd / scale.unit)
    if np.isfinite(edge.nearness):
        assert expected(edge.outside[1]) == pytest.approx(1e-3 * scale.unit, rel=1e-5)
        assert expected(edge.inside[1]) == pytest.approx(0.5 * scale.unit, rel=1e-5)


@pytest.mark.parametrize(
    "prior",
    [
        lambda p, u: -tf.reduce_sum(tf.abs(u) ** 3) * tf.exp(-p[1]) - p[1],
        lambda p, u: -0.5 * tf.reduce_sum((u * tf.exp(-p[1] * np.arange(6.0))) ** 2),
        lambda p, u: -0.5 * tf.reduce_sum((u[1:] - tf.tanh(p[1]) * u[:-1]) ** 2),
    ],
    ids=["not normal", "different sds", "autoregression"],
)
def test_what_is_no_scale_is_not_taken_for_one(prior):
    density = density_of(lambda p, u: prior(p, u) - 0.5 * tf.reduce_sum((u - p[0]) ** 2))
    assert find_scales(density, PSI, np.zeros(6)) == ()
    with pytest.raises(ModelError, match="b is not the standard deviation of these latents alone"):
        find_scales(density, PSI, np.zeros(6), {1: np.ones(6, bool)}, ("a", "b"))
