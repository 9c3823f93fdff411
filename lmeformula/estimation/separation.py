"""Tell where a likelihood has no maximum, since a coefficient predicts some of the responses perfectly.

Two rules. Where every response is predicted with a chance of more than one half, all coefficients times a
larger number predict better still. And where a direction of the coefficients moves rows only whose likelihood
is flat, so that one standard error is many times what was estimated, the estimate is where the ascent gave up
on the way to infinity.

Reference: Albert, Anderson (1984), On the existence of maximum likelihood estimates in logistic regression
models, Biometrika 71, 1-10.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lmeformula.laplace.fit import LaplaceFit
from lmeformula.model.compile import Model

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# The mean curvature of the rows that a direction moves, below which their likelihood counts as flat: a logistic
# likelihood has it where the predictor is 14.
FLAT = 1e-6
# A standard error this many times the estimate says that the estimate says nothing.
NOTHING = 10.0
# The share of a direction that a coefficient must have to be named.
SHARE = 0.1


def separated(model: Model, found: LaplaceFit) -> Mask:
    """Find the parameters that have no finite estimate.

    Args:
      model: the model.
      found: where the ascent of its Laplace approximation ended.
    Returns:
      (d,) True for such fixed effects, and for the thresholds of ordered categories that go with them; all
      False where predictors have units of their own, as with an identity link.
    """
    space, design, family = model.space, model.design, model.family
    mask = np.zeros(space.size, dtype=bool)
    if family.link == "identity" or not (space.num_fixed or family.thresholds):
        return mask
    own = space.own_slice if family.thresholds else slice(0, 0)
    has_chances = family.name == "bernoulli" or bool(family.thresholds)
    if has_chances and found.approximation.value > -math.log(2.0):
        mask[: space.num_fixed], mask[own] = True, True
        return mask
    X, estimates = design.X, found.params.beta
    if family.thresholds:
        # Moving all thresholds down is moving all rows up.
        X = np.column_stack([X, np.ones(design.n)])
        estimates = np.append(estimates, -np.mean(found.params.own))
    Q, R = np.linalg.qr(X)
    weights = np.abs(found.approximation.mode.weights)
    curvatures, directions = np.linalg.eigh(Q.T @ (weights[:, None] * Q))
    stderr = 1.0 / np.sqrt(np.maximum(curvatures, np.finfo(float).tiny))
    is_nowhere = (curvatures < FLAT) & (stderr > NOTHING * np.abs(directions.T @ R @ estimates))
    moved = np.linalg.solve(R, directions[:, is_nowhere])
    # In units of what each coefficient does to the predictor.
    size = np.abs(moved) * np.sqrt(np.mean(X**2, axis=0))[:, None]
    named = (size > SHARE * size.max(axis=0, initial=0.0)).any(axis=1)
    mask[: space.num_fixed] = named[: space.num_fixed]
    mask[own] = named[-1] and bool(family.thresholds)
    return mask
