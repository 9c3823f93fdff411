"""The Gaussian log-likelihood and its gradient against the dense marginal distribution."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.likelihood.gaussian.likelihood import log_likelihood, solve
from lmeformula.likelihood.gaussian.sums import sums
from tests.simulate import (
    FORMULAS,
    dense,
    dense_log_likelihood,
    differences,
    frame,
    make_design,
    random_lambdas,
    random_psi,
)

CASES = [(name, sigma) for name in FORMULAS for sigma in (None, 0.7)]


def problem(name: str, sigma: float | None):
    model = lf.compile(make_design(name), sigma=sigma)
    psi = random_psi(model.space, np.random.default_rng(len(name)))
    return model, sums(model.design), psi


@pytest.mark.parametrize(("name", "sigma"), CASES)
def test_value(name, sigma):
    model, data, psi = problem(name, sigma)
    found, _, _ = log_likelihood(data, model.space, psi)
    expected = dense_log_likelihood(model.design, model.space.to_natural(psi))
    assert found == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(("name", "sigma"), CASES)
def test_gradient(name, sigma):
    model, data, psi = problem(name, sigma)
    _, found, _ = log_likelihood(data, model.space, psi)
    expected = differences(
        lambda at: dense_log_likelihood(model.design, model.space.to_natural(at)), psi
    )
    # Differences of a value near 500 with a step of 1e-5: rounding of 1e-8, curvature of 1e-7.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_solution(name):
    design = make_design(name)
    data = sums(design)
    rng = np.random.default_rng(5)
    lambdas = random_lambdas(design, rng)
    found = solve(data, lambdas)
    matrices = dense(design)
    scaled = matrices.Z @ matrices.spread(design, lambdas)
    V = scaled @ scaled.T + np.diag(1.0 / matrices.W)
    y, inverse = design.y - design.offset, np.linalg.inv(V)
    XVX = design.X.T @ inverse @ design.X
    beta = np.linalg.solve(XVX, design.X.T @ inverse @ y)
    residual = y - design.X @ beta
    np.testing.assert_allclose(data.R @ (beta - data.ols), found.gamma, atol=1e-10)
    assert found.rss == pytest.approx(residual @ inverse @ residual, rel=1e-11)
    np.testing.assert_allclose(data.R.T @ found.information @ data.R, XVX, atol=1e-9)
    np.testing.assert_allclose(found.score, 0.0, atol=1e-10)
    u = np.concatenate([part.ravel() for part in data.plan.split(found.u)])
    np.testing.assert_allclose(u, scaled.T @ inverse @ residual, atol=1e-10)
    w = np.concatenate([part.ravel() for part in data.plan.split(found.w)])
    np.testing.assert_allclose(w, matrices.Z.T @ inverse @ residual, atol=1e-10)


@pytest.mark.parametrize("name", ["crossed", "three columns rest", "weights"])
def test_solution_at_given_fixed_effects(name):
    design = make_design(name)
    data = sums(design)
    lambdas = random_lambdas(design, np.random.default_rng(6))
    best = solve(data, lambdas)
    asked = best.gamma + 0.1
    found = solve(data, lambdas, asked)
    np.testing.assert_array_equal(found.gamma, asked)
    # rss is quadratic in gamma, with its minimum at the optimum.
    assert found.rss == pytest.approx(best.rss + 0.01 * best.information.sum(), rel=1e-11)
    np.testing.assert_allclose(found.score, -0.1 * best.information.sum(axis=1), atol=1e-10)


@pytest.mark.parametrize("name", FORMULAS)
def test_products_with_the_matrix(name):
    design = make_design(name)
    data = sums(design)
    matrices = dense(design)
    columns = np.random.default_rng(7).normal(size=(data.plan.num_effects, 2))
    flat = np.concatenate([p.reshape(-1, 2) for p in data.plan.split(columns)])
    expected = matrices.Z.T @ (matrices.W[:, None] * (matrices.Z @ flat))
    found = data.plan.split(data.products.times(columns))
    np.testing.assert_allclose(
        np.concatenate([p.reshape(-1, 2) for p in found]), expected, atol=1e-10
    )


@pytest.mark.parametrize(
    ("shift", "scale"), [(1e5, 1.0), (0.0, 1e-7), (-1e7, 1e4)], ids=["far", "tiny", "both"]
)
def test_location_and_scale_of_a_column_cost_no_digits(shift, scale):
    data = frame()
    plain = lf.compile(lf.design("y ~ x + (1 | g)", data))
    moved = {**data, "x": shift + scale * data["x"]}
    other = lf.compile(lf.design("y ~ x + (1 | g)", moved))
    rounded = (moved["x"] - shift) / scale  # what is left of x in double precision
    psi = plain.space.to_free(plain.start)
    expected, _, _ = log_likelihood(sums(plain.design), plain.space, psi)
    shifted = psi.copy()
    shifted[0], shifted[1] = psi[0] - psi[1] * shift / scale, psi[1] / scale
    found, _, _ = log_likelihood(sums(other.design), other.space, shifted)
    lost = np.abs(rounded - data["x"]).max()
    assert found == pytest.approx(expected, rel=1e-9 + 10 * lost)
