"""The dense way of models with few effects against the blocks."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.algebra.small import MOST_EFFECTS, SmallFactor, trace_products
from lmeformula.likelihood.gaussian.dense import solve_small
from lmeformula.likelihood.gaussian.exact import fit_exact
from lmeformula.likelihood.gaussian.information import observed_information
from lmeformula.likelihood.gaussian.likelihood import log_likelihood, solve
from lmeformula.likelihood.gaussian.posterior import conditional, fixed_covariance
from lmeformula.likelihood.gaussian.sums import sums
from tests.likelihood.gaussian.deviances import deviance
from tests.simulate import FORMULAS, frame, make_design, random_lambdas

# Condition numbers below 1e4 lose at most four of sixteen digits.
SOLVED = {"rtol": 1e-9, "atol": 1e-9}


def both(name: str):
    """(design, sums, solution by blocks, dense solution) at some Lambda."""
    design = make_design(name)
    data = sums(design)
    lambdas = random_lambdas(design, np.random.default_rng(len(name)))
    assert data.dense is not None
    small = solve_small(data.plan, data.dense, data.ZQ, data.Zy, data.yy, lambdas)
    return design, data, solve(data, lambdas), small


@pytest.mark.parametrize("name", FORMULAS)
def test_solution(name):
    _, data, blocks, small = both(name)
    assert small.factor.log_det == pytest.approx(blocks.factor.log_det, rel=1e-12)
    assert small.rss == pytest.approx(blocks.rss, rel=1e-11)
    for field in ("gamma", "w", "information", "ZVQ"):
        np.testing.assert_allclose(getattr(small, field), getattr(blocks, field), **SOLVED)
    for (_, k), total in zip(data.plan.sizes, small.factor.outer_sums(), strict=True):
        assert total.shape == (k, k)
    found, expected = conditional(small, 0.7), conditional(blocks, 0.7)
    for a, b in zip([*found[0], *found[1]], [*expected[0], *expected[1]], strict=True):
        np.testing.assert_allclose(a, b, **SOLVED)
    np.testing.assert_allclose(
        fixed_covariance(data, small, 0.7), fixed_covariance(data, blocks, 0.7), **SOLVED
    )


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("name", FORMULAS)
def test_deviance_and_fit(name, reml):
    design, data, blocks, _ = both(name)
    lambdas = blocks.factor.lambdas
    found = deviance(data, lambdas, None, reml)
    expected = deviance(data._replace(dense=None), lambdas, None, reml)
    assert isinstance(found[2].factor, SmallFactor)
    assert found[0] == pytest.approx(expected[0], rel=1e-12)
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, **SOLVED)
    space = lf.compile(design).space
    small, large = (fit_exact(at, space, reml=reml) for at in (data, data._replace(dense=None)))
    assert small.loglik == pytest.approx(large.loglik, abs=2e-8)
    assert small.singular == large.singular


@pytest.mark.parametrize("name", FORMULAS)
def test_trace_products(name):
    _, data, _, small = both(name)
    rng = np.random.default_rng(3)
    changes, whole = [], []
    for j, (levels, k) in enumerate(data.plan.sizes):
        raw = rng.normal(size=(2, k, k))
        changes.append(raw + raw.transpose(0, 2, 1))
        for change in changes[-1]:
            full = np.zeros_like(small.factor.outer)
            full[data.plan.place(j), data.plan.place(j)] = np.kron(np.eye(levels), change)
            whole.append(full)
    Q = small.factor.outer
    expected = [[np.trace(Q @ a @ Q @ b) for b in whole] for a in whole]
    np.testing.assert_allclose(
        trace_products(data.plan, Q, tuple(changes)), expected, rtol=1e-9, atol=1e-7
    )


@pytest.mark.parametrize("name", ["crossed", "two columns rest", "three columns lead", "weights"])
def test_observed_information(name):
    design, data, _, _ = both(name)
    model = lf.compile(design)
    psi = np.random.default_rng(1).uniform(-0.5, 0.5, model.space.size)
    _, _, blocks = log_likelihood(data, model.space, psi)
    assert data.dense is not None
    small = solve_small(data.plan, data.dense, data.ZQ, data.Zy, data.yy, blocks.factor.lambdas)
    # It is solved at the optimal beta.
    at = psi.copy()
    at[: model.space.num_fixed] = data.ols + np.linalg.solve(data.R, small.gamma)
    free = np.ones(len(psi), bool)
    found = observed_information(data, model.space, at, free, small)
    expected = observed_information(data, model.space, at, free)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


def test_only_few_effects():
    rng = np.random.default_rng(1)
    data = {"y": rng.normal(size=400), "g": np.arange(400) % (MOST_EFFECTS + 1)}
    assert sums(lf.design("y ~ 1 + (1 | g)", data)).dense is None
    assert sums(lf.design("y ~ x + (1 | g)", frame())).dense is not None
