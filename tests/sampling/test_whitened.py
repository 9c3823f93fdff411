"""The whitened density and its scores: the joint distribution's, and Stein's identities.

The Gaussian family has everything in closed form: whitened exactly, its posterior is N(0, I) at every parameter
vector, and the controlled scores are the gradient of the marginal likelihood, whatever the draw.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

import lmeformula as lf
from lmeformula.em.types import Problem
from lmeformula.likelihood.gaussian.likelihood import log_likelihood
from lmeformula.likelihood.gaussian.sums import sums
from lmeformula.model import Model
from lmeformula.sampling import whitened
from lmeformula.sampling.gaussian import gaussian_problem
from tests.simulate import FORMULAS, dense, differences, make_design, random_psi

CASES = [(name, None) for name in FORMULAS] + [("crossed", 0.7), ("two columns rest", 0.7)]


class Point(NamedTuple):
    """A model's problem at a parameter vector away from any maximum, with some positions."""

    model: Model
    problem: Problem
    psi: np.ndarray
    white: whitened.Whitening
    z: np.ndarray  # (q, 4)

    def density(self, z):
        return self.problem.density(
            tf.constant(self.psi), tf.constant(z), self.white, self.problem.data
        )

    def scores(self, z):
        _, gradient = self.density(z)
        found = self.problem.score(
            tf.constant(self.psi), tf.constant(z), gradient, self.white, self.problem.data
        )
        return np.asarray(found.raw), np.asarray(found.controlled)

    def effects(self, z):
        """Random effects b in the layout's order, as one (l, k) array a term in formula order."""
        flat = self.problem.to_latents(tf.constant(z[:, None]), self.white, self.problem.data)
        return sums(self.model.design).plan.split(np.asarray(flat)[:, 0])


@cache
def point(name: str, sigma: float | None) -> Point:
    rng = np.random.default_rng(len(name))
    model = lf.compile(make_design(name), sigma=sigma)
    problem = gaussian_problem(model)
    psi = random_psi(model.space, rng)
    white = tf.nest.map_structure(tf.constant, problem.geometry(psi).arrays)
    return Point(model, problem, psi, white, rng.normal(size=(len(problem.latents), 4)))


def joint_log_prob(model: Model, psi: np.ndarray, effects) -> float:
    """log p(y, b) by the model's own TFP joint distribution, at the parameters psi."""
    params, parts = model.space.to_natural(psi), model.tfp_joint
    fixed = [v for v in parts.variables if v == "intercept" or v.startswith("effect_")]
    for variable, value in zip(fixed, params.beta, strict=True):
        parts.variables[variable].assign(value)
    values = {}
    for term, covariance, b in zip(model.design.terms, params.covariances, effects, strict=True):
        part = parts.names[term.name]
        sd = np.sqrt(np.diag(covariance))
        scalar = len(sd) == 1 or term.homogeneous
        parts.variables[f"stddev_{part}"].assign(sd[0] if scalar else sd)
        if f"correlation_{part}" in parts.variables:
            correlation = covariance / np.outer(sd, sd)
            is_one = term.covariance in ("cs", "ar1")
            parts.variables[f"correlation_{part}"].assign(
                correlation[1, 0] if is_one else np.linalg.cholesky(correlation)
            )
        values[part] = tf.constant(b[:, 0] if len(sd) == 1 else b)
    if "sigma" in parts.variables:
        parts.variables["sigma"].assign(np.float64(params.residual_sd))
    return float(parts.distribution.log_prob({**values, parts.response: parts.observed}))


@pytest.mark.parametrize(("name", "sigma"), CASES)
def test_density_is_the_joint_distributions_up_to_a_constant(name, sigma):
    at = point(name, sigma)
    values, _ = at.density(at.z)
    expected = [joint_log_prob(at.model, at.psi, at.effects(z)) for z in at.z.T]
    np.testing.assert_allclose(np.diff(values), np.diff(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "sigma"), CASES)
