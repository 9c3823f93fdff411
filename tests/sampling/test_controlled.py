"""The log-likelihood by control variates: against quadrature, and Stein's identity by draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.likelihood.laplace.likelihood import find_mode
from lmeformula.likelihood.laplace.modes import arrays_of, mode_at, place
from lmeformula.sampling import controlled
from lmeformula.sampling.controlled import Series, controlled_integral, integrated
from lmeformula.sampling.reference import excess_over, reference_at
from tests.sampling.test_roots import FORMULAS, start
from tests.sampling.test_variates import CASES, point

GRID = np.linspace(-8.0, 8.0, 1601)
DENSITIES = {
    "poisson": lambda y, eta: stats.poisson.logpmf(y, np.exp(eta)),
    "bernoulli": lambda y, eta: stats.bernoulli.logpmf(y, 1.0 / (1.0 + np.exp(-eta))),
}


@pytest.mark.parametrize("family", DENSITIES)
def test_it_is_the_likelihood_within_its_error(family):
    """Two rows a level leave its effect a posterior far from normal; draws are independent, by inversion."""
    levels, base, sd, rng = 60, -0.7, 1.2, np.random.default_rng(4)
    g = np.repeat(np.arange(levels), 2)
    eta = base + sd * rng.normal(size=levels)[g]
    y = rng.poisson(np.exp(eta)) if family == "poisson" else (rng.logistic(size=len(g)) < eta) * 1.0
    model = lf.compile(lf.design("y ~ 1 + (1 | g)", {"y": y, "g": g}), family)
    arrays = arrays_of(model, layout(model.stack.terms))
    psi = np.array([base, np.log(sd)])
    mode = find_mode(arrays, place(model.space, psi), np.zeros(levels))
    reference = reference_at(arrays, mode)

    rows = DENSITIES[family](y[:, None], base + sd * GRID)
    joint = np.add.reduceat(rows, np.arange(0, len(g), 2)) + stats.norm.logpdf(GRID)
    density = np.exp(joint)
    truth = np.log(density.sum(axis=1) * (GRID[1] - GRID[0])).sum()
    chances = np.cumsum(density, axis=1) / density.sum(axis=1, keepdims=True)
    off = []
    for seed in range(8):
        at = rng.uniform(size=(30, levels, 2))
        u = np.array([np.interp(at[:, j], chances[j], GRID) for j in range(levels)])
        z = (u.transpose(1, 0, 2) - mode.u[:, None]) / mode.factor.lead_inverse[:, 0]
        found = controlled_integral(arrays, mode, reference, z, seed)
        assert 0.0 < found.mc_error < 0.1
        off.append((found.value - 0.5 * reference.factor.log_det - truth) / found.mc_error)
    # A sum of eight squares: between .9 and 28 but once in a thousand.
    assert 0.9 < np.square(off).sum() < 28.0


@pytest.mark.parametrize(("formula", "family"), CASES)
def test_steins_identity_holds_and_takes_nearly_all_variance(formula, family):
    at = point(formula, family)
    mode = find_mode(at.arrays, place(at.space, at.psi), at.white.modes)
    reference = reference_at(at.arrays, mode)
    z = np.random.default_rng(2).normal(size=(2000, len(mode.u)))
    moved = reference.factor.solve_upper(z.T.copy())
    found = controlled._series_at(controlled._expand(at.arrays, mode, reference), moved)
    assert found.left.std() < 0.2 * found.excess.std()
    error = found.excess.std() / np.sqrt(len(z))
    assert abs(found.excess.mean() - found.left.mean()) < 4.0 * error
    # With e + A g constant, the mean of the products of gradients is the variance of e.
    squares = np.square(found.excess - found.excess.mean())
    error = (squares - found.slope).std() / np.sqrt(len(z))
    assert abs(squares.mean() - found.slope.mean()) < 4.0 * error + 0.1 * squares.mean()

    # The same places in the coordinates of the mode.
    there = np.random.default_rng(3).normal(size=(6, len(mode.u), 2))
    flat = there.transpose(1, 0, 2).reshape(len(mode.u), -1)
    u = mode.u[:, None] + mode.factor.solve_upper(flat)
    away = u - reference.center[:, None]
    direct = controlled._series_at(controlled._expand(at.arrays, mode, reference), away).excess
    plan, lambdas = at.arrays.plan, mode.at.lambdas
    eta = at.arrays.offset + at.arrays.X @ mode.at.beta
    moves = plan.spread(apply_lambda(plan, lambdas, u)).T
    values = [at.arrays.rows.slopes(eta + move, mode.at.own).value for move in moves]
    base = np.array(values) - 0.5 * np.square(u).sum(axis=0)
    expected = excess_over(
        reference, mode, there, (base + 0.5 * np.square(flat).sum(axis=0)).reshape(6, 2)
    )
    np.testing.assert_allclose(direct, expected.ravel(), rtol=1e-9)


@pytest.mark.parametrize("name", FORMULAS)
def test_what_stands_for_the_precision_is_made_up_for(name):
    """Blocks and directions in place of a factor: e and what Stein's identity makes of it."""
    model, found, _ = start(FORMULAS[name])
    arrays = found.found.problem
    mode = mode_at(model, arrays, found.psi, found.found.approximation.mode.u)
    near = mode.factor.near()
    reference = reference_at(arrays, mode, near.directions)
    z = np.random.default_rng(2).normal(size=(2000, len(mode.u)))
    moved = reference.factor.solve_upper(z.T.copy())
    by = controlled._expand(arrays, mode, reference)
    series = controlled._series_at(by, moved)
    assert series.left.std() < 0.2 * series.excess.std()
    error = series.excess.std() / np.sqrt(len(z))
    assert abs(series.excess.mean() - series.left.mean()) < 4.0 * error
    squares = np.square(series.excess - series.excess.mean())
    error = (squares - series.slope).std() / np.sqrt(len(z))
    assert abs(squares.mean() - series.slope.mean()) < 4.0 * error + 0.1 * squares.mean()

    there = np.random.default_rng(3).normal(size=(6, len(mode.u), 2))
    flat = there.transpose(1, 0, 2).reshape(len(mode.u), -1)
    u = mode.u[:, None] + near.solve_upper(flat)
    direct = controlled._series_at(by, u - reference.center[:, None]).excess
    plan, lambdas = arrays.plan, mode.at.lambdas
    eta = arrays.offset + arrays.X @ mode.at.beta
    moves = plan.spread(apply_lambda(plan, lambdas, u)).T
    values = [arrays.rows.slopes(eta + move, mode.at.own).value for move in moves]
    base = np.array(values) - 0.5 * np.square(u).sum(axis=0)
    at_mode = (base + 0.5 * np.square(flat).sum(axis=0)).reshape(6, 2)
    expected = excess_over(reference, mode, there, at_mode, near.directions)
    np.testing.assert_allclose(direct, expected.ravel(), rtol=1e-9)


def test_densities_far_apart_have_no_error():
    """Two normal ones: e is normal at either end, with the means -v / 2 and v / 2 and the variance v."""
    noise = np.random.default_rng(1).normal(size=(2, 40, 2))

    def ends(variance: float) -> tuple[Series, Series]:
        middle = np.full((40, 2), -0.5 * variance)
        spread = np.sqrt(variance) * noise
        return tuple(
            Series(centre + part, middle, np.full_like(part, variance))
            for centre, part in zip((middle, -middle), spread, strict=True)
        )

    assert integrated(*ends(2.0)).mc_error < 1e-9
    assert np.isnan(integrated(*ends(60.0)).mc_error)
