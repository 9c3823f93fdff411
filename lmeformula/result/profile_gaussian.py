"""Result stage: the log-likelihood of a fit in coordinates of which the first belongs to one parameter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.covariance.structure import Structure
from lmeformula.covariance.table import structure_of
from lmeformula.fit import FittedModel
from lmeformula.gaussian.exact import fit_exact
from lmeformula.gaussian.profiled import Held, concentrated
from lmeformula.gaussian.sums import sums
from lmeformula.model.compile import Model
from lmeformula.model.params import Params, ParamSpace
from lmeformula.result.parameters import Parameter
from lmeformula.result.profile_walk import Surface

Floats = NDArray[np.float64]

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


def of_fixed_effect(fit: FittedModel, parameter: Parameter, index: int) -> Slice:
    """The fixed effect in standard errors, then the covariance parameters; always of the likelihood."""
    data, space, params = sums(fit.model.design), fit.model.space, fit.params
    if fit.reml:
        params = fit_exact(data, space).params
    estimate, unit = float(params.beta[index]), parameter.std_error
    box = box_of(space, data.column_scales(), params.sigma)

    def value(at: Floats) -> tuple[float, Floats]:
        inside = np.clip(at[1:], box.lowest, box.highest)
        found = concentrated(data, space, inside, held=Held(index, estimate + unit * at[0]))
        slope = np.where(inside == at[1:], found.gradient, 0.0)
        return found.value, np.concatenate([[unit * found.in_held], slope])

    def interior(at: Floats) -> Floats:
        return np.concatenate([at[:1], np.clip(at[1:], box.low, box.high)])

    free = space.to_free(params)[space.num_fixed :]
    top = np.concatenate([[0.0], np.clip(free, box.lowest, box.highest)])
    surface = Surface(value, top, interior, (-math.inf, math.inf))
    shown = replace(parameter, estimate=estimate)
    return Slice(shown, surface, lambda at: estimate + unit * at, lambda at: unit)


def of_covariance(fit: FittedModel, parameter: Parameter, index: int) -> Slice:
    """The unconstrained form of an sd, a correlation or sigma, then those of the others.

    Of the forms of correlations the first coordinate is the inverse hyperbolic sine, with which they end at a
    few units.
    """
    model, params = fit.model, fit.params
    is_correlation = parameter.effect == "cor"
    if is_correlation:
        model, params, index = leading_pair(model, params, index)
    space, data = model.space, sums(model.design)
    place = index - space.num_fixed
    box = box_of(space, data.column_scales(), params.sigma)
    psi = space.to_free(params)
    free = np.clip(psi[space.num_fixed :], box.lowest, box.highest)

    def form(at: float) -> float:
        return math.sinh(at) if is_correlation else at

    def form_slope(at: float) -> float:
        return math.cosh(at) if is_correlation else 1.0

    def value(at: Floats) -> tuple[float, Floats]:
        asked = np.insert(at[1:], place, form(at[0]))
        inside = np.clip(asked, box.lowest, box.highest)
        found = concentrated(data, space, inside, reml=fit.reml)
        slope = np.where(inside == asked, found.gradient, 0.0)
        return found.value, np.concatenate(
            [[slope[place] * form_slope(at[0])], np.delete(slope, place)]
        )

    def interior(at: Floats) -> Floats:
        drawn = np.clip(at[1:], np.delete(box.low, place), np.delete(box.high, place))
        return np.concatenate([at[:1], drawn])

    def whole(at: float) -> Floats:
        return np.concatenate([params.beta, free[:place], [form(at)], free[place + 1 :]])

    limits = (box.lowest[place], box.highest[place])
    first = free[place]
    if is_correlation:
        limits, first = (math.asinh(limits[0]), math.asinh(limits[1])), math.asinh(first)

    def report(at: float) -> float:
        if not limits[0] < at < limits[1]:
            return parameter.bounds[0 if at <= limits[0] else 1]
        return float(space.to_report(whole(at))[index])

    def report_slope(at: float) -> float:
        return float(space.report_jacobian(whole(at))[index, index]) * form_slope(at)

    top = np.concatenate([[first], np.delete(free, place)])
    return Slice(parameter, Surface(value, top, interior, limits), report, report_slope)


class Box(NamedTuple):
    """Bounds of the covariance parameters.

    Attributes:
      lowest, highest: beyond them the log-likelihood no longer changes.
      low, high: beyond them it hardly does.
    """

    lowest: Floats
    highest: Floats
    low: Floats
    high: Floats


def box_of(space: ParamSpace, scales: tuple[Floats, ...], sigma: float | None) -> Box:
    """The box of the parameters after the fixed effects.

    Args:
      space: the parameter space.
      scales: (k,) root mean squares of the columns of each term.
      sigma: residual standard deviation, or what else standard deviations are judged by.
    """
    assert sigma is not None
    size = space.size - space.num_fixed
    box = Box(*(np.full(size, bound) for bound in (-np.inf, np.inf, -np.inf, np.inf)))
    for term, place, scale in zip(space.terms, space.theta_slices, scales, strict=True):
        k, start = len(term.columns), place.start - space.num_fixed
        num_sds = sum(
            name.startswith("sd(") for name in term.structure.param_names(term.name, term.columns)
        )
        sds = slice(start, start + num_sds)
        others = slice(start + num_sds, place.stop - space.num_fixed)
        unit = np.log(sigma / (scale if num_sds == k else scale.max()))
        box.lowest[sds], box.low[sds] = math.log(NIL) + unit, math.log(LEAST_SD) + unit
        for j in range(others.start, others.stop):
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
