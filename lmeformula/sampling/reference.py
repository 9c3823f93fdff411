"""A Gaussian closer to the posterior of the effects than the one at its mode: what the bridge starts from.

The Laplace approximation has the curvature of the log density at its mode. With the mean derivatives of the
rows over that approximation in place of those at the mode, one Newton step is one step towards the Gaussian
with the least Kullback-Leibler divergence from the posterior. The log ratio of the densities then spreads by a
third as much, and the bridge needs a tenth of the draws.

Reference: Opper, Archambeau (2009), Neural Computation 21, 786-792, for the fixed point.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.algebra.factor import Factor
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.probed import NearFactor
from lmeformula.arrays import Floats
from lmeformula.likelihood.laplace.likelihood import Mode, Problem
from lmeformula.sampling.laplace import whitening_factor, whitening_root
from lmeformula.sampling.whitened import Whitening

# Nodes of the quadrature for the rows' mean derivatives.
NUM_NODES = 7
# The predictors of draws are worked out for as many draws as this many numbers hold.
CALL_NUMBERS = 4_000_000


class Reference(NamedTuple):
    """N(center, M^-1) of the spherical effects.

    Attributes:
      center: (q,).
      weights: (n,) W of M = Lambda' Z'WZ Lambda + I.
      factor: of M, or what stands for it.
    """

    center: Floats
    weights: Floats
    factor: Factor | NearFactor


def reference_at(arrays: Problem, mode: Mode, directions: Floats | None = None) -> Reference:
    """The Gaussian; the one at the mode itself where the mean derivatives make none.

    Args:
      arrays: the model's arrays.
      mode: the conditional mode.
      directions: of what stands for M where that is not factored; see `whitening_factor`.
    """
    lambdas = mode.at.lambdas
    factor = whitening_factor(mode.factor, directions)
    scale = np.sqrt(factor.leverages())
    nodes, shares = np.polynomial.hermite_e.hermegauss(NUM_NODES)
    first, weights = np.zeros_like(scale), np.zeros_like(scale)
    for node, share in zip(nodes, shares / shares.sum(), strict=True):
        rows = arrays.rows.slopes(mode.eta + node * scale, mode.at.own)
        first += share * rows.first
        weights -= share * rows.second
    plan = factor.plan
    gradient = apply_lambda(plan, lambdas, plan.gather(first), transpose=True) - mode.u
    try:
        nearer = arrays.factorize(weights, lambdas)
        step = nearer.solve(gradient)
        found = whitening_factor(nearer, directions)
    except np.linalg.LinAlgError:
        return Reference(mode.u, mode.weights, factor)
    if not np.isfinite(step).all():
        return Reference(mode.u, mode.weights, factor)
    return Reference(mode.u + step, weights, found)


def whitening_of(reference: Reference, arrays: Problem, mode: Mode, white: Whitening) -> Whitening:
    """The coordinates in which the reference is N(0, I); what is for scores only stays as it was."""
    root = whitening_root(reference.factor)
    effects = apply_lambda(reference.factor.plan, mode.at.lambdas, reference.center)
    eta = arrays.offset + arrays.X @ mode.at.beta + reference.factor.plan.spread(effects)
    return white._replace(
        eta=eta,
        modes=reference.center,
        weights=reference.weights,
        lead_inverse=root.lead_inverse,
        rest_inverse=root.rest_inverse,
    )


def excess_over(
    reference: Reference,
    mode: Mode,
    positions: Floats,
    excess: Floats,
    directions: Floats | None = None,
) -> Floats:
    """The log density over that of the reference, without its constant.

    Args:
      reference: the reference.
      mode: of the coordinates that the draws are in, with these `directions`.
      positions: (m, q, c) draws, in the coordinates where the approximation at the mode is N(0, I).
      excess: (m, c) the log density over that of N(0, I) at the draws.
    Returns:
      (m, c).
    """
    factor = whitening_factor(mode.factor, directions)
    m, q, c = positions.shape
    flat = positions.transpose(1, 0, 2).reshape(q, m * c)
    found = np.empty(m * c)
    at_once = max(1, CALL_NUMBERS // max(q, len(mode.eta)))
    for start in range(0, m * c, at_once):
        z = flat[:, start : start + at_once]
        away = (mode.u - reference.center)[:, None] + factor.solve_upper(z)
        if isinstance(reference.factor, NearFactor):
            moved = reference.factor.coordinates(away)
            squares = np.einsum("qm,qm->m", moved, moved)
        else:
            effects = apply_lambda(factor.plan, mode.at.lambdas, away)
            squares = reference.weights @ np.square(factor.plan.spread(effects))
            squares = squares + np.einsum("qm,qm->m", away, away)
        found[start : start + at_once] = 0.5 * (squares - np.einsum("qm,qm->m", z, z))
    return excess + found.reshape(m, c)
