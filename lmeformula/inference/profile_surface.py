"""A likelihood in coordinates of which the first belongs to one parameter.

Whose likelihood it is makes no difference: see `profile_likelihoods`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.covariance.structure import Structure
from lmeformula.covariance.table import structure_of
from lmeformula.family.own import Ascending
from lmeformula.fit import FittedModel
from lmeformula.inference.profile_walk import Surface
from lmeformula.likelihood.protocol import Likelihood
from lmeformula.model.compile import Model
from lmeformula.model.params import Params, ParamSpace
from lmeformula.prediction.parameters import Parameter

# Relative standard deviations below this are as good as zero.
NIL = 1e-6
# The unconstrained form of a correlation ends where twice of it changes the correlation by less than this, and
# here at the latest.
SAME = 5e-7
STEEP = 1e3
# A search for the best standard deviations starts at no relative one below this, and at no unconstrained form
# of a correlation beyond that: further out the log-likelihood is flat.
LEAST_SD = 0.03
MOST_BEND = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """A parameter and the surface that it is a coordinate of.

    Attributes:
      parameter: which.
      surface: the log-likelihood; its first coordinate belongs to the parameter.
      report: first coordinate -> the parameter on its reporting scale; a bound at the surface's limits.
      report_slope: its derivative.
    """

    parameter: Parameter
    surface: Surface
    report: Callable[[float], float]
    report_slope: Callable[[float], float]


def slice_by(
    likelihood_of: Callable[[Model], Likelihood],
    fit: FittedModel,
    parameter: Parameter,
    index: int,
) -> Slice:
    """The surface of one parameter.

    Coordinates are the unconstrained parameters, fixed effects and the first threshold in standard errors. Of
    a later threshold, which depends on those before it, the first coordinate takes the place of the first one.
    Of the forms of correlations it is the inverse hyperbolic sine, with which they end at a few units.

    Args:
      likelihood_of: model -> its likelihood.
      fit: its parameters are where the likelihood is highest.
      parameter: which.
      index: its position in psi.
    """
    model, params, stderr = fit.model, fit.params, fit.param_stderr
    is_correlation = parameter.effect == "cor"
    if is_correlation:
        model, params, index = leading_pair(model, params, index)
    space, likelihood = model.space, likelihood_of(model)
    box = box_of(space, likelihood.scales, likelihood.unit)
    centre = np.clip(space.to_free(params), box.lowest, box.highest)
    unit = np.ones(space.size)
    unit[: space.num_fixed] = stderr[: space.num_fixed]
    # The element of psi that the first coordinate moves, about its origin.
    moved, origin, distances = index, float(centre[index]), slice(0, 0)
    if isinstance(space.own.scale, Ascending):
        start = space.own_slice.start
        unit[start] = stderr[start]
        if start < index:
            # A later threshold is held, and the first one is what the distances leave of it.
            moved, distances = start, slice(start + 1, index + 1)
            origin = float(space.to_report(centre)[index])
    others = np.flatnonzero(~likelihood.solved & (np.arange(space.size) != moved))

    def form(at: float) -> float:
        return math.sinh(at) if is_correlation else origin + float(unit[moved]) * at

    def form_slope(at: float) -> float:
        return math.cosh(at) if is_correlation else float(unit[moved])

    def whole(first: float, rest: Floats | float = 0.0) -> Floats:
        """(d,) psi at the first coordinate and the others (m - 1,), differences from the centre in units."""
        psi = centre.copy()
        psi[others] += unit[others] * rest
        psi[moved] = form(first) - np.exp(psi[distances]).sum()
        return psi

    def coordinates(first: float, psi: Floats) -> Floats:
        """(m,) the first coordinate, and those of the others at psi (d,)."""
        return np.concatenate([[first], ((psi - centre) / unit)[others]])

    def value(at: Floats) -> tuple[float, Floats]:
        asked = whole(at[0], at[1:])
        inside = np.clip(asked, box.lowest, box.highest)
        found, slope = likelihood.at(inside, index)
        slope = np.where(inside == asked, slope, 0.0)
        slope[distances] -= slope[moved] * np.exp(asked[distances])
        return found, np.concatenate([[slope[moved] * form_slope(at[0])], (slope * unit)[others]])

    def interior(at: Floats) -> Floats:
        return coordinates(at[0], np.clip(whole(at[0], at[1:]), box.low, box.high))

    ends = (float(box.lowest[moved]), float(box.highest[moved]))
    if is_correlation:
        limits, first = (math.asinh(ends[0]), math.asinh(ends[1])), math.asinh(origin)
    else:
        shifted = [(end - centre[moved]) / unit[moved] for end in ends]
        limits, first = (float(shifted[0]), float(shifted[1])), 0.0

    def report(at: float) -> float:
        if not limits[0] < at < limits[1]:
            return parameter.bounds[0 if at <= limits[0] else 1]
        return float(space.to_report(whole(at))[index])

    def report_slope(at: float) -> float:
        return float(space.report_jacobian(whole(at))[index, moved]) * form_slope(at)

    surface = Surface(value, coordinates(first, centre), interior, limits)
    return Slice(parameter, surface, report, report_slope)


class Box(NamedTuple):
    """Bounds of all unconstrained parameters (d,).

    Attributes:
      lowest, highest: beyond them the log-likelihood no longer changes.
      low, high: beyond them it hardly does.
    """

    lowest: Floats
    highest: Floats
    low: Floats
    high: Floats


def box_of(space: ParamSpace, scales: tuple[Floats, ...], sigma: float) -> Box:
    """The box of the parameters.

    Args:
      space: the parameter space.
      scales: (k,) root mean squares of the columns of each term.
      sigma: residual standard deviation, or what else standard deviations are judged by.
    """
    box = Box(*(np.full(space.size, bound) for bound in (-np.inf, np.inf, -np.inf, np.inf)))
    for term, place, scale in zip(space.terms, space.theta_slices, scales, strict=True):
        k, start = len(term.columns), place.start
        num_sds = term.structure.num_sds(k)
        sds = slice(start, start + num_sds)
        unit = np.log(sigma / (scale if num_sds == k else scale.max()))
        box.lowest[sds], box.low[sds] = math.log(NIL) + unit, math.log(LEAST_SD) + unit
        for j in range(start + num_sds, place.stop):
            for sign, far, near in ((-1, box.lowest, box.low), (1, box.highest, box.high)):
                reach = _reach(term.structure, k, j - start, sign)
                far[j], near[j] = sign * reach, sign * min(MOST_BEND, 0.5 * reach)
    return box


def _reach(structure: Structure, k: int, place: int, sign: int) -> float:
    """How far the unconstrained form of a correlation goes before it makes no difference any more."""

    def report(at: float) -> float:
        theta = np.zeros(structure.num_params(k))
        theta[place] = sign * at
        return float(structure.to_report(theta, k)[place])

    reach = 1.0
    while reach < STEEP and abs(report(2.0 * reach) - report(reach)) > SAME:
        reach *= 1.25
    return reach


def leading_pair(model: Model, params: Params, index: int) -> tuple[Model, Params, int]:
    """Put the two coefficients of a correlation first, where it is an element of theta by itself.

    In an unstructured covariance the correlation of the first two coefficients depends on one element of
    theta; that of any other pair on several.

    Args:
      model: the model.
      params: its estimates.
      index: position of the correlation in psi.
    Returns:
      The model, the estimates and the position, with the coefficients of the term in that order.
    """
    space, design = model.space, model.design
    number = next(
        j for j, place in enumerate(space.theta_slices) if place.start <= index < place.stop
    )
    place, term = space.theta_slices[number], design.terms[number]
    k = len(term.columns)
    if structure_of(term).correlations != "each" or k == 2:
        return model, params, index
    rows, columns = np.tril_indices(k, -1)
    pair = index - place.start - k
    second, first = int(rows[pair]), int(columns[pair])
    order = [first, second, *(j for j in range(k) if j not in (first, second))]
    names = tuple(term.columns[j] for j in order)
    blocks, shapes = list(design.terms), list(space.terms)
    predictors = tuple(term.predictors[j] for j in order)
    blocks[number] = replace(
        term, columns=names, values=term.values[:, order], predictors=predictors
    )
    shapes[number] = shapes[number]._replace(columns=names)
    covariances = list(params.covariances)
    covariances[number] = covariances[number][np.ix_(order, order)]
    reordered = replace(
        model,
        design=replace(design, terms=tuple(blocks)),
        space=replace(space, terms=tuple(shapes)),
    )
    return reordered, params._replace(covariances=tuple(covariances)), place.start + k
