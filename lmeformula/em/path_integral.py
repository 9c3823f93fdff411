"""The log-likelihood of many rows as an integral along the path from a Gaussian to the posterior.

With e the log density of the posterior over that of N(0, I), and E_t the mean over the density at power t,

    log ratio = integral of E_t[e] over t from 0 to 1,    d E_t[e] / dt = Var_t[e].

Of many rows e is a sum of many small parts: it spreads too far for pairs of densities to overlap, while E_t[e]
is nearly a line in t, which a few nodes integrate. Draws are what costs time, and none are spent on overlap.

Reference: Gelman, Meng (1998), Stat. Sci. 13, 163-185.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.em.bridge import LogRatio
from lmeformula.em.draws import start_walkers
from lmeformula.em.path import Stop, independent, tempered, walk
from lmeformula.em.programs import Engine, num_rows
from lmeformula.em.series import mean_covariance
from lmeformula.em.types import Geometry

# Nodes in (0, 1): of Gauss and Legendre, exact for polynomials up to the fifth degree.
NODES, WEIGHTS = (part / 2.0 for part in np.polynomial.legendre.leggauss(3))
NODES = NODES + 0.5
# Draws of each chain before a node and at it: as many as this many rows hold, within limits.
WARMUP = 6
DRAWS_ROWS, NUM_DRAWS = 10_000_000, (20, 500)
# Where the spread of e changes by more than this factor along the path, E_t[e] is no line.
STEADY = 2.0


class Node(NamedTuple):
    """The mean of e at a power, its variance, and the Monte Carlo variance of the mean."""

    power: float
    mean: float
    variance: float
    noise: float


def integral_along(engine: Engine, params: Floats, geometry: Geometry, excess: Floats) -> LogRatio:
    """The log of the posterior's integral over that of exp(-|z|^2 / 2), in whitened coordinates.

    Args:
      engine: of the density, which must know its geometry.
      params: (d,) parameters.
      geometry: the geometry there.
      excess: (m, c) log density over that of N(0, I), without its constant, at draws of the posterior.
    Returns:
      The log ratio; its error is nan where the integrand is no line.
    """
    engine = tempered(engine)
    walkers = start_walkers(engine, geometry)
    count = int(np.clip(DRAWS_ROWS // num_rows(engine.problem.data), *NUM_DRAWS))
    nodes = [_node(independent(engine, params, geometry, len(excess)), is_independent=True)]
    for power in NODES:
        stop, walkers = walk(engine, params, geometry, walkers, power, (WARMUP, count))
        nodes.append(_node(stop))
    return _integrate([*nodes, _node(Stop(1.0, excess))])


def _node(stop: Stop, *, is_independent: bool = False) -> Node:
    excess = stop.excess
    variance = float(excess.var(ddof=1))
    noise = variance / excess.size
    if not is_independent:
        noise = float(mean_covariance(excess[:, None])[0, 0])
    return Node(stop.power, float(excess.mean()), variance, noise)


def _integrate(nodes: list[Node]) -> LogRatio:
    """By the nodes in the middle; what those at both ends add says how good that is."""
    means, noise = np.array([node.mean for node in nodes]), np.array([node.noise for node in nodes])
    by_middle = np.concatenate([[0.0], WEIGHTS, [0.0]])
    powers = np.array([node.power for node in nodes])
    moments = 1.0 / np.arange(1.0, len(nodes) + 1.0)
    by_all = np.linalg.solve(np.vander(powers, increasing=True).T, moments)
    value, further = by_middle @ means, (by_all - by_middle) @ means
    error = float(np.sqrt(by_middle**2 @ noise + further**2))
    spreads = np.sqrt([node.variance for node in nodes])
    is_steady = bool(spreads.max() < STEADY * spreads.min())
    return LogRatio(float(value), error if is_steady else float("nan"))
