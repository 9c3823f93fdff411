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

import math

import numpy as np

from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.design.design import Design
from lmeformula.estimation.curves import (
    Curves,
    Ended,
    at_zero_there,
    blocks,
    columns,
    curves,
    zero,
)
from lmeformula.family import Family
from lmeformula.family.limit import Limit
from lmeformula.family.predicted import predicted_of
from lmeformula.likelihood.laplace.fit import LaplaceFit
from lmeformula.likelihood.laplace.shared_rows import of_parts
from lmeformula.model.compile import Model
from lmeformula.rows.parts import Part

# The mean curvature of the rows that a direction moves, below which their likelihood counts as flat: a logistic
# likelihood has it where the predictor is 14.
FLAT = 1e-6
# A standard error this many times the estimate says that the estimate says nothing.
NOTHING = 10.0
# Chances of responses given the effects that are nearly one.
CERTAIN = 0.99
# The share of a direction that a coefficient must have to be named.
SHARE = 0.1


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
    if not is_told and _are_certain(model, found, at_zero):
        return np.ones(model.space.size, bool)
    weights = there.mode.weights
    return endless(model, Ended(there.value, params.beta, params.own, weights, at_zero, found))


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
    for group in _groups(model):
        columns = np.isin(_places(model), group)
        # Moving all thresholds down is moving all rows up.
        has_ones = bool(family.thresholds) and group[0] == 0
        estimates = ended.beta[columns]
        if has_ones:
            estimates = np.append(estimates, -np.mean(ended.own))
        if not len(estimates):
            continue
        named = _endless(curves(model, ended, group, has_ones), estimates)
        mask[: space.num_fixed][columns] = named[: int(columns.sum())]
        if has_ones:
            mask[own] = named[-1]
    return mask


def is_perfect(family: Family, values: Floats | float) -> Mask:
    """Whether log-likelihoods say that every response is predicted with a chance of more than one half."""
    has_chances = family.base.measure in ("classes", "categories") or bool(family.thresholds)
    return np.asarray(has_chances & (np.asarray(values) > -math.log(2.0)))


def _are_certain(model: Model, found: LaplaceFit, at_zero: Floats) -> bool:
    """Whether every response is nearly certain given the effects, and some say anything.

    Args:
      model: the model.
      found: where the ascent ended.
      at_zero: (v n,) curvatures where all predictors are zero.
    """
    family, mode = model.family, found.approximation.mode
    if not (family.base.measure in ("classes", "categories", "shares") or family.thresholds):
        return False
    if model.design.shards is None:
        values = found.problem.rows.slopes(mode.eta, mode.at.own).values
        told = [_certainty(values, at_zero, model.design.frequencies)]
    else:
        told = of_parts(found.problem, mode).ask(_certainty_there, *zero(model, found.params.own))
    return all(one for one, _ in told) and any(other for _, other in told)


def _certainty(values: Floats, at_zero: Floats, times: Floats) -> tuple[bool, bool]:
    """Whether all rows are nearly certain, and whether some say anything."""
    if not len(values):
        return True, False
    is_told = np.abs(at_zero.reshape(-1, len(values)) / times).max() > FLAT
    return bool((values / times).min() >= math.log(CERTAIN)), bool(is_told)


def _certainty_there(part: Part, middle: float, free: Floats) -> tuple[bool, bool]:
    values = part.held["rows"].slopes(part.held["look"].eta, free).values
    return _certainty(values, at_zero_there(part, middle, free), part.rows.frequencies)


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
    mode, params = found.approximation.mode, found.params
    ended = Ended(mode.value, params.beta, params.own, mode.weights, _at_zero(model, found), found)
    for predictor, limit in limits.items():
        columns = _places(model) == predictor
        estimates = params.beta[columns]
        if not len(estimates):
            continue
        named = _endless(curves(model, ended, [predictor], False), estimates)
        towards = estimates if limit.is_upwards else -estimates
        if model.design.shards is None:
            weights = blocks(mode.weights, model.stack.mixture, model.design.frequencies)
            told = [_moved(model.design, weights, predictor, towards, named)]
        else:
            parts = of_parts(found.problem, mode)
            told = parts.ask(_moved_there, predictor, towards, named)
        if any(one for one, _ in told) and all(other for _, other in told):
            mask[: len(columns)][columns] = named
    return mask


def _moved(
    design: Design, weights: Floats, predictor: int, towards: Floats, named: Mask
) -> tuple[bool, bool]:
    """Whether flat rows are moved by the columns that are named, and all of these towards the limit."""
    X, _ = columns(design, [predictor], False)
    moved = (np.abs(X[:, named]) > 0.0).any(axis=1) & (weights[:, predictor, predictor] < FLAT)
    return bool(moved.any()), bool(((X @ towards)[moved] > 0.0).all())


def _moved_there(part: Part, predictor: int, towards: Floats, named: Mask) -> tuple[bool, bool]:
    mixture, times = part.held["stack"].mixture, part.rows.frequencies
    weights = blocks(part.held["weights"], mixture, times)
    return _moved(part.rows, weights, predictor, towards, named)


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


def _at_zero(model: Model, found: LaplaceFit) -> Floats:
    """(v n,) the stacked rows' curvatures where all predictors are zero, or amid the thresholds."""
    if model.design.shards is not None:
        # It is worked out there.
        return found.approximation.mode.weights
    free = model.space.own.scale.to_free(found.params.own)
    eta = predictors_at_zero(model, found.params.own)
    return np.asarray(-found.problem.rows.slopes(eta, free).second)


def predictors_at_zero(model: Model, own: Floats) -> Floats:
    """(v n,) predictors of zero, or amid the thresholds among the own parameters (v,)."""
    eta = np.zeros_like(model.stack.offset)
    if model.family.thresholds:
        eta[: model.design.n] = np.mean(own)
    return eta


def _endless(curves: Curves, estimates: Floats) -> Mask:
    """(p,) which columns have a part in a direction in which the likelihood is flat, having gone far.

    Args:
      curves: what rows say of the columns.
      estimates: (p,) their coefficients.
    """
    curvatures, directions = np.linalg.eigh(curves.here)
    stderr = 1.0 / np.sqrt(np.maximum(curvatures, np.finfo(float).tiny))
    far = NOTHING * np.abs(directions.T @ curves.R @ estimates)
    is_nowhere = (curvatures < FLAT) & (stderr > far)
    before = np.einsum("ij,jk,ki->i", directions.T, curves.before, directions)
    is_nowhere &= before > FLAT
    moved = np.linalg.solve(curves.R, directions[:, is_nowhere])
    # In units of what each coefficient does to the predictor.
    size = np.abs(moved) * np.sqrt(curves.squares / curves.num_rows)[:, None]
    return np.asarray((size > SHARE * size.max(axis=0, initial=0.0)).any(axis=1))
