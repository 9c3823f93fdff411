"""Sampling whitened by blocks and directions: coordinates are what they say, fits those of the dense factor."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.probed import ProbedFactor
from lmeformula.likelihood.laplace.iterative import fit_iteratively
from lmeformula.likelihood.laplace.modes import mode_at
from lmeformula.sampling.laplace import directions_of, laplace_problem, whitening_factor
from lmeformula.sampling.reference import excess_over, reference_at, whitening_of
from tests.likelihood.laplace.test_iterative import frame

FORMULAS = {
    "crossed": "yes ~ x + (1 | g) + (1 | h)",
    "slopes": "yes ~ x + (1 | g) + (x | h)",
}


def start(formula: str):
    """(model, Laplace fit by the iterative solver, the engine's problem)."""
    model = lf.compile(lf.design(formula, frame()), family="bernoulli")
    found = fit_iteratively(model, seed=0, tolerance=0.1, max_probes=8)
    return model, found, laplace_problem(model, found.found.problem, found.psi, found.information)


@pytest.mark.parametrize("name", FORMULAS)
def test_effects_are_those_of_the_dense_root(name):
    """b = Lambda (u_hat + L^-T z), with L written out."""
    from lmeformula.em.loop import tensors_of

    model, found, problem = start(FORMULAS[name])
    geometry = problem.geometry(found.psi)
    white, rows = tensors_of(geometry.arrays, "float64"), tensors_of(problem.data, "float64")
    mode = mode_at(model, found.found.problem, found.psi, found.found.approximation.mode.u)
    factor, near = mode.factor.eliminated, mode.factor.near()
    z = np.random.default_rng(4).normal(size=(factor.plan.num_effects, 2))
    inner = z.copy()
    bottom = inner[factor.plan.lead_size :]
    bottom += near.directions @ near.stretch @ (near.directions.T @ bottom)
    u = mode.u[:, None] + factor.upper(inner)
    expected = apply_lambda(factor.plan, factor.lambdas, u)
    found_at = problem.to_latents(z, white, rows).numpy()
    np.testing.assert_allclose(found_at, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", FORMULAS)
def test_coordinates_are_those_of_the_whitening(name):
    """The gradient in z is L^-1 times that in u, and the Hessian there is near the identity."""
    import tensorflow as tf

    from lmeformula.em.loop import tensors_of

    model, found, problem = start(FORMULAS[name])
    geometry = problem.geometry(found.psi)
    white, rows = tensors_of(geometry.arrays, "float64"), tensors_of(problem.data, "float64")
    rng = np.random.default_rng(2)
    q = len(problem.latents)

    def density(z):
        value, gradient = problem.density(None, tf.constant(z), white, rows)
        return value.numpy(), gradient.numpy()

    # The gradient is the density's, by central differences along random directions.
    z, along = rng.normal(size=(q, 1)), rng.normal(size=(q, 1))
    _, gradient = density(z)
    step = 1e-5
    change = (density(z + step * along)[0] - density(z - step * along)[0]) / (2.0 * step)
    assert change[0] == pytest.approx(float((gradient * along).sum()), rel=1e-6)
    # At the mode the gradient vanishes; along a direction it falls by the whitened Hessian.
    at_mode = density(np.zeros((q, 1)))[1]
    assert np.abs(at_mode).max() < 1e-4
    fall = (density(-step * along)[1] - density(step * along)[1]) / (2.0 * step)
    share = float((fall * along).sum() / (along**2).sum())
    assert 0.9 < share < 1.1
    # |L|: log p(y, u) at the mode and the determinant make the approximation, but for log |B A B|.
    mode = mode_at(model, found.found.problem, found.psi, found.found.approximation.mode.u)
    assert isinstance(mode.factor, ProbedFactor)
    off = mode.factor.log_det - whitening_factor(mode.factor).log_det
    assert abs(off) < 0.1 * np.sqrt(mode.factor.eliminated.rest_size)


@pytest.mark.parametrize("name", FORMULAS)
def test_the_reference_is_nearer_and_its_ratio_that_of_the_densities(name):
    """What the log-likelihood is bridged from, with blocks and directions in place of a factor."""
    import tensorflow as tf

    from lmeformula.em.loop import tensors_of

    model, found, problem = start(FORMULAS[name])
    arrays, white = found.found.problem, problem.geometry(found.psi).arrays
    mode = mode_at(model, arrays, found.psi, found.found.approximation.mode.u)
    directions = directions_of(white)
    assert directions is not None
    reference = reference_at(arrays, mode, directions)
    there = whitening_of(reference, arrays, mode, white)

    z = np.random.default_rng(5).normal(size=(30, len(problem.latents), 2))
    flat = z.transpose(1, 0, 2).reshape(len(problem.latents), -1)
    of_mode = mode.factor.near(directions)
    u = mode.u[:, None] + of_mode.solve_upper(flat)
    np.testing.assert_allclose(of_mode.coordinates(u - mode.u[:, None]), flat, atol=1e-10)
    moved = reference.factor.coordinates(u - reference.center[:, None])

    def density(position, whitening):
        given = tensors_of(whitening, "float64"), tensors_of(problem.data, "float64")
        return problem.density(None, tf.constant(position), *given)[0].numpy()

    # One place, two systems of coordinates.
    np.testing.assert_allclose(density(moved, there), density(flat, white), rtol=1e-8)
    at_mode = density(flat, white) + 0.5 * (flat**2).sum(axis=0)
    over = excess_over(reference, mode, z, at_mode.reshape(30, 2), directions)
    expected = density(moved, there) + 0.5 * (moved**2).sum(axis=0)
    np.testing.assert_allclose(over.ravel(), expected, rtol=1e-8)
    # Over draws of either Gaussian the log density is nearer to the new one's.
    fresh = density(flat, there) + 0.5 * (flat**2).sum(axis=0)
    assert fresh.std() < 0.8 * at_mode.std()


@pytest.mark.slow
def test_monte_carlo_em_agrees_with_the_direct_solver():
    data = frame()
    formula = FORMULAS["crossed"]
    fits = [
        lf.fit(formula, data, "bernoulli", method="mcem", solver=solver, seed=seed, progress=False)
        for seed, solver in enumerate(("direct", "iterative"))
    ]
    exact, found = fits
    assert found.converged
    assert found.solver == "iterative"
    assert (found.param_mc_error <= 0.01 * found.param_stderr).all()
    error = np.hypot(found.param_mc_error, exact.param_mc_error)
    # Newton's last steps may differ by what the stop rule leaves, a tenth of the tolerated error.
    allowed = 5.0 * error + 2e-3 * exact.param_stderr
    assert (np.abs(found.param_values - exact.param_values) < allowed).all()
    # Where the approximation is off by more than that, agreement says something.
    off = np.abs(exact.param_values - exact.laplace_values)
    assert (off > allowed).any()
    assert found.information == exact.information == "monte carlo"
    unsure = np.hypot(found.param_stderr_error, exact.param_stderr_error)
    assert (np.abs(found.param_stderr - exact.param_stderr) < 5.0 * unsure).all()
    loglik_error = np.hypot(found.loglik.mc_error, exact.loglik.mc_error)
    assert abs(float(found.loglik) - float(exact.loglik)) < 5.0 * loglik_error
