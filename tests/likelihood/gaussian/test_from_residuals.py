"""Likelihoods at tiny residual standard deviations against decimal arithmetic of sixty digits."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.likelihood.gaussian.likelihood import log_likelihood as by_blocks
from lmeformula.likelihood.gaussian.likelihood import score, solve_quickly
from lmeformula.likelihood.gaussian.second_opinion import witness_at
from lmeformula.likelihood.gaussian.shared_sums import shared_sums
from lmeformula.likelihood.gaussian.sums import sums
from tests.likelihood.gaussian.digits import log_likelihood

FORMULAS = ("y ~ x + (1 | g)", "y ~ x + (1 | g) + (1 | h)", "y ~ x + (x | g)")
# Blocks that are eliminated lose 1e-16 / sigma^2 of log |M| where terms overlap; dense products do not.
SIGMAS, SMALLEST = (1e-2, 1e-4, 1e-5), 1e-7


def place(formula: str, sigma: float, noise: float, weighted: bool = False):
    """A model, and parameters near which it meets its responses but for the noise."""
    rng = np.random.default_rng(1)
    g, h = np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4)
    x = rng.normal(size=12)
    y = 2.0 + x + rng.normal(size=4)[g] + noise * rng.normal(size=12)
    data = {"y": y, "x": x, "g": [f"a{i}" for i in g], "h": [f"b{i}" for i in h]}
    weights = 1.0 + np.arange(12) % 3 if weighted else None
    model = lf.compile(lf.design(formula, data, weights=weights))
    psi = model.space.to_free(model.start)
    psi[:2] = [2.0, 1.0]
    for where in model.space.theta_slices:
        psi[where] = 0.0
    psi[-1] = np.log(sigma)
    return model, psi


@pytest.mark.parametrize("noise", ["none", "as large"])
@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("formula", FORMULAS)
def test_value(formula, sigma, noise):
    model, psi = place(formula, sigma, sigma if noise == "as large" else 1.0)
    expected = log_likelihood(model, psi)
    data = sums(model.design)
    assert by_blocks(data, model.space, psi)[0] == pytest.approx(
        expected, rel=1e-8, abs=10 * np.finfo(float).eps / sigma**2
    )
    params = model.space.to_natural(psi)
    lambdas = tuple(factor / params.residual_sd for factor in model.space.factors(psi))
    assert witness_at(data, params, lambdas, False).value == pytest.approx(expected, rel=1e-8)
    probes = np.ones((3 if "h" in formula else 0, 2))
    sparse = shared_sums(model.design)._replace(signs=probes)
    _, found = score(sparse, model.space, psi)
    assert found.rss == pytest.approx(by_blocks(data, model.space, psi)[2].rss, rel=1e-7)


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_witness_at_the_smallest(formula):
    model, psi = place(formula, SMALLEST, SMALLEST)
    data, params = sums(model.design), model.space.to_natural(psi)
    lambdas = tuple(factor / params.residual_sd for factor in model.space.factors(psi))
    found = witness_at(data, params, lambdas, False).value
    assert found == pytest.approx(log_likelihood(model, psi), rel=1e-6)


@pytest.mark.parametrize("sigma", SIGMAS[1:])
@pytest.mark.parametrize("formula", FORMULAS)
def test_the_dense_solution_is_that_of_the_blocks(formula, sigma):
    model, psi = place(formula, sigma, sigma, weighted=True)
    data = sums(model.design)
    lambdas = tuple(factor / sigma for factor in model.space.factors(psi))
    dense, blocks = solve_quickly(data, lambdas), solve_quickly(data._replace(dense=None), lambdas)
    assert dense.missed is not None
    assert dense.rss == pytest.approx(blocks.rss, rel=1e-6)
    assert dense.factor.log_det == pytest.approx(blocks.factor.log_det, rel=1e-6)
    size = np.sqrt(np.outer(*2 * (blocks.information.diagonal(),)))
    np.testing.assert_allclose(dense.information, blocks.information, atol=1e-6 * size.min())
    np.testing.assert_allclose(dense.gamma, blocks.gamma, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(dense.w, blocks.w, atol=1e-4 * np.abs(blocks.w).max())
