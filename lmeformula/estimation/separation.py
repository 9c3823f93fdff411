"""Tell where a likelihood has no maximum, since a coefficient predicts some of the responses perfectly.

Coefficients of an own parameter that has a limit may be endless as well: what they lead to is a simpler family.

Three rules. Where every response is predicted with a chance of more than one half, all coefficients times a
larger number predict better still. So do coefficients and effects where every response is nearly certain given
the effects, as where those of each group are all alike: the likelihood rises with the standard deviations for
ever, and Laplace's approximation has its maximum where it is none. And where a direction of the coefficients
moves rows only whose likelihood is flat, so that one standard error is many times what was estimated, the
estimate is where the ascent gave up on the way to infinity.

Reference: Albert, Anderson (1984), On the existence of maximum likelihood estimates in logistic regression
models, Biometrika 71, 1-10.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.orthogonal import orthogonal
from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.family import Family
from lmeformula.family.limit import Limit
from lmeformula.family.predicted import predicted_of
from lmeformula.likelihood.laplace.fit import LaplaceFit
from lmeformula.model.compile import Model

# The mean curvature of the rows that a direction moves, below which their likelihood counts as flat: a logistic
# likelihood has it where the predictor is 14.
FLAT = 1e-6
# A standard error this many times the estimate says that the estimate says nothing.
NOTHING = 10.0
# Rows say no more than this: one that says very much drowns what others do not say.
MOST_WEIGHT = 1.0
# Chances of responses given the effects that are nearly one.
CERTAIN = 0.99
# The share of a direction that a coefficient must have to be named.
SHARE = 0.1


class Ended(NamedTuple):
    """Where an ascent ended.

    Attributes:
      value: the log-likelihood.
      beta: (p,) fixed effects.
      own: (v,) natural own parameters.
      weights: (v n,) the stacked rows' curvatures in the predictors.
      at_zero: (v n,) the same where all predictors are zero, or amid the thresholds.
    """

    value: float
    beta: Floats
    own: Floats
    weights: Floats
    at_zero: Floats


def separated(model: Model, found: LaplaceFit) -> Mask:
    """Find the parameters that have no finite estimate: all, or as `endless` does.

    Args:
      model: the model.
      found: where the ascent of its Laplace approximation ended.
    Returns:
      (d,) True for such parameters, or on bounds, where effects predict every response.
    """
    there, params = found.approximation, found.params
    at_zero = _at_zero(model, found)
    if model.penalty is not None:
        # What a prior holds has an estimate, however well the rest predicts.
        told = Ended(-math.inf, params.beta, params.own, there.mode.weights, at_zero)
        return endless(model, told) & ~model.penalty.covered()
    is_told = bool(is_perfect(model.family, there.value))
    if not is_told and _are_certain(model, there.mode.rows.values, at_zero):
        return np.ones(model.space.size, bool)
    return endless(model, Ended(there.value, params.beta, params.own, there.mode.weights, at_zero))


def endless(model: Model, ended: Ended) -> Mask:
    """Find the parameters that have no finite estimate.

    Args:
      model: the model.
      ended: where the ascent of its Laplace approximation ended.
    Returns:
      (d,) True for such fixed effects, and for the thresholds of ordered categories that go with them; all
      False where predictors have units of their own, as with an identity link.
    """
    space, family = model.space, model.family
    mask = np.zeros(space.size, dtype=bool)
    if not (space.num_fixed or family.thresholds):
        return mask
    own = space.own_slice if family.thresholds else slice(0, 0)
    if bool(is_perfect(family, ended.value)):
        mask[: space.num_fixed], mask[own] = True, True
        return mask
    weights = _blocks(model, ended.weights)
    at_zero = _blocks(model, ended.at_zero)
    for group in _groups(model):
        columns = np.isin(_places(model), group)
        X, estimates = model.design.X[:, columns], ended.beta[columns]
        within = _places(model)[columns] - group[0]
        if family.thresholds and group[0] == 0:
            # Moving all thresholds down is moving all rows up.
            X, within = np.column_stack([X, np.ones(len(X))]), np.append(within, 0)
            estimates = np.append(estimates, -np.mean(ended.own))
        if not X.shape[1]:
            continue
        here, before = _among(weights, group), _among(at_zero, group)
        named = _endless(X, within, estimates, here, before, model.design.frequencies)
        mask[: space.num_fixed][columns] = named[: int(columns.sum())]
        if family.thresholds and group[0] == 0:
            mask[own] = named[-1]
    return mask


def is_perfect(family: Family, values: Floats | float) -> Mask:
    """Whether log-likelihoods say that every response is predicted with a chance of more than one half."""
    has_chances = family.base.measure in ("classes", "categories") or bool(family.thresholds)
    return np.asarray(has_chances & (np.asarray(values) > -math.log(2.0)))


def _are_certain(model: Model, values: Floats, at_zero: Floats) -> bool:
    """Whether every response is nearly certain given the effects, and some say anything.

    Args:
      model: the model.
      values: (n,) log densities of the rows.
      at_zero: (v n,) curvatures where all predictors are zero.
    """
    family, chances = model.family, values / model.design.frequencies
    has_chances = family.base.measure in ("classes", "categories", "shares")
    if not (has_chances or family.thresholds) or chances.min() < math.log(CERTAIN):
        return False
    return bool(np.abs(at_zero.reshape(-1, len(values)) / model.design.frequencies).max() > FLAT)


def without_end(model: Model, found: LaplaceFit) -> Mask:
    """Find the coefficients of own parameters with a formula that run to a limit of the parameter.

    Args:
      model: the model.
      found: where the ascent of its Laplace approximation ended.
    Returns:
      (d,) True for those that take part in a direction in which the likelihood is flat, towards the limit.
    """
    mask = np.zeros(model.space.size, dtype=bool)
    limits = _limits(model)
    if not limits:
        return mask
    weights = _blocks(model, found.approximation.mode.weights)
    at_zero = _blocks(model, _at_zero(model, found))
    for predictor, limit in limits.items():
        columns = _places(model) == predictor
        X, estimates = model.design.X[:, columns], found.params.beta[columns]
        if not X.shape[1]:
            continue
        here, before = _among(weights, [predictor]), _among(at_zero, [predictor])
        within = np.zeros(X.shape[1], int)
        named = _endless(X, within, estimates, here, before, model.design.frequencies)
        reached = X @ estimates
        moved = (np.abs(X[:, named]) > 0.0).any(axis=1) & (here[:, 0, 0] < FLAT)
        if moved.any() and ((reached if limit.is_upwards else -reached)[moved] > 0.0).all():
            mask[: len(columns)][columns] = named
    return mask


def _limits(model: Model) -> dict[int, Limit]:
    """The limits of the own parameters that have predictors, by the number of the predictor."""
    family = model.family
    places = {rule.name: rule.place for rule in family.base.predicted}
    by_name = {limit.name: limit for limit in family.base.limits}
    found: dict[int, Limit] = {}
    for number, name in enumerate(family.predictors):
        place = places.get(name)
        if place is not None:
            own = family.base.own(model.design.first).names[place]
            found |= {number: by_name[own]} if own in by_name else {}
    return found


def _places(model: Model) -> Ints:
    """(p,) the number of the predictor that each fixed column is of."""
    return np.array(model.design.column_predictors, int)


def _groups(model: Model) -> list[list[int]]:
    """Predictors whose coefficients may be endless, those together that only are so together.

    A category may be told from all others, whose predictors then move as one. Left out are predictors with
    units of their own, and logarithms of dispersions, which have other reasons to be endless; see
    `without_end`.
    """
    family = model.family
    if family.is_unordered:
        return [list(range(len(family.predictors)))]
    links = [family.link, *(predicted_of(family.base, one).link for one in family.further)]
    return [[k] for k, link in enumerate(links) if (link == "logit" if k else link != "identity")]


def _blocks(model: Model, weights: Floats) -> Floats:
    """(n, K, K) curvatures in the predictors of one observation of each row, from those of the stacked rows."""
    return model.stack.mixture.to_blocks(weights) / model.design.frequencies[:, None, None]


def _among(blocks: Floats, group: list[int]) -> Floats:
    """(n, g, g) those in some of the predictors."""
    found = blocks[:, group][:, :, group]
    return np.asarray(np.abs(found) if len(group) == 1 else found)


def _at_zero(model: Model, found: LaplaceFit) -> Floats:
    """(v n,) the stacked rows' curvatures where all predictors are zero, or amid the thresholds."""
    free = model.space.own.scale.to_free(found.params.own)
    eta = predictors_at_zero(model, found.params.own)
    return np.asarray(-found.problem.rows.slopes(eta, free).second)


