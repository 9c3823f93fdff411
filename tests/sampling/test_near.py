"""What stands for M where it is not factored: in the same directions it moves smoothly with the parameters."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.likelihood.laplace.modes import mode_at
from tests.sampling.test_roots import FORMULAS, start


@pytest.mark.parametrize("name", FORMULAS)
def test_its_solutions_and_leverages_are_those_of_the_matrix_that_it_is(name):
    _, found, _ = start(FORMULAS[name])
    mode = found.found.approximation.mode
    near = mode.factor.near()
    size = near.of.plan.num_effects
    inverse = near.solve(np.eye(size))
    np.testing.assert_allclose(inverse, inverse.T, atol=1e-12)
    assert near.log_det == pytest.approx(-np.linalg.slogdet(inverse)[1], rel=1e-9)
    moved = apply_lambda(near.of.plan, mode.at.lambdas, np.eye(size))
    Z = near.of.plan.spread(moved)
    leverages = np.einsum("nq,qr,nr->n", Z, inverse, Z)
    np.testing.assert_allclose(near.leverages(), leverages, rtol=1e-9)
    # Of each row's predictor with the effects of its own levels.
    plan = near.of.plan
    by_term = plan.split(inverse @ Z.T)
    for j, (found_of, part) in enumerate(zip(near.covariances(), by_term, strict=True)):
        own = part[plan.level(j), :, np.arange(len(Z))]
        np.testing.assert_allclose(found_of, own, rtol=1e-8, atol=1e-10 * np.abs(own).max())


@pytest.mark.parametrize("name", FORMULAS)
def test_the_cubic_variate_has_the_mean_zero(name):
    """By Stein's identity whatever the density: here N(0, I) in the coordinates, drawn exactly."""
    from lmeformula.em.loop import tensors_of

    _, found, problem = start(FORMULAS[name])
    white = problem.geometry(found.psi).arrays
    z = np.random.default_rng(7).normal(size=(len(problem.latents), 4000))
    rows = tensors_of(problem.data, "float64")
    with_it, without = (
        np.asarray(problem.score(None, z, -z, tensors_of(each, "float64"), rows).controlled)
        for each in (white, white._replace(cubic=()))
    )
    added = with_it - without
    error = added.std(axis=1) / np.sqrt(z.shape[1])
    assert (error > 0.0).all()
    assert (np.abs(added.mean(axis=1)) < 4.0 * error).all()


@pytest.mark.parametrize("name", FORMULAS)
def test_the_whitening_moves_smoothly(name):
    """Second differences of what whitens, over the square of the step, stay as steps get shorter."""
    _, found, problem = start(FORMULAS[name])
    psi, way = found.psi, np.random.default_rng(0).normal(size=len(found.psi))

    def stretch(length: float) -> np.ndarray:
        return np.asarray(problem.geometry(psi + length * way).arrays.rest_inverse.stretch)

    bends = [
        (stretch(step) - 2.0 * stretch(0.0) + stretch(-step)) / step**2 for step in (0.02, 0.01)
    ]
    assert np.abs(bends[0]).max() < 100.0
    np.testing.assert_allclose(bends[1], bends[0], atol=0.02 * np.abs(bends[0]).max())


def test_directions_are_those_of_the_start():
    model, found, problem = start(FORMULAS["crossed"])
    there = found.psi + 0.3
    white = problem.geometry(there).arrays
    first = problem.geometry(found.psi).arrays
    np.testing.assert_array_equal(white.rest_inverse.directions, first.rest_inverse.directions)
    anew = mode_at(model, found.found.problem, there, white.modes).factor.near()
    assert np.abs(anew.directions - white.rest_inverse.directions).max() > 1e-6
