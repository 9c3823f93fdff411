"""Directions in the parameters of covariances along which a likelihood is smooth.

A covariance that is unstructured for all columns of the same span, becomes that of orthogonal columns: its
logarithms and correlations are ill conditioned where, say, a slope column is far from zero, though the data
determine the covariance well.
"""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats, Mask
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
      The directions in columns; a parameter that is no unstructured covariance's goes by itself.
    """
    space = model.space
    back = np.eye(space.size)
    factors, slopes = space.factors(psi), space.factor_changes(psi)
    for term, block, place, factor, slope in zip(
        space.terms, model.design.terms, space.theta_slices, factors, slopes, strict=True
    ):
        k = len(term.columns)
        free = place.start + np.flatnonzero(inside[place])
        if term.structure.correlations != "each" or k < 2 or not len(free):
            continue
        if len(slope) != k * (k + 1) // 2:
            continue
        own = np.linalg.qr(block.values, mode="r") / np.sqrt(len(block.values))
        half = slope[inside[place]] @ factor.T
        changes = own @ (half + half.transpose(0, 2, 1)) @ own.T
        rows, columns = np.tril_indices(k)
        forward = changes[:, rows, columns].T
        if len(free) < len(slope):
            # On a bound there are fewer: orthogonal directions among those that are left.
            forward = np.linalg.qr(forward, mode="r")
        if np.isfinite(forward).all() and np.linalg.cond(forward) < WORST:
            back[np.ix_(free, free)] = np.linalg.inv(forward)
    return back