def predictors_at_zero(model: Model, own: Floats) -> Floats:
    """(v n,) predictors of zero, or amid the thresholds among the own parameters (v,)."""
    eta = np.zeros_like(model.stack.offset)
    if model.family.thresholds:
        eta[: model.design.n] = np.mean(own)
    return eta


def _endless(
    X: Floats,
    places: Ints,
    estimates: Floats,
    weights: Floats,
    at_zero: Floats,
    times: Floats,
) -> Mask:
    """(p,) which columns have a part in a direction in which the likelihood is flat, having gone far.

    Rows without trials are flat everywhere: they predict nothing perfectly.

    Args:
      X: (n, p) columns.
      places: (p,) which of g predictors each is of.
      estimates: (p,) their coefficients.
      weights: (n, g, g) curvatures in the predictors of one observation of each row.
      at_zero: the same where all predictors are zero.
      times: (n,) how many observations that is.
    """
    p = X.shape[1]
    X = X * np.sqrt(times)[:, None]
    Q, R = np.zeros_like(X), np.zeros((p, p))
    owns = [places == place for place in range(weights.shape[1])]
    for own in owns:
        Q[:, own], R[np.ix_(own, own)] = orthogonal(X[:, own])

    def curvature(rows: Floats) -> Floats:
        most = np.abs(np.einsum("nkk->nk", rows)).max(axis=1)
        capped = rows / np.maximum(most, MOST_WEIGHT)[:, None, None]
        total = np.zeros((p, p))
        # By pairs of predictors: no array has more numbers than X.
        for (k, one), (m, other) in itertools.product(enumerate(owns), repeat=2):
            total[np.ix_(one, other)] = Q[:, one].T @ (capped[:, k, m, None] * Q[:, other])
        return total

    curvatures, directions = np.linalg.eigh(curvature(weights))
    stderr = 1.0 / np.sqrt(np.maximum(curvatures, np.finfo(float).tiny))
    is_nowhere = (curvatures < FLAT) & (stderr > NOTHING * np.abs(directions.T @ R @ estimates))
    before = np.einsum("ij,jk,ki->i", directions.T, curvature(at_zero), directions)
    is_nowhere &= before > FLAT
    moved = np.linalg.solve(R, directions[:, is_nowhere])
    # In units of what each coefficient does to the predictor.
    size = np.abs(moved) * np.sqrt(np.mean(X**2, axis=0))[:, None]
    return np.asarray((size > SHARE * size.max(axis=0, initial=0.0)).any(axis=1))
