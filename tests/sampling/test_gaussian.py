"""The problem of a Gaussian model: its geometry against dense matrices, its coordinates, its step limits."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import lmeformula as lf
from lmeformula.likelihood.gaussian.information import average_information
from lmeformula.likelihood.gaussian.likelihood import log_likelihood
from lmeformula.likelihood.gaussian.sums import sums
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
    W = dense(model.design).W[:, None] / params.residual_sd**2
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
    information[space.own_slice, space.own_slice] = 2 * model.design.n
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
    V = matrices.Z @ prior @ matrices.Z.T + params.residual_sd**2 * np.diag(1 / matrices.W)
    residual = model.design.y - model.design.X @ params.beta
    pull = prior @ matrices.Z.T @ np.linalg.inv(V)
    np.testing.assert_allclose(flat[:, 0], pull @ residual, atol=1e-9)
    root = flat[:, 1:] - flat[:, :1]
    np.testing.assert_allclose(root @ root.T, prior - pull @ matrices.Z @ prior, atol=1e-9)


def between(ratio: float) -> dict[str, np.ndarray]:
    """Twelve groups of five rows; the variance of their effects at the maximum, in units of sigma^2 / 5.

    Within groups the mean square is one, and the means' is 1 + ratio, which makes the maximum `ratio`.
    """
    rng = np.random.default_rng(3)
    rows, means = rng.normal(size=(12, 5)), rng.normal(size=12)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.sqrt(np.square(rows).sum() / 48)
    means -= means.mean()
    means *= np.sqrt((1 + ratio) / 5 / np.square(means).mean())
    return {"y": (means[:, None] + rows).ravel(), "g": np.repeat(np.arange(12), 5)}


@pytest.mark.parametrize("ratio", [-0.01, 0.0025, 0.01])
def test_the_side_of_a_boundary_is_known_without_draws(ratio):
    """A maximum so close to zero that no number of draws tells it from zero."""
    fit = lf.fit("y ~ 1 + (1 | g)", between(ratio), method="mcem", progress=False)
    assert fit.converged
    assert fit.certificate.holds
    assert fit.param_values[2] ** 2 == pytest.approx(1.0 + min(ratio, 0.0) / 5, abs=1e-4)
    # As near as the likelihood, quartic in a sd so small, tells at the tolerance of a fit.
    assert fit.param_values[1] ** 2 * 5 == pytest.approx(max(ratio, 0.0), abs=2e-4)


@pytest.mark.parametrize("name", ["one term", "nested", "two columns rest", "three columns lead"])
def test_rises_at_boundaries_are_the_likelihoods(name):
    """The sign that the likelihood's difference has, a little inside; whatever the draws are, without noise."""
    model, problem, psi = problem_at(name, None)
    data, space = sums(model.design), model.space
    edges = {edge.name: edge for edge in problem.edges(psi)}
    psi = edges[next(name for name in edges if name.startswith("sd "))].outside
    held = tuple(edge for edge in problem.edges(psi) if edge.name == next(iter(edges)))
    seen = problem.look(psi, problem.geometry(psi), np.zeros((4, len(problem.latents), 2)), held)
    found = seen.series.mean()
    assert np.abs(seen.series - found).max() < 1e-6 * abs(found)
    start = log_likelihood(data, space, psi)[0]
    # A thousandth of the way inside, in covariance.
    (edge,) = seen.edges
    less, more = (space.to_natural(at).covariances for at in (psi, edge.inside))
    nearby = space.to_natural(psi)._replace(
        covariances=tuple(a + 1e-3 * (b - a) for a, b in zip(less, more, strict=True))
    )
    rise = log_likelihood(data, space, space.to_free(nearby))[0] - start
    assert np.sign(rise) == -np.sign(found)
