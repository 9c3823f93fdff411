"""The cubic control variate of models that are not Gaussian: its mean, and the variance that it takes away."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

import lmeformula as lf
from lmeformula.em.types import Geometry, Problem
from lmeformula.likelihood.laplace.fit import fit_laplace
from lmeformula.likelihood.laplace.likelihood import Problem as Arrays
from lmeformula.model.params import ParamSpace
from lmeformula.sampling import whitened
from lmeformula.sampling.laplace import laplace_problem

CASES = [
    ("yes ~ x + (1 | g)", "bernoulli"),
    ("yes ~ x + (1 | g) + (1 | h)", "bernoulli"),
    ("count ~ x + (x | g) + (1 | h)", "poisson"),
    ("grade ~ x + (1 | g) + (x | h)", "cumulative"),
    ("count ~ x + (1 | g)", "nbinom2"),
]


class Point(NamedTuple):
    """A model's problem at the maximum of the Laplace approximation."""

    problem: Problem
    arrays: Arrays
    space: ParamSpace
    psi: np.ndarray
    white: whitened.Whitening
    sizes: whitened.Sizes


@cache
def point(formula: str, family: str) -> Point:
    rng = np.random.default_rng(3)
    n = 300
    g, h, x = rng.integers(20, size=n), rng.integers(6, size=n), rng.normal(size=n)
    eta = 0.4 + 0.5 * x + 0.8 * rng.normal(size=20)[g] + (0.5 + 0.3 * x) * rng.normal(size=6)[h]
    data = {
        "g": g,
        "h": h,
        "x": x,
        "yes": (rng.logistic(size=n) < eta).astype(float),
        "count": rng.poisson(np.exp(eta) * rng.gamma(2.0, 0.5, size=n)),
        "grade": 1 + np.searchsorted([-1.0, 0.5, 2.0], eta + rng.logistic(size=n)),
    }
    model = lf.compile(lf.design(formula, data), family)
    found = fit_laplace(model)
    psi = model.space.to_free(found.params)
    problem = laplace_problem(model, found.problem, psi, np.eye(len(psi)))
    plan = found.problem.plan
    order = (plan.lead, *plan.rest)
    sizes = whitened.Sizes(
        tuple(plan.sizes[j] for j in order),
        tuple(order.index(j) for j in range(len(order))),
        model.space.own.size > 0,
    )
    white = problem.geometry(psi).arrays
    return Point(problem, found.problem, model.space, psi, white, sizes)


@pytest.mark.parametrize(("formula", "family"), CASES)
def test_the_linear_part_makes_up_for_the_mean(formula, family):
    """Worked out row by row and level by level, it is what the whole of M^-1 says."""
    at = point(formula, family)
    cubic, q = at.white.cubic, len(at.white.modes)
    white = tf.nest.map_structure(tf.constant, at.white)
    A, rows = whitened.spread(at.sizes, white, tensors(at), tf.eye(q, dtype=tf.float64))
    A, rows = np.asarray(A), np.asarray(rows)
    inverse, loads = A @ A.T, rows @ np.linalg.inv(A)
    leverages = (rows**2).sum(axis=1)
    linear = loads.T @ (2.0 * leverages[:, None] * cubic.twist)
    start = 0
    for blocks, (levels, k) in zip(cubic.blocks, at.sizes.terms, strict=True):
        place = slice(start, start + levels * k)
        start = place.stop
        for j in range(linear.shape[1]):
            functions = loads[:, place] @ scipy.linalg.block_diag(*blocks[:, j])
            shared = np.einsum("nq,qp,np->n", loads, inverse[:, place], functions)
            linear[place, j] += functions.T @ (cubic.half * leverages)
            linear[:, j] += loads.T @ (cubic.half * shared)
    np.testing.assert_allclose(cubic.linear, linear, rtol=1e-7, atol=1e-9 * np.abs(linear).max())


@pytest.mark.parametrize(("formula", "family"), CASES)
def test_scores_vary_less_with_it(formula, family):
    """Where the posterior is wide, as with 15 rows a level; the means stay what they are."""
    at = point(formula, family)
    with_it, without = scores_at(at, at.white), scores_at(at, at.white._replace(cubic=()))
    # Draws from the Gaussian approximation stand for those of the posterior: it is about the size.
    ratio = with_it.std(axis=1) / without.std(axis=1)
    assert np.median(ratio) < 0.6
    assert ratio.max() < 1.1


def scores_at(at: Point, arrays: whitened.Whitening) -> np.ndarray:
    white = tf.nest.map_structure(tf.constant, arrays)
    z = tf.constant(np.random.default_rng(5).normal(size=(len(arrays.modes), 2000)))
    psi = tf.constant(at.psi)
    _, gradient = at.problem.density(psi, z, white, tensors(at))
    return np.asarray(at.problem.score(psi, z, gradient, white, tensors(at)).controlled)


def tensors(at: Point):
    return tf.nest.map_structure(tf.constant, at.problem.data)


@pytest.mark.parametrize(("formula", "family"), CASES[1:3])
def test_what_is_asked_nearby_is_the_same_and_is_not_remembered(formula, family):
    """Threads ask at once, in whatever order: no answer may depend on another."""
    at = point(formula, family)
    steps = 1e-3 * np.eye(len(at.psi))
    first = [at.problem.nearby(at.psi + step) for step in steps]
    again = [at.problem.nearby(at.psi + step) for step in steps[::-1]][::-1]
    for one, other in zip(first, again, strict=True):
        for left, right in zip(flat(one), flat(other), strict=True):
            np.testing.assert_array_equal(left, right)
    there = at.problem.geometry(at.psi + steps[0])
    for left, right in zip(flat(first[0]), flat(there), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-8)


def flat(geometry: Geometry) -> list[np.ndarray]:
    return [np.asarray(part) for part in tf.nest.flatten(geometry.arrays)]