def test_the_constant_is_that_of_the_effects_scale(name, sigma):
    """log p(y, u) = log p(y, b) + log |Lambda|, and the density leaves out u's 2 pi."""
    at = point(name, sigma)
    found = float(at.density(at.z[:, :1])[0][0])
    expected = joint_log_prob(at.model, at.psi, at.effects(at.z[:, 0]))
    params = at.model.space.to_natural(at.psi)
    for term, covariance in zip(at.model.design.terms, params.covariances, strict=True):
        k, levels = len(covariance), len(term.levels)
        expected += 0.5 * levels * (np.linalg.slogdet(covariance)[1] + k * np.log(2 * np.pi))
    assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("name", "sigma"), CASES)
def test_gradient_in_z_by_differences(name, sigma):
    at = point(name, sigma)
    z, step = at.z[:, 0], 1e-4
    shifts = step * np.eye(len(z))
    high, _ = at.density(z[:, None] + shifts)
    low, _ = at.density(z[:, None] - shifts)
    _, found = at.density(z[:, None])
    # The density is quadratic: central differences are exact but for rounding of values near 1,000.
    np.testing.assert_allclose(found[:, 0], (high - low) / (2 * step), atol=1e-8)


@pytest.mark.parametrize(("name", "sigma"), CASES)
def test_the_posterior_is_standard_normal(name, sigma):
    at = point(name, sigma)
    values, gradient = at.density(at.z)
    np.testing.assert_allclose(gradient, -at.z, atol=1e-10)
    np.testing.assert_allclose(
        values + 0.5 * (at.z**2).sum(axis=0),
        float(values[0]) + 0.5 * (at.z[:, 0] ** 2).sum(),
        rtol=1e-11,
    )


