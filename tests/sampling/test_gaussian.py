"""The problem of a Gaussian model: its geometry against dense matrices, its coordinates, its step limits."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import lmeformula as lf
from lmeformula.gaussian.information import average_information
from lmeformula.gaussian.likelihood import log_likelihood, sums
from lmeformula.sampling.gaussian import gaussian_problem
from tests.simulate import FORMULAS, dense, differences, make_design, random_psi

CASES = [(name, None) for name in FORMULAS] + [("two columns rest", 0.7)]


def problem_at(name, sigma):
    model = lf.compile(make_design(name), sigma=sigma)
    psi = random_psi(model.space, np.random.default_rng(21))
    return model, gaussian_problem(model), psi


@pytest.mark.parametrize(("name", "sigma"), CASES)
def test_starts_and_names(name, sigma):
    model, problem, _ = problem_at(name, sigma)
    assert problem.names == model.space.names
    np.testing.assert_array_equal(problem.params, model.space.to_free(model.start))
    assert problem.latents.shape == (dense(model.design).Z.shape[1],)
    values, jacobian = problem.report(problem.params)
    np.testing.assert_array_equal(values, model.space.to_report(problem.params))
    np.testing.assert_array_equal(jacobian, model.space.report_jacobian(problem.params))
    p = model.space.num_fixed
    assert np.isinf(problem.max_step[:p]).all()
    assert (problem.max_step[p:] == 1.0).all()


@pytest.mark.parametrize(("name", "sigma"), CASES)
def test_information(name, sigma):
    model, problem, psi = problem_at(name, sigma)
    geometry = problem.geometry(psi)
    data = sums(model.design)
    _, _, found = log_likelihood(data, model.space, psi)
    expected = average_information(data, model.space, psi, found)
    np.testing.assert_allclose(geometry.observed, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        geometry.complete, complete_information(model, psi), rtol=1e-6, atol=1e-5
    )
    # What was seen cannot tell more than what would have been: on the average over data, and in beta always.
    p = model.space.num_fixed
    missing = geometry.complete[:p, :p] - geometry.observed[:p, :p]
    assert np.linalg.eigvalsh(missing).min(initial=0.0) > -1e-9


def complete_information(model, psi) -> np.ndarray:
    """Expected information of psi when y and b are seen: that of n rows given b, and of each level's b."""
    space, params = model.space, model.space.to_natural(psi)
    information = np.zeros((space.size, space.size))
    p = space.num_fixed
    W = dense(model.design).W[:, None] / params.sigma**2
    information[:p, :p] = model.design.X.T @ (W * model.design.X)
    for term, place, covariance in zip(
        model.design.terms, space.theta_slices, params.covariances, strict=True
    ):
        structure = space.terms[model.design.terms.index(term)].structure
        k = len(covariance)

        def sigma_of(theta, structure=structure, k=k):
            factor = structure.cholesky(theta, k)
            return factor @ factor.T

        inverse = np.linalg.inv(covariance)
        changes = differences(sigma_of, psi[place])
        products = inverse @ changes
        information[place, place] = (
            0.5 * len(term.levels) * np.einsum("sab,tba->st", products, products)
        )
    if space.estimates_sigma:
        information[-1, -1] = 2 * model.design.n
    return information


@pytest.mark.parametrize("name", ["one term", "nested", "two columns rest", "three columns lead"])
def test_latents_are_the_random_effects(name):
    """At z = 0 the conditional modes; the spread of standard normal draws is the conditional covariance."""
    model, problem, psi = problem_at(name, None)
    white = tf.nest.map_structure(tf.constant, problem.geometry(psi).arrays)
    q = len(problem.latents)
    z = np.column_stack([np.zeros(q), np.eye(q)])
    found = np.asarray(problem.to_latents(tf.constant(z), white, problem.data))
    np.testing.assert_array_equal(problem.to_position(problem.latents, white), np.zeros(q))
    plan = sums(model.design).plan
    parts = plan.split(found)
    flat = np.concatenate([part.reshape(-1, q + 1) for part in parts])
    params, matrices = model.space.to_natural(psi), dense(model.design)
    prior = matrices.spread(model.design, params.covariances)
    V = matrices.Z @ prior @ matrices.Z.T + params.sigma**2 * np.diag(1 / matrices.W)
    residual = model.design.y - model.design.X @ params.beta
    pull = prior @ matrices.Z.T @ np.linalg.inv(V)
    np.testing.assert_allclose(flat[:, 0], pull @ residual, atol=1e-9)
    root = flat[:, 1:] - flat[:, :1]
    np.testing.assert_allclose(root @ root.T, prior - pull @ matrices.Z @ prior, atol=1e-9)
