"""Directions in the parameters of covariances along which a likelihood is smooth.

A covariance that is unstructured for all columns of the same span, becomes that of orthogonal columns: its
logarithms and correlations are ill conditioned where, say, a slope column is far from zero, though the data
determine the covariance well.
"""

from __future__ import annotations

import numpy as np

from lmeformula.algebra.lambdas import triangular_solved
from lmeformula.arrays import Floats, Mask
from lmeformula.design.shards import triangle_of
from lmeformula.model.compile import Model

# Coordinates that are worse conditioned than this have no directions.
WORST = 1e15


def covariance_ways(model: Model, psi: Floats, inside: Mask) -> Floats:
    """The derivative (d, d) of psi in covariances of orthogonal columns.

    Args:
      model: the model.
      psi: (d,) finite parameters.
      inside: (d,) which are off their bounds.
    Returns:
      The directions in columns; parameters of a structured covariance go by themselves, but for normal
      responses, beside whose residuals effects may be large without limit.
    """
    space, is_normal = model.space, model.family.is_normal
    back = np.eye(space.size)
    factors, slopes = space.factors(psi), space.factor_changes(psi)
    for place_of_term, (term, place, factor, slope) in enumerate(
        zip(space.terms, space.theta_slices, factors, slopes, strict=True)
    ):
        k = len(term.columns)
        free = place.start + np.flatnonzero(inside[place])
        if k < 2 or not 0 < len(free) <= k * (k + 1) // 2:
            continue
        if not (is_normal or term.structure.correlations == "each"):
            continue
        n = model.design.n
        own = triangle_of(model.design, place_of_term) / np.sqrt(n)
        if is_normal:
            # In units of what is seen of the effects: where these nearly go together, all others are large.
            effects, row = own @ factor, space.residual_sd(psi) ** 2
            seen = effects @ effects.T + row * term.num_levels / n * np.eye(k)
            own = triangular_solved(np.linalg.cholesky(seen), own)
        half = slope[inside[place]] @ factor.T
        changes = own @ (half + half.transpose(0, 2, 1)) @ own.T
        forward = changes[:, np.tri(k, dtype=bool)].T
        if len(free) < len(forward):
            # There are fewer: orthogonal directions among those that are left.
            forward = np.linalg.qr(forward, mode="r")
        if np.isfinite(forward).all() and np.linalg.cond(forward) < WORST:
            back[np.ix_(free, free)] = np.linalg.inv(forward)
    return back
