"""One random intercept, integrated by adaptive Gauss-Hermite quadrature: the truth for Monte Carlo fits."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import optimize
from scipy.special import expit, gammaln, logsumexp

import lmeformula as lf


class Case(NamedTuple):
    """One random intercept: groups of `rows` rows, effects of standard deviation `sd`."""

    family: str
    groups: int
    rows: int
    sd: float


CASES = {
    "binary": Case("bernoulli", 80, 3, 1.7),
    "pairs": Case("bernoulli", 150, 2, 2.0),
    "counts": Case("poisson", 40, 3, 1.0),
    "ordinal": Case("cumulative", 70, 3, 1.4),
}
# The lower ends of the second, third and fourth category.
THRESHOLDS = np.array([-1.0, 0.3, 1.6])
# Of pairs of rows 25 leave 6e-6 of the log-likelihood, and these nothing of 1e-11.
NODES = 100


class Truth(NamedTuple):
    """The maximum by quadrature on the reporting scale, with its covariance and likelihood."""

    values: np.ndarray
    covariance: np.ndarray
    loglik: float

    @property
    def stderr(self) -> np.ndarray:
        return np.sqrt(np.diag(self.covariance))


def data_of(case: Case) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    n = case.groups * case.rows
    g, x = np.repeat(np.arange(case.groups), case.rows), rng.normal(size=n)
    eta = 0.4 + 0.7 * x + case.sd * rng.normal(size=case.groups)[g]
    if case.family == "poisson":
        return {"g": g, "x": x, "y": rng.poisson(np.exp(eta - 0.3)).astype(float)}
    if case.family == "cumulative":
        latent = eta - 0.4 + rng.logistic(size=n)
        return {"g": g, "x": x, "y": 1 + np.searchsorted(THRESHOLDS, latent)}
    return {"g": g, "x": x, "y": (rng.uniform(size=n) < expit(eta)).astype(float)}


def row_densities(case: Case, y: np.ndarray, eta: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Log densities of rows, y (n, 1), at predictors eta (n, nodes)."""
    if case.family == "poisson":
        return y * eta - np.exp(eta) - gammaln(y + 1)
    if case.family == "cumulative":
        ends = np.array([-np.inf, *thresholds, np.inf])
        return np.log(expit(ends[y] - eta) - expit(ends[y - 1] - eta))
    return y * eta - np.logaddexp(0, eta)


def loglik(case: Case, values: np.ndarray, num_nodes: int = 25) -> float:
    """The log-likelihood.

    Args:
      values: on the reporting scale: intercept and slope, or slope alone where there are thresholds; the
        standard deviation; the thresholds.
    """
    data = data_of(case)
    g, y = data["g"], data["y"][:, None]
    fixed = 1 if case.family == "cumulative" else 2
    beta = np.array([0.0, *values[:1]]) if fixed == 1 else values[:2]
    base = (beta[0] + beta[1] * data["x"])[:, None]

    def log_density(u: np.ndarray) -> np.ndarray:
        rows = row_densities(case, y, base + values[fixed] * u[g], values[fixed + 1 :])
        total = np.zeros_like(u)
        np.add.at(total, g, rows)
        return total

    return integrated(log_density, case.groups, num_nodes)


def integrated(log_density: Callable, num_groups: int, num_nodes: int) -> float:
    """The log-likelihood of groups with one standard normal effect each, by adaptive quadrature.

    Each group's nodes lie around its mode and as wide as its curvature says.

    Args:
      log_density: effects (groups, c) -> log densities (groups, c) of the groups' rows.
      num_groups: how many groups.
      num_nodes: how many nodes a group.
    """

    def log_joint(u: np.ndarray) -> np.ndarray:
        return log_density(u) - 0.5 * u**2 - 0.5 * np.log(2 * np.pi)

    u, h = np.zeros((num_groups, 1)), 1e-3
    for _ in range(30):
        above, here, below = log_joint(u + h), log_joint(u), log_joint(u - h)
        curvature = np.minimum((above - 2 * here + below) / h**2, -1.0)
        u = u - np.clip((above - below) / (2 * h) / curvature, -1, 1)
    spread = 1 / np.sqrt(-curvature)
    nodes, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    value = log_joint(u + spread * nodes) + np.log(weights) + 0.5 * nodes**2
    return float((logsumexp(value, axis=1) + np.log(spread[:, 0])).sum())


def climb(function, start: np.ndarray, num_steps: int = 3) -> Truth:
    """Newton's method on central differences of fourth order, whose covariance is good to 1e-5."""
    units = np.eye(len(start))

    def slope(at: np.ndarray, h: float) -> np.ndarray:
        return np.array([function(at + h * e) - function(at - h * e) for e in units]) / (2 * h)

    def second(at: np.ndarray, h: float) -> np.ndarray:
        found = np.zeros((len(at), len(at)))
        for i, a in enumerate(units):
            for j, b in enumerate(units[: i + 1]):
                corners = [function(at + h * s * (a + t * b)) for s in (1, -1) for t in (1, -1)]
                found[i, j] = found[j, i] = (corners[0] - corners[1] + corners[2] - corners[3]) / (
                    4 * h**2
                )
        return found

    at, h = np.array(start), 5e-3
    for _ in range(num_steps):
        information = -(4 * second(at, h) - second(at, 2 * h)) / 3
        at = at + np.linalg.solve(information, (4 * slope(at, h) - slope(at, 2 * h)) / 3)
    return Truth(at, np.linalg.inv(information), function(at))


@cache
def truth(name: str) -> Truth:
    case = CASES[name]
    fixed = [0.7] if case.family == "cumulative" else [0.4, 0.7]
    own = THRESHOLDS if case.family == "cumulative" else []
    start = np.array([*fixed, case.sd, *own])
    found = optimize.minimize(lambda psi: -loglik(case, psi), start, method="BFGS").x
    return climb(lambda psi: loglik(case, psi, NODES), found)


@cache
def model(name: str) -> lf.Model:
    case = CASES[name]
    return lf.compile(lf.design("y ~ x + (1 | g)", data_of(case)), case.family)
