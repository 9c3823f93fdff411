"""Random intercepts of large standard deviations, integrated on a fine grid: the truth for Monte Carlo fits."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import optimize
from scipy.special import expit, gammaln, logsumexp

import lmeformula as lf
from tests.estimation.quadrature import Truth, climb

WIDEST = 9.0
SIZE = 6
ZERO, SHAPE = 0.25, 1.5


class Case(NamedTuple):
    """Groups of `rows` rows, effects of standard deviation `sd`; the parameters to begin the search from.

    The grid is as fine as the posterior of an effect whose rows say most is wide.
    """

    family: str
    groups: int
    rows: int
    sd: float
    start: tuple[float, ...]
    points: int = 401


CASES = {
    "binary sd 0.1": Case("bernoulli", 98, 3, 0.1, (0.35, 0.82, 0.08)),
    "binary sd 4": Case("bernoulli", 150, 6, 4.0, (0.4, 0.7, 4.0)),
    "binary sd 6": Case("bernoulli", 80, 20, 6.0, (0.4, 0.7, 6.0)),
    "binomial sd 4": Case("binomial", 60, 4, 4.0, (0.4, 0.7, 4.0)),
    "counts sd 2": Case("poisson", 40, 4, 2.0, (0.4, 0.7, 2.0), 2401),
    "overdispersed": Case("nbinom2", 50, 6, 1.0, (0.4, 0.7, 1.0, SHAPE)),
    "zeros": Case("zero_inflated_poisson", 50, 8, 1.0, (0.4, 0.7, 1.0, ZERO), 1601),
}


@cache
def data_of(name: str) -> dict[str, np.ndarray]:
    case = CASES[name]
    rng = np.random.default_rng([case.groups, case.rows])
    n = case.groups * case.rows
    g, x = np.repeat(np.arange(case.groups), case.rows), rng.normal(size=n)
    eta = 0.4 + 0.7 * x + case.sd * rng.normal(size=case.groups)[g]
    size = np.full(n, SIZE)
    if case.family == "bernoulli":
        y = rng.random(n) < expit(eta)
    elif case.family == "binomial":
        y = rng.binomial(size, expit(eta))
    elif case.family == "nbinom2":
        y = rng.poisson(np.exp(eta) * rng.gamma(SHAPE, 1 / SHAPE, n))
    else:
        y = rng.poisson(np.exp(eta))
        if case.family == "zero_inflated_poisson":
            y = np.where(rng.random(n) < ZERO, 0, y)
    return {"y": y * 1, "g": g, "x": x, "size": size}


@cache
def model(name: str) -> lf.Model:
    case = CASES[name]
    response = "cbind(y, size - y)" if case.family == "binomial" else "y"
    return lf.compile(lf.design(f"{response} ~ x + (1 | g)", data_of(name)), case.family)


def loglik(name: str, values: np.ndarray, finer: int = 1) -> float:
    """The log-likelihood at values on the reporting scale, by a grid so many times as fine."""
    case, data = CASES[name], data_of(name)
    grid = np.linspace(-WIDEST, WIDEST, finer * (case.points - 1) + 1)
    y = data["y"][:, None]
    eta = values[0] + values[1] * data["x"][:, None] + values[2] * grid
    if case.family == "bernoulli":
        rows = y * eta - np.logaddexp(0, eta)
    elif case.family == "binomial":
        chosen = gammaln(SIZE + 1) - gammaln(y + 1) - gammaln(SIZE - y + 1)
        rows = chosen + y * eta - SIZE * np.logaddexp(0, eta)
    elif case.family == "nbinom2":
        shape = values[3]
        rows = gammaln(y + shape) - gammaln(shape) - gammaln(y + 1) + y * eta
        rows += shape * np.log(shape) - (y + shape) * np.logaddexp(eta, np.log(shape))
    else:
        rows = y * eta - np.exp(eta) - gammaln(y + 1)
        if case.family == "zero_inflated_poisson":
            rows += np.log1p(-values[3])
            rows = np.where(y == 0, np.logaddexp(np.log(values[3]), rows), rows)
    total = np.add.reduceat(rows, np.arange(0, len(y), case.rows), axis=0)
    total += -0.5 * grid**2 - 0.5 * np.log(2 * np.pi)
    return float((logsumexp(total, axis=1) + np.log(grid[1] - grid[0])).sum())


@cache
def truth(name: str) -> Truth:
    """The maximum, its covariance and value."""
    start = np.array(CASES[name].start)
    found = optimize.minimize(lambda v: -loglik(name, v), start, method="Nelder-Mead", tol=1e-4)
    return climb(lambda v: loglik(name, v), found.x)
