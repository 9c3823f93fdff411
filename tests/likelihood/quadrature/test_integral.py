"""The likelihood of small blocks by quadrature, against dense rules written here, in value and gradient."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, gammaln, logsumexp

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.likelihood.laplace.modes import arrays_of, gradient, mode_at
from lmeformula.likelihood.quadrature.blocks import blocks_of
from lmeformula.likelihood.quadrature.integral import Integral
from lmeformula.likelihood.quadrature.integrand import integrand
from lmeformula.likelihood.quadrature.marginal import Quadrature

GRID = np.linspace(-9.0, 9.0, 8001)


class Case(NamedTuple):
    """Groups of as many rows, effects of standard deviation `sd`."""

    family: str
    groups: int
    rows: int
    sd: float
    own: tuple[float, ...] = ()


CASES = [
    Case("bernoulli", 40, 3, 1.0),
    Case("bernoulli", 200, 5, 4.0),
    Case("bernoulli", 60, 10, 20.0),
    Case("binomial", 20, 4, 6.0),
    Case("poisson", 30, 2, 2.0),
    Case("poisson", 20, 20, 4.0),
    Case("nbinom2", 30, 6, 2.0, (1.5,)),
    Case("zero_inflated_poisson", 30, 6, 2.0, (0.3,)),
    Case("cumulative", 40, 4, 6.0, (-1.0, 1.5)),
]


def data_of(case: Case) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([case.groups, case.rows])
    g = np.repeat(np.arange(case.groups), case.rows)
    x = rng.normal(size=len(g))
    eta = 0.4 + 0.5 * x + case.sd * rng.normal(size=case.groups)[g]
    size = np.full(len(g), 7)
    if case.family == "bernoulli":
        y = rng.random(len(g)) < expit(eta)
    elif case.family == "binomial":
        y = rng.binomial(size, expit(eta))
    elif case.family == "cumulative":
        y = 1 + np.searchsorted([-1.0, 1.5], eta - 0.4 + rng.logistic(size=len(g)))
    else:
        y = rng.poisson(np.exp(np.minimum(eta, 5.0)))
        y = np.where(rng.random(len(g)) < 0.2, 0, y)
    return {"y": y * 1, "g": g, "x": x, "size": size}


def dense(case: Case, data: dict[str, np.ndarray], intercept: float, slope: float) -> float:
    """The log-likelihood by the trapezoidal rule on a fine fixed grid."""
    y, size = data["y"][:, None], data["size"][:, None]
    eta = intercept + slope * data["x"][:, None] + case.sd * GRID
    if case.family == "bernoulli":
        rows = y * eta - np.logaddexp(0, eta)
    elif case.family == "binomial":
        rows = stats.binom.logpmf(y, size, 0.5) + size * np.log(2.0)
        rows = rows + y * eta - size * np.logaddexp(0, eta)
    elif case.family == "poisson":
        rows = y * eta - np.exp(eta) - gammaln(y + 1)
    elif case.family == "nbinom2":
        # Of mean exp(eta) and variance mean + mean^2 / shape.
        shape = case.own[0]
        rows = gammaln(y + shape) - gammaln(shape) - gammaln(y + 1)
        rows = (
            rows + y * eta + shape * np.log(shape) - (y + shape) * np.logaddexp(eta, np.log(shape))
        )
    elif case.family == "cumulative":
        low, high = np.array([-np.inf, *case.own]), np.array([*case.own, np.inf])
        # The smaller tail loses no digits.
        upper, lower = high[y - 1] - eta, low[y - 1] - eta
        flip = upper + lower > 0
        first, second = np.where(flip, -lower, upper), np.where(flip, -upper, lower)
        rows = np.log(expit(first) - expit(second))
    else:
        zero = case.own[0]
        counts = y * eta - np.exp(eta) - gammaln(y + 1)
        rows = np.log1p(-zero) + counts
        rows = np.where(y == 0, np.logaddexp(np.log(zero), rows), rows)
    total = np.zeros((case.groups, len(GRID)))
    np.add.at(total, data["g"], rows)
    total += -0.5 * GRID**2 - 0.5 * np.log(2 * np.pi)
    return float((logsumexp(total, axis=1) + np.log(GRID[1] - GRID[0])).sum())


def value_of(model: lf.Model, psi: np.ndarray) -> Integral:
    plan = layout(model.stack.terms)
    arrays = arrays_of(model, plan, marginal=Quadrature)
    mode = mode_at(model, arrays, psi, np.zeros(plan.num_effects))
    return arrays.marginal.integral(arrays, mode)


def check_gradient(model: lf.Model, psi: np.ndarray, found: Integral) -> None:
    h = 1e-4
    by_difference = [
        (value_of(model, psi + h * e).value - value_of(model, psi - h * e).value) / (2 * h)
        for e in np.eye(len(psi))
    ]
    slopes = gradient(model.space, psi, found)
    np.testing.assert_allclose(slopes, by_difference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.family}-{c.groups}x{c.rows}-{c.sd}")
def test_one_effect_a_group(case):
    data = data_of(case)
    response = "cbind(y, size - y)" if case.family == "binomial" else "y"
    model = lf.compile(lf.design(f"{response} ~ x + (1 | g)", data), case.family)
    start = model.start
    has_intercept = len(start.beta) == 2
    beta = np.array([0.4, 0.5]) if has_intercept else np.array([0.5])
    own = np.array(case.own) if case.own else start.own
    psi = model.space.to_free(
        start._replace(beta=beta, covariances=(np.array([[case.sd**2]]),), own=own)
    )
    found = value_of(model, psi)
    right = dense(case, data, 0.4 if has_intercept else 0.0, 0.5)
    assert found.error < 1e-5
    assert found.value == pytest.approx(right, abs=1e-6)
    check_gradient(model, psi, found)


@pytest.mark.parametrize("text", ["y ~ x + (x | g)", "y ~ x + (x || g)", "y ~ x + (0 + x | g)"])
def test_two_effects_a_group(text):
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(12), 6)
    x = rng.normal(size=len(g))
    y = (rng.random(len(g)) < expit(0.3 + 3.0 * rng.normal(size=12)[g] + x)) * 1
    model = lf.compile(lf.design(text, {"y": y, "g": g, "x": x}), "bernoulli")
    covariance = np.array([[9.0, 1.2], [1.2, 1.0]])
    if "||" in text:
        parts = (np.array([[9.0]]), np.array([[1.0]]))
        covariance = np.diag([9.0, 1.0])
    elif "0 +" in text:
        parts, covariance = (np.array([[1.0]]),), np.diag([0.0, 1.0])
    else:
        parts = (covariance,)
    psi = model.space.to_free(model.start._replace(beta=np.array([0.3, 0.8]), covariances=parts))
    found = value_of(model, psi)

    grid = np.linspace(-8.0, 8.0, 401)
    u = np.stack(np.meshgrid(grid, grid, indexing="ij")).reshape(2, -1)
    values, vectors = np.linalg.eigh(covariance)
    b = vectors @ (np.sqrt(np.maximum(values, 0.0))[:, None] * u)
    prior = -0.5 * (u**2).sum(axis=0) - np.log(2 * np.pi) + 2 * np.log(grid[1] - grid[0])
    right = 0.0
    for level in range(12):
        mine = g == level
        eta = 0.3 + 0.8 * x[mine, None] + b[0] + x[mine, None] * b[1]
        rows = y[mine, None] * eta - np.logaddexp(0, eta)
        right += logsumexp(rows.sum(axis=0) + prior)
    assert found.value == pytest.approx(right, abs=1e-6)
    check_gradient(model, psi, found)


def test_crossed_effects_are_one_block_and_nested_ones_hang_together():
    a, b = np.repeat(np.arange(4), 6), np.tile(np.arange(3), 8)
    data = {"y": np.arange(24) % 2, "a": a, "b": b}

    def found(text: str):
        model = lf.compile(lf.design(text, data), "bernoulli")
        plan = layout(model.stack.terms)
        blocks = blocks_of(model, plan)
        return blocks.size, blocks.widest, integrand(model, plan) is None

    assert found("y ~ 1 + (1 | a) + (1 | b)") == (1, 7, True)
    assert found("y ~ 1 + (1 | a / b)") == (4, 4, False)
    assert found("y ~ 1 + (1 | a)") == (4, 1, False)
