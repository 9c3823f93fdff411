"""Two correlated effects of one grouping factor, integrated by adaptive quadrature in two dimensions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import optimize
from scipy.special import expit, gammaln, logsumexp


class Data(NamedTuple):
    """Rows of equally large groups, one group after the other.

    Attributes:
      groups, rows: how many groups, and rows in each.
      columns: the data by name.
    """

    groups: int
    rows: int
    columns: dict[str, np.ndarray]


class Case(NamedTuple):
    """A model with an intercept that varies in each of two predictors.

    Attributes:
      family: as users write it.
      formulas: of the two predictors.
      num_fixed: fixed effects of each predictor.
      density: (y, first predictor, second predictor, own parameters) -> log density.
      correlated: whether the two intercepts are.
      num_own: number of own parameters.
    """

    family: str
    formulas: dict[str, str]
    num_fixed: tuple[int, int]
    density: Callable[..., np.ndarray]
    correlated: bool
    num_own: int = 0


def _normal(y: np.ndarray, eta: np.ndarray, scale: np.ndarray, own: np.ndarray) -> np.ndarray:
    return -0.5 * ((y - eta) * np.exp(-scale)) ** 2 - scale - 0.5 * np.log(2.0 * np.pi)


def _inflated(y: np.ndarray, eta: np.ndarray, zero: np.ndarray, own: np.ndarray) -> np.ndarray:
    counted = y * eta - np.exp(eta) - gammaln(y + 1.0) - np.logaddexp(0.0, zero)
    return np.where(y == 0.0, np.logaddexp(counted, -np.logaddexp(0.0, -zero)), counted)


def _softmax(y: np.ndarray, second: np.ndarray, third: np.ndarray, own: np.ndarray) -> np.ndarray:
    total = np.logaddexp(np.logaddexp(0.0, second), third)
    return np.where(y == 1.0, second, np.where(y == 2.0, third, 0.0)) - total


CASES = {
    "scale": Case(
        "gaussian",
        {"mu": "y ~ x + (1 | p | g)", "sigma": "~ x + (1 | p | g)"},
        (2, 2),
        _normal,
        correlated=True,
    ),
    "zeros": Case(
        "zero_inflated_poisson",
        {"mu": "y ~ x + (1 | g)", "zi": "~ 1 + (1 | g)"},
        (2, 1),
        _inflated,
        correlated=False,
    ),
    "choice": Case("categorical", {"mu": "y ~ x + (1 | p | g)"}, (2, 2), _softmax, correlated=True),
}


@cache
def data_of(name: str) -> Data:
    """Simulated data of a case."""
    groups, rows = {"scale": (30, 6), "zeros": (40, 5), "choice": (40, 5)}[name]
    rng = np.random.default_rng(19)
    n = groups * rows
    g, x = np.repeat(np.arange(groups), rows), rng.normal(size=n)
    effects = rng.normal(size=(groups, 2)) @ np.array([[0.9, 0.3], [0.0, 0.5]])
    first, second = effects[g].T
    if name == "scale":
        y = 1.0 + 0.5 * x + first + np.exp(-0.2 + 0.3 * x + second) * rng.normal(size=n)
    elif name == "zeros":
        y = rng.poisson(np.exp(0.8 + 0.4 * x + 0.7 * first)).astype(float)
        y = np.where(rng.uniform(size=n) < expit(-0.7 + 1.5 * second), 0.0, y)
    else:
        utility = np.column_stack([np.zeros(n), 0.3 + 0.5 * x + first, -0.2 - 0.4 * x + 2 * second])
        y = np.argmax(utility + rng.gumbel(size=(n, 3)), axis=1).astype(float)
    columns = {"y": y, "x": x, "g": g}
    if name == "choice":
        columns["y"] = np.array(["a", "b", "c"], dtype=object)[y.astype(int)]
    return Data(groups, rows, columns)


def loglik(name: str, psi: np.ndarray, num_nodes: int = 31) -> float:
    """The log-likelihood, each group's nodes around its mode and as wide as its curvature says.

    Args:
      name: of the case.
      psi: the fixed effects of both predictors, the lower triangle of the effects' Cholesky factor (logarithms
        on its diagonal; without its second element where they are independent), own parameters.
      num_nodes: in each dimension.
    """
    case, data = CASES[name], data_of(name)
    y, x = data.columns["y"], data.columns["x"]
    if y.dtype == object:
        y = np.unique(y, return_inverse=True)[1].astype(float)
    shape = (data.groups, data.rows, 1)
    columns = [np.column_stack([np.ones_like(x), x])[:, :p] for p in case.num_fixed]
    ends = np.cumsum(case.num_fixed)
    first = (columns[0] @ psi[: ends[0]]).reshape(shape)
    second = (columns[1] @ psi[ends[0] : ends[1]]).reshape(shape)
    theta = psi[ends[1] :]
    factor = np.diag(np.exp(theta[[0, 2]] if case.correlated else theta[:2]))
    factor[1, 0] = theta[1] if case.correlated else 0.0
    own = psi[ends[1] + (3 if case.correlated else 2) :]

    def joint(u: np.ndarray) -> np.ndarray:
        """Log joint density (groups, nodes) of effects u (groups, nodes, 2)."""
        b = u @ factor.T
        rows = case.density(
            y.reshape(shape), first + b[:, None, :, 0], second + b[:, None, :, 1], own
        )
        return rows.sum(axis=1) - 0.5 * (u**2).sum(axis=2) - np.log(2.0 * np.pi)

    step = 1e-4
    moves = step * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1]])
    mode = np.zeros((data.groups, 2))
    hessian = np.zeros((data.groups, 2, 2))
    for _ in range(60):
        f = joint(mode[:, None] + moves)
        slope = np.column_stack([f[:, 1] - f[:, 2], f[:, 3] - f[:, 4]]) / (2 * step)
        aa, bb = f[:, 1] + f[:, 2] - 2 * f[:, 0], f[:, 3] + f[:, 4] - 2 * f[:, 0]
        ab = 0.5 * (f[:, 5] + f[:, 6] - 2 * f[:, 0] - aa - bb)
        hessian = -np.array([[aa, ab], [ab, bb]]).transpose(2, 0, 1) / step**2
        # Held positive definite far from the mode.
        values, vectors = np.linalg.eigh(hessian)
        hessian = (vectors * np.maximum(np.abs(values), 0.3)[:, None]) @ vectors.transpose(0, 2, 1)
        move = np.linalg.solve(hessian, slope[:, :, None])[:, :, 0]
        mode += move / np.maximum(1.0, np.abs(move).max(axis=1, keepdims=True))
        if np.abs(move).max() < 1e-7:
            break
    nodes, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    z = np.array(np.meshgrid(nodes, nodes)).reshape(2, -1).T
    log_weights = np.add.outer(np.log(weights), np.log(weights)).ravel() + 0.5 * (z**2).sum(axis=1)
    root = np.linalg.cholesky(np.linalg.inv(hessian))
    u = mode[:, None] + np.einsum("gab,mb->gma", root, z)
    log_det = np.log(root[:, 0, 0]) + np.log(root[:, 1, 1])
    return float((logsumexp(joint(u) + log_weights, axis=1) + log_det).sum())


class Truth(NamedTuple):
    """The maximum by quadrature: fixed effects, sds, correlation if any, own parameters; and its likelihood."""

    values: np.ndarray
    loglik: float


@cache
def truth(name: str) -> Truth:
    """Maximise the log-likelihood of a case by quadrature."""
    case = CASES[name]
    fixed = sum(case.num_fixed)
    size = fixed + (3 if case.correlated else 2) + case.num_own
    start = np.zeros(size)
    start[fixed : fixed + (3 if case.correlated else 2)] = -0.5
    found = optimize.minimize(
        lambda psi: -loglik(name, psi), start, method="BFGS", options={"gtol": 1e-4}
    )
    theta = found.x[fixed:]
    if not case.correlated:
        values = np.concatenate([found.x[:fixed], np.exp(theta[:2]), theta[2:]])
        return Truth(values, -float(found.fun))
    factor = np.array([[np.exp(theta[0]), 0.0], [theta[1], np.exp(theta[2])]])
    sds = np.sqrt((factor**2).sum(axis=1))
    correlation = factor[1, 0] / sds[1]
    return Truth(
        np.concatenate([found.x[:fixed], sds, [correlation], theta[3:]]), -float(found.fun)
    )