@pytest.mark.parametrize(("name", "sigma"), CASES)
def test_raw_scores_are_the_joint_distributions_gradient(name, sigma):
    at = point(name, sigma)
    raw, _ = at.scores(at.z)
    for c in range(2):
        effects = at.effects(at.z[:, c])
        expected = differences(lambda psi, b=effects: joint_log_prob(at.model, psi, b), at.psi)
        np.testing.assert_allclose(raw[:, c], expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(("name", "sigma"), CASES)
def test_controlled_scores_are_the_marginal_gradient_at_every_draw(name, sigma):
    at = point(name, sigma)
    raw, controlled = at.scores(at.z)
    _, expected, _ = log_likelihood(sums(at.model.design), at.model.space, at.psi)
    scale = np.abs(raw).max()  # what cancels
    np.testing.assert_allclose(
        controlled, np.repeat(expected[:, None], 4, axis=1), rtol=1e-9, atol=1e-11 * scale
    )
    assert raw.std(axis=1).min() > 0


@pytest.mark.parametrize(("name", "sigma"), CASES)
def test_raw_scores_have_that_mean(name, sigma):
    at = point(name, sigma)
    m = 20_000
    z = np.random.default_rng(11).normal(size=(len(at.z), m))
    raw, controlled = at.scores(z)
    error = raw.std(axis=1) / np.sqrt(m)
    # Independent draws: 4.5 errors, for at most a dozen parameters.
    assert (np.abs(raw.mean(axis=1) - controlled.mean(axis=1)) < 4.5 * error).all()


def matrix_of(at: Point, white) -> np.ndarray:
    """(q, q) L^-T of a whitening."""
    sizes = sizes_of(at)
    found, _ = whitened.spread(sizes, white, at.problem.data, tf.eye(len(at.z), dtype=tf.float64))
    return np.asarray(found)


def sizes_of(at: Point) -> whitened.Sizes:
    plan = sums(at.model.design).plan
    order = (plan.lead, *plan.rest)
    return whitened.Sizes(
        tuple(plan.sizes[j] for j in order),
        tuple(order.index(j) for j in range(len(order))),
        at.model.space.own.size > 0,
    )


def any_cubic(
    sizes: whitened.Sizes, shape: tuple[int, int], A: np.ndarray, rows: np.ndarray, rng
) -> whitened.Cubic:
    """A cubic variate with random weights; what gives it the mean zero is from dense algebra."""
    n, d = shape
    half, twist = 0.2 * rng.normal(size=n), 0.2 * rng.normal(size=(n, d))
    inverse, loads = A @ A.T, rows @ np.linalg.inv(A)
    leverages = (rows**2).sum(axis=1)
    blocks = [0.3 * rng.normal(size=(levels, d, k, k)) for levels, k in sizes.terms]
    linear = loads.T @ (2.0 * leverages[:, None] * twist)
    start = 0
    for by_level, (levels, k) in zip(blocks, sizes.terms, strict=True):
        place = slice(start, start + levels * k)
        start = place.stop
        for j in range(d):
            functions = loads[:, place] @ scipy.linalg.block_diag(*by_level[:, j])
            shared = np.einsum("nq,qp,np->n", loads, inverse[:, place], functions)
            linear[place, j] += functions.T @ (half * leverages)
            linear[:, j] += loads.T @ (half * shared)
    return tf.nest.map_structure(tf.constant, whitened.Cubic(half, twist, tuple(blocks), linear))


@pytest.mark.parametrize(
    "name", ["one term", "crossed", "two columns rest", "three columns lead", "weights"]
)
def test_steins_identities_hold_for_any_whitening(name):
    """A whitening in the wrong place and of the wrong width leaves variance, and no bias."""
    at = point(name, None)
    sizes, m = sizes_of(at), 40_000
    rng = np.random.default_rng(12)
    right = matrix_of(at, at.white)
    matrices = dense(at.model.design)
    plan = sums(at.model.design).plan
    shift = 0.2 * rng.normal(size=len(at.z))
    factors = [at.white.factors[sizes.formula_order[j]].numpy() for j in range(len(plan.sizes))]
    in_formula_order = np.concatenate([part.ravel() for part in plan.split(shift)])
    eta = matrices.Z @ (matrices.spread(at.model.design, tuple(factors)) @ in_formula_order)
    wrong = at.white._replace(
        modes=at.white.modes + shift,
        eta=at.white.eta + eta,
        lead_inverse=1.15 * at.white.lead_inverse,
        rest_inverse=0.8 * at.white.rest_inverse,
        pull=at.white.pull + 0.1 * rng.normal(size=at.white.pull.shape),
    )
    A = matrix_of(at, wrong)
    inverse = A @ A.T  # M^-1 of this whitening
    traces, start = [], 0
    for levels, k in sizes.terms:
        square = inverse[start : start + levels * k, start : start + levels * k]
        blocks = square.reshape(levels, k, levels, k)[np.arange(levels), :, np.arange(levels), :]
        traces.append(tf.constant(blocks.sum(axis=0)))
        start += levels * k
    # Any bend will do, and any weights of the cubic variate: here those of no model.
    bend = rng.normal(size=wrong.bend.shape)
    _, rows = whitened.spread(sizes, wrong, at.problem.data, tf.eye(len(at.z), dtype=tf.float64))
    rows = np.asarray(rows)
    leverages = (rows**2).sum(axis=1)
    wrong = wrong._replace(
        traces=tuple(traces),
        bend=tf.constant(bend),
        bends=tf.constant(bend.T @ leverages),
        cubic=any_cubic(sizes, bend.shape, A, rows, rng),
    )
    # Draws of the true posterior, in the wrong coordinates.
    u = at.white.modes.numpy()[:, None] + right @ rng.normal(size=(len(at.z), m))
    z = np.linalg.solve(A, u - wrong.modes.numpy()[:, None])
    elsewhere = at._replace(white=wrong)
    raw, controlled = elsewhere.scores(z)
    difference = controlled - raw
    error = difference.std(axis=1) / np.sqrt(m)
    assert (np.abs(difference.mean(axis=1)) < 4.5 * error).all()
    # The raw scores are the same ones, and the controlled ones do vary here.
    np.testing.assert_allclose(
        raw[:, 0],
        at.scores(np.linalg.solve(right, u - at.white.modes.numpy()[:, None])[:, :1])[0][:, 0],
        rtol=1e-7,
        atol=1e-7,
    )
    assert (controlled.std(axis=1) > 1e-6).all()
