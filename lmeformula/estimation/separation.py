"""Tell where a likelihood has no maximum, since a coefficient predicts some of the responses perfectly.

Coefficients of an own parameter that has a limit may be endless as well: what they lead to is a simpler family.

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

from lmeformula.laplace.fit import LaplaceFit, own_parameters
from lmeformula.model.compile import Model
from lmeformula.model.family.limit import Limit
from lmeformula.model.family.limits import limits_of

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# The mean curvature of the rows that a direction moves, below which their likelihood counts as flat: a logistic
# likelihood has it where the predictor is 14.
FLAT = 1e-6
# A standard error this many times the estimate says that the estimate says nothing.
NOTHING = 10.0
# Rows say no more than this: one that says very much drowns what others do not say.
MOST_WEIGHT = 1.0
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
    space, family = model.space, model.family
    mask = np.zeros(space.size, dtype=bool)
    if not (space.num_fixed or family.thresholds):
        return mask
    own = space.own_slice if family.thresholds else slice(0, 0)
    kinds = family.base or family
    has_chances = kinds.measure in ("classes", "categories") or bool(family.thresholds)
    if has_chances and found.approximation.value > -math.log(2.0):
        mask[: space.num_fixed], mask[own] = True, True
        return mask
    at_zero = _at_zero(model, found)
    for predictor, (columns, weights) in enumerate(_predictors(model, found)):
        X, estimates = model.design.X[:, columns], found.params.beta[columns]
        if family.thresholds and predictor == 0:
            # Moving all thresholds down is moving all rows up.
            X = np.column_stack([X, np.ones(len(X))])
            estimates = np.append(estimates, -np.mean(found.params.own))
        if weights is None or not X.shape[1]:
            continue
        named = _endless(X, estimates, weights, at_zero[predictor])
        mask[: space.num_fixed][columns] = named[: int(columns.sum())]
        if family.thresholds and predictor == 0:
            mask[own] = named[-1]
    return mask


def without_end(model: Model, found: LaplaceFit) -> Mask:
    """Find the coefficients of own parameters with a formula that run to a limit of the parameter.

    Args:
      model: the model.
      found: where the ascent of its Laplace approximation ended.
    Returns:
      (d,) True for those that take part in a direction in which the likelihood is flat, towards the limit.
    """
    mask = np.zeros(model.space.size, dtype=bool)
    if model.stack.mixture is None or model.family.within is None:
        return mask
    blocks = model.stack.mixture.to_blocks(found.approximation.mode.weights)
    places = np.array(model.design.column_predictors, int)
    at_zero = _at_zero(model, found)
    for predictor, limit in _limits(model).items():
        columns = places == predictor
        X, estimates = model.design.X[:, columns], found.params.beta[columns]
        weights = np.abs(blocks[:, predictor, predictor])
        if not X.shape[1]:
            continue
        named = _endless(X, estimates, weights, at_zero[predictor])
        reached = X @ estimates
        moved = (np.abs(X[:, named]) > 0.0).any(axis=1) & (weights < FLAT)
        if moved.any() and ((reached if limit.is_upwards else -reached)[moved] > 0.0).all():
            mask[: len(columns)][columns] = named
    return mask


def _limits(model: Model) -> dict[int, Limit]:
    """The limits of the own parameters that have predictors, by the number of the predictor."""
    family = model.family
    if family.base is None:
        return {}
    parts = {rule.name: rule for rule in family.base.parts}
    own = family.base.own(model.design.first).names
    by_name = {limit.name: limit for limit in limits_of(family.base)}
    found = {}
    for number, name in enumerate(family.predictors[1:], 1):
        place = parts[name].place
        if place is not None and own[place] in by_name:
            found[number] = by_name[own[place]]
    return found


def _predictors(model: Model, found: LaplaceFit) -> list[tuple[Mask, Floats | None]]:
    """The fixed columns (p,) of each linear predictor, and the rows' curvatures (n,) in it.

    None for those with units of their own, and for logarithms of dispersions, which have other reasons to be
    endless; see `without_end`.
    """
    design, family = model.design, model.family
    weights, mixture = found.approximation.mode.weights, model.stack.mixture
    is_first = family.link != "identity"
    if mixture is None:
        whole = np.ones(len(design.names), bool)
        return [(whole, np.abs(weights) if is_first else None)]
    links = [family.link] * len(family.predictors)
    if family.within is not None:
        of = {rule.name: rule.link for rule in family.base.parts}
        links = [family.link, *(of[name] for name in family.predictors[1:])]
    blocks, places = mixture.to_blocks(weights), np.array(design.column_predictors, int)
    return [
        (
            places == k,
            np.abs(blocks[:, k, k]) if (is_first if k == 0 else link == "logit") else None,
        )
        for k, link in enumerate(links)
    ]


def _at_zero(model: Model, found: LaplaceFit) -> Floats:
    """(K, n) the rows' curvatures in each predictor where all are zero, or amid the thresholds."""
    free = own_parameters(model.space, model.space.to_free(found.params))
    eta = np.zeros_like(found.problem.offset)
    if model.family.thresholds:
        eta[: model.design.n] = np.mean(found.params.own)
    weights = -found.problem.rows.slopes(eta, free).second
    mixture = model.stack.mixture
    if mixture is None:
        return np.abs(weights)[None]
    return np.asarray(np.abs(np.einsum("nkk->kn", mixture.to_blocks(weights))))


def _endless(X: Floats, estimates: Floats, weights: Floats, at_zero: Floats) -> Mask:
    """(p,) which columns have a part in a direction in which the likelihood is flat, having gone far.

    Rows without trials are flat everywhere: they predict nothing perfectly.
    """
    Q, R = np.linalg.qr(X)

    def curvature(rows: Floats) -> Floats:
        return np.asarray(Q.T @ (np.minimum(rows, MOST_WEIGHT)[:, None] * Q))

    curvatures, directions = np.linalg.eigh(curvature(weights))
    stderr = 1.0 / np.sqrt(np.maximum(curvatures, np.finfo(float).tiny))
    is_nowhere = (curvatures < FLAT) & (stderr > NOTHING * np.abs(directions.T @ R @ estimates))
    before = np.einsum("ij,jk,ki->i", directions.T, curvature(at_zero), directions)
    is_nowhere &= before > FLAT
    moved = np.linalg.solve(R, directions[:, is_nowhere])
    # In units of what each coefficient does to the predictor.
    size = np.abs(moved) * np.sqrt(np.mean(X**2, axis=0))[:, None]
    return np.asarray((size > SHARE * size.max(axis=0, initial=0.0)).any(axis=1))
