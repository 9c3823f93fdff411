"""Linear predictors of rows as points with chances, for averages over normal ones.

With several predictors a row's are jointly normal, and are read along the columns of a Cholesky factor of their
covariance: a grid of points of each column's rule; where that would be too many points, a randomized low-
discrepancy sequence, always the same.

References: Davis, Rabinowitz (1984), Methods of Numerical Integration, 2nd ed., section 5.6, for grids; Owen
(1997), Scrambled net variance for integrals of smooth functions, Ann. Statist. 25, 1541-1562.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.stats

from lmeformula.arrays import Floats
from lmeformula.fit import FittedModel
from lmeformula.prediction.predictor import predicted_at

# How many standard deviations of the predictor nodes reach to.
REACH = 9.0
# Nodes for means, whose integrands are smooth: by the number of predictors.
NODES_OF_MEANS, NODES_OF_SEVERAL = 31, {2: 21, 3: 13}
# Up to this standard deviation of a predictor they are enough.
WIDE = 1.0
# Points of grids, and of what takes their place.
MOST_POINTS, NUM_DRAWN = 2**15, 2**12
# Points of smaller chances are left out of a grid.
LEAST_CHANCE = 1e-14
# A pivot that is this much smaller than its variance is rounding.
ROUNDING = 1e-13


def normal_rule(sd: float, num_nodes: int = NODES_OF_MEANS) -> tuple[Floats, Floats]:
    """Nodes and weights for averages of smooth functions over normal predictors, the widest of this sd.

    Gauss-Hermite nodes while they lie densely for functions such as the logistic, which has a pole at pi i; the
    trapezoidal rule, as dense as that takes, beyond.
    """
    if sd <= WIDE:
        nodes, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
        return nodes, weights / weights.sum()
    reach = REACH + min(sd, REACH)
    nodes = np.linspace(-reach, reach, 2 * int(np.ceil(reach * max(sd / 0.6, 2.5))) + 1)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


def normal_points(
    eta: Floats, spread: Floats, units: Floats | float = 1.0
) -> Iterator[tuple[Floats, float]]:
    """Predictors and their chances, for averages of what is smooth in them.

    Args:
      eta: (K, n) means of the linear predictors.
      spread: (n, K, K) covariances; what is nan counts as none.
      units: (n, K) of several predictors, in which what is averaged is about as smooth as the logistic is.
    Returns:
      Predictors like `eta`, and a chance for each, in all one. Averages over more than three predictors, or
      very wide ones, have an error of about 1e-4 of what is averaged; others are exact to some ten digits.
    """
    roots = row_roots(spread)
    if len(eta) == 1:
        # As dense as the widest row takes, whatever its units: of one predictor no point is too many.
        nodes, weights = normal_rule(float(roots.max(initial=0.0)))
        rule = nodes[:, None], weights
    else:
        rule = _joint_rule(roots / np.broadcast_to(units, eta.T.shape)[:, :, None])
    for point, weight in zip(*rule, strict=True):
        yield eta + (roots @ point).T, weight


def normal_average(fit: FittedModel, kind: str, eta: Floats, spread: Floats) -> Floats:
    """(n, c) expected responses or chances of categories, averaged over normal linear predictors.

    Args:
      fit: a fitted model.
      kind: "response" or "prob".
      eta: (K, n) means of the linear predictors.
      spread: (n, K, K) their covariances.
    """
    at = predicted_at(fit, kind, eta)
    if kind == "response" and np.array_equal(at[:, 0], eta[0]):
        # The mean is the predictor, whatever the link is called: so is its average.
        return at
    total = np.zeros_like(at)
    for there, weight in normal_points(eta, spread):
        total += weight * predicted_at(fit, kind, there)
    return total


def tensor_grid(rules: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """(m, K) points: the nodes of K rules, each with each; and the products of their weights (m,)."""
    nodes, weights = zip(*rules, strict=True)
    points = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1).reshape(-1, len(rules))
    return points, functools.reduce(np.multiply.outer, weights).reshape(-1)


def sinh_rule(values: Floats, count: int, reach: float) -> tuple[Floats, Floats]:
    """The trapezoidal rule around the middles of integrands after a substitution by the hyperbolic sine.

    Nodes lie densely around the middle and reach far into the tails of what has little information.

    Args:
      values: (n, K) curvatures of the logarithms of n integrands along K axes.
      count: nodes along each.
      reach: how far they go, in units of axes of curvature one.
    Returns:
      along: (n, m, K) the nodes.
      logs: (n, m) logarithms of how the substitution stretches there.
    """
    rule = np.linspace(-1.0, 1.0, count)
    grid, _ = tensor_grid([(rule, rule)] * values.shape[1])
    sds = np.sqrt(values)[:, None]
    inner = grid * np.arcsinh(reach * sds)
    return np.sinh(inner) / sds, np.log(np.cosh(inner)).sum(axis=-1)


def _joint_rule(roots: Floats) -> tuple[Floats, Floats]:
    """(m, K) standard normal points and their chances (m,)."""
    k = roots.shape[-1]
    # How far a step along each column moves predictors, and their differences.
    widths = np.abs(roots).sum(axis=1).max(axis=0, initial=0.0)
    if k not in NODES_OF_SEVERAL:
        return _drawn_points(k)
    rules = [normal_rule(float(width), NODES_OF_SEVERAL[k]) for width in widths]
    if np.prod([float(len(nodes)) for nodes, _ in rules]) > MOST_POINTS:
        return _drawn_points(k)
    points, chances = tensor_grid(rules)
    counts = chances > LEAST_CHANCE
    return points[counts], chances[counts]


def _drawn_points(k: int) -> tuple[Floats, Floats]:
    """Points that fill their space evenly, a power of two of them."""
    uniform = scipy.stats.qmc.Sobol(k, rng=np.random.default_rng(0)).random(NUM_DRAWN)
    points = scipy.stats.norm.ppf(np.clip(uniform, 1e-12, 1.0 - 1e-12))
    return np.asarray(points), np.full(NUM_DRAWN, 1.0 / NUM_DRAWN)


def row_roots(covariances: Floats) -> Floats:
    """(n, K, K) lower triangular roots of positive semidefinite covariances (n, K, K), whatever their units.

    Predictors without a covariance, nan, as on their way to infinity, have rows and columns of zeros.
    """
    k = covariances.shape[-1]
    covariances = np.where(np.isnan(covariances), 0.0, covariances)
    roots = np.zeros_like(covariances)
    for j in range(k):
        done = roots[:, j:, :j] @ roots[:, j, :j, None]
        rest = covariances[:, j:, j] - done[..., 0]
        is_left = rest[:, 0] > ROUNDING * covariances[:, j, j]
        pivot = np.sqrt(np.where(is_left, rest[:, 0], 1.0))
        roots[:, j:, j] = np.where(is_left[:, None], rest / pivot[:, None], 0.0)
    return roots
