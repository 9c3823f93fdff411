"""The likelihood of independent latents: against sums over a fine grid, one latent at a time."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp

from lmeformula.em.density import Bound, Density
from lmeformula.em.geometry.laplace import Approximation
from lmeformula.em.geometry.separate import Separate, is_separate
from tests.simulate import differences

RNG = np.random.default_rng(4)
COUNTS = RNG.poisson(np.exp(0.5 + 0.5 * RNG.normal(size=(6, 1))), (6, 3)).astype(float)
COUNTS[0] = 0.0
PSI = np.array([0.3, -0.2])
U = tf.constant(np.linspace(-12.0, 12.0, 24_001))


def density_of(of_latents) -> Density:
    """The sum of terms (..., 6), each of one latent."""

    def bind(psi, data):
        return Bound(lambda u: tf.reduce_sum(of_latents(psi, u)), (psi,), lambda parts: parts[0])

    return Density(bind, 2, 6, (), "float64")


def normal(p, u):
    return -0.5 * (u * tf.exp(-p[1])) ** 2 - p[1]


def poisson(p, u):
    eta = p[0] + u[..., None]
    return normal(p, u) + tf.reduce_sum(COUNTS * eta - tf.exp(eta), axis=-1)


def steep(p, u):
    """Binary rows that tell hardly more than on which side a latent is."""
    sides = tf.constant([1.0, -1, 1, -1, 1, 1], tf.float64)
    return normal(p, u) - tf.math.softplus(25.0 * sides * (p[0] - u))


def two_hills(p, u):
    """Two normal densities, ten of their standard deviations from each other."""
    far = np.log(0.2) - 0.5 * ((u - 5.0) / 0.5) ** 2
    near = -0.5 * ((u - p[0]) * tf.exp(-p[1])) ** 2 - p[1]
    return tf.reduce_logsumexp(tf.stack([near, far]), axis=0) - 0.05 * (u - 2.0) ** 2


def student(p, u):
    """A tail of five degrees of freedom, of which little is left within the grid beside six rows."""
    return -3.0 * tf.math.log1p((u * tf.exp(-p[1])) ** 2 / 5.0) - p[1] - 2.0 * (u - p[0]) ** 2


TERMS = {"poisson": poisson, "steep": steep, "two hills": two_hills, "student": student}


def summed(of_latents, psi):
    """() log-likelihood, less the constant that Laplace's approximation does without."""
    terms = of_latents(tf.constant(psi), U[:, None] + tf.zeros([6], tf.float64)).numpy()
    width = float(U[1] - U[0])
    return float(logsumexp(terms, axis=0).sum() + 6 * np.log(width) - 3 * np.log(2 * np.pi))


@pytest.mark.parametrize("name", TERMS)
def test_likelihood_gradient_and_information(name):
    of_latents = TERMS[name]
    density = density_of(of_latents)
    assert is_separate(density, PSI, np.zeros(6))
    of = Separate(density)
    for psi in (PSI, np.array([-0.5, 0.4])):
        at = of.at(psi, np.zeros(6))
        assert at.value == pytest.approx(summed(of_latents, psi), abs=1e-6)

        def value(psi):
            return summed(of_latents, psi)

        slope = differences(value, psi, 1e-4)
        np.testing.assert_allclose(of.with_gradient(at).gradient, slope, rtol=1e-5, atol=1e-5)
        expected = -differences(lambda psi: differences(value, psi, 1e-3), psi, 1e-3)
        matrix, error = of.information(at, np.minimum(1.0 / np.sqrt(at.sizes), 1.0))
        assert (np.abs(matrix - expected) < error + 1e-4 * np.abs(expected).max()).all()
        assert (error < 0.02 * np.abs(matrix).max()).all()


def test_it_is_another_than_laplace_has():
    density = density_of(steep)
    exact, rough = (kind(density).at(PSI, np.zeros(6)) for kind in (Separate, Approximation))
    assert abs(exact.value - rough.value) > 0.1
    np.testing.assert_array_equal(exact.hessian, rough.hessian)


def test_latents_that_depend_on_each_other_are_not_separate():
    def value(psi, u):
        return poisson(psi, u) - 1e-3 * (u - tf.roll(u, 1, 0)) ** 2

    assert not is_separate(density_of(value), PSI, np.zeros(6))


@pytest.mark.parametrize(
    ("of_latents", "match"),
    [
        (lambda p, u: -tf.math.log1p(u**2) - p[0] * p[1] ** 2, "does not fall far"),
        (
            lambda p, u: normal(p, u) + tf.math.log(tf.sqrt(2.0 - u)),
            "ends before it is negligible",
        ),
    ],
)
def test_what_has_no_integral_within_reach_is_said(of_latents, match):
    with pytest.raises(FloatingPointError, match=match):
        Separate(density_of(of_latents)).at(PSI, np.zeros(6))
