"""A crossed binary model, integrated by quadrature in one factor and quasi-Monte Carlo in the other.

Given the effects of the second factor those of the first are independent, and quadrature takes them out. What
is left, 20 dimensions and nearly Gaussian, is importance sampled at scrambled Sobol points around the Laplace
approximation. At fixed points that is a smooth function of the parameters, which Newton's method maximises;
other scrambles say how far off its maximum is.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import expit, logsumexp

import lmeformula as lf
from tests.estimation.quadrature import climb

LEVELS = (30, 20)
# Points of each scramble, 2^k of them and as many opposite ones, and scrambles.
LOG_POINTS, SCRAMBLES = 12, 8
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(21)


class Data(NamedTuple):
    """A row for each pair of levels: x and y (30, 20)."""

    x: np.ndarray
    y: np.ndarray


@cache
def data() -> Data:
    rng = np.random.default_rng(8)
    x = rng.normal(size=LEVELS)
    eta = -0.3 + 0.6 * x + 1.2 * rng.normal(size=(LEVELS[0], 1)) + 0.8 * rng.normal(size=LEVELS[1])
    return Data(x, (rng.uniform(size=LEVELS) < expit(eta)).astype(float))


@cache
def model() -> lf.Model:
    g, h = np.indices(LEVELS).reshape(2, -1)
    columns = {"g": g, "h": h, "x": data().x.ravel(), "y": data().y.ravel()}
    return lf.compile(lf.design("y ~ x + (1 | g) + (1 | h)", columns), "bernoulli")


class Points(NamedTuple):
    """Where the integrand is looked at.

    Attributes:
      nodes: (30, k) of each effect of the first factor, with their log weights over N(0, 1).
      node_weights: (30, k).
      draws: (m, 20) of the effects of the second factor, with their log weights over N(0, 1).
      draw_weights: (m,).
    """

    nodes: np.ndarray
    node_weights: np.ndarray
    draws: np.ndarray
    draw_weights: np.ndarray


def points(values: np.ndarray, scramble: int, log_points: int) -> Points:
    """Points around the joint mode at (intercept, slope, both sds), a little wider than its curvature says."""
    (rows, columns), (x, y) = LEVELS, data()
    a, b = np.zeros(rows), np.zeros(columns)
    for _ in range(30):
        eta = values[0] + values[1] * x + values[2] * a[:, None] + values[3] * b
        left, weight = y - expit(eta), expit(eta) * expit(-eta)
        curvature = np.block(
            [
                [np.diag(1 + values[2] ** 2 * weight.sum(axis=1)), values[2] * values[3] * weight],
                [
                    values[2] * values[3] * weight.T,
                    np.diag(1 + values[3] ** 2 * weight.sum(axis=0)),
                ],
            ]
        )
        score = [values[2] * left.sum(axis=1) - a, values[3] * left.sum(axis=0) - b]
        step = np.linalg.solve(curvature, np.concatenate(score))
        a, b = a + step[:rows], b + step[rows:]
    covariance = np.linalg.inv(curvature)
    spread = np.sqrt(np.diag(covariance)[:rows])[:, None]
    nodes = a[:, None] + spread * NODES
    node_weights = np.log(WEIGHTS) + 0.5 * NODES**2 + np.log(spread) - 0.5 * nodes**2
    z = stats.norm.ppf(stats.qmc.Sobol(columns, seed=scramble).random_base2(log_points))
    z = 1.1 * np.concatenate([z, -z])
    root = np.linalg.cholesky(covariance[rows:, rows:])
    draws = b + z @ root.T
    draw_weights = (
        0.5 * (z**2).sum(axis=1) / 1.1**2
        - 0.5 * (draws**2).sum(axis=1)
        + np.log(np.diag(root)).sum()
        + columns * np.log(1.1)
    )
    return Points(nodes, node_weights - 0.5 * np.log(2 * np.pi), draws, draw_weights)


def loglik(values: np.ndarray, at: Points) -> float:
    """The log-likelihood at (intercept, slope, both sds), by these points."""
    x, y = data()
    sign = 2 * y - 1
    # exp(-sign eta) is a product of what rows and nodes say and what draws say.
    of_nodes = np.exp(
        -sign[:, :, None] * (values[0] + values[1] * x[:, :, None] + values[2] * at.nodes[:, None])
    )
    of_draws = np.exp(-values[3] * at.draws)
    total = at.draw_weights.copy()
    for row, signs, weights in zip(of_nodes, sign, at.node_weights, strict=True):
        chances = np.ones((len(total), len(NODES)))
        for column, draws, s in zip(row, of_draws.T, signs, strict=True):
            chances *= 1 + np.outer(draws if s > 0 else 1 / draws, column)
        total += np.log((np.exp(weights) / chances).sum(axis=1))
    return float(logsumexp(total) - np.log(len(total)))


class Known(NamedTuple):
    """(4,) estimates and (4,) standard errors on the reporting scale, and the likelihood."""

    values: np.ndarray
    stderr: np.ndarray
    loglik: float


@cache
def truth() -> tuple[Known, Known]:
    """The maximum, and the standard errors of what it says, from scrambles."""
    start = np.array([-0.3, 0.6, 1.2, 0.8])
    for log_points in (7, 9):
        near = points(start, 0, log_points)
        start = climb(lambda psi, near=near: loglik(psi, near), start, num_steps=2).values
    found = []
    for scramble in range(1, 1 + SCRAMBLES):
        near = points(start, scramble, LOG_POINTS)
        top = climb(lambda psi, near=near: loglik(psi, near), start, num_steps=1)
        found.append(Known(top.values, top.stderr, top.loglik))
    parts = [np.array(part) for part in zip(*found, strict=True)]
    error = np.sqrt(SCRAMBLES)
    return (
        Known(*(part.mean(axis=0) for part in parts)),
        Known(*(part.std(axis=0, ddof=1) / error for part in parts)),
    )
