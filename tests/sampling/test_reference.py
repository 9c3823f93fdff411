"""The Gaussian that the bridge starts from: its coordinates, and how near it is to the posterior."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from lmeformula.likelihood.laplace.likelihood import find_mode
from lmeformula.likelihood.laplace.modes import place
from lmeformula.sampling import whitened
from lmeformula.sampling.reference import excess_over, reference_at, whitening_of
from tests.sampling.test_variates import CASES, Point, point, tensors


def coordinates(at: Point, white: whitened.Whitening) -> tuple[np.ndarray, np.ndarray]:
    """(q, q) L^-T, and the log joint density's constant tensors."""
    constant = tf.nest.map_structure(tf.constant, white)
    eye = tf.eye(len(white.modes), dtype=tf.float64)
    return np.asarray(whitened.spread(at.sizes, constant, tensors(at), eye)[0]), constant


@pytest.mark.parametrize(("formula", "family"), CASES)
def test_the_ratio_is_that_of_the_densities_and_spreads_less(formula, family):
    at = point(formula, family)
    mode = find_mode(at.arrays, place(at.space, at.psi), at.white.modes)
    reference = reference_at(at.arrays, mode)
    there = whitening_of(reference, at.arrays, mode, at.white)
    (old, white), (new, nearer) = coordinates(at, at.white), coordinates(at, there)

    z = np.random.default_rng(1).normal(size=(40, len(at.white.modes), 3))
    psi, flat = tf.constant(at.psi), z.transpose(1, 0, 2).reshape(len(old), -1)
    value, _ = at.problem.density(psi, tf.constant(flat), white, tensors(at))
    u = at.white.modes[:, None] + old @ flat
    moved = np.linalg.solve(new, u - there.modes[:, None])
    again, _ = at.problem.density(psi, tf.constant(moved), nearer, tensors(at))
    # One place, two systems of coordinates.
    np.testing.assert_allclose(again, value, rtol=1e-9)

    at_mode = (np.asarray(value) + 0.5 * (flat**2).sum(axis=0)).reshape(40, 3)
    found = excess_over(reference, mode, z, at_mode)
    expected = (np.asarray(again) + 0.5 * (moved**2).sum(axis=0)).reshape(40, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-9)

    # Over draws of either Gaussian the log density is nearer to the new one's.
    fresh, _ = at.problem.density(psi, tf.constant(flat), nearer, tensors(at))
    ratio = np.asarray(fresh) + 0.5 * (flat**2).sum(axis=0)
    assert ratio.std() < 0.8 * at_mode.std()
