"""Result stage: the log-likelihood of a fit in coordinates of which the first belongs to one parameter."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.design.design import Design
from lmeformula.errors import ModelError
from lmeformula.gaussian.exact import column_scales, fit_exact
from lmeformula.gaussian.likelihood import sums
from lmeformula.gaussian.profiled import Held, concentrated
from lmeformula.model.params import Params, ParamSpace, param_space
from lmeformula.result.parameters import Parameter, parameters
from lmeformula.result.ridge import Surface

if TYPE_CHECKING:
    from lmeformula.fit import Fit

Floats = NDArray[np.float64]

# Relative standard deviations below this are as good as zero.
NIL = 1e-6
# The unconstrained form of a correlation that is as good as 1.
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


def slice_of(fit: Fit, index: int) -> Slice:
    """The surface in which one parameter of a fit is profiled.

    Args:
      fit: the fit; its model is Gaussian.
      index: position of the parameter in `fit.param_names`.
    Raises:
      ModelError: if the likelihood of the fit cannot be evaluated without Monte Carlo error.
    """
    if fit.model.family.name != "gaussian":
        raise ModelError(
            f"no profile likelihood of a {fit.model.family.name} model fitted by {fit.method}",
            hint='Profiles are of exact likelihoods; use method="wald".',
        )
    parameter = parameters(fit)[index]
    if parameter.effect == "fixed":
        return _of_fixed_effect(fit, parameter, index)
    return _of_covariance(fit, parameter, index)


def _of_fixed_effect(fit: Fit, parameter: Parameter, index: int) -> Slice:
    """The fixed effect in standard errors, then the covariance parameters; always of the likelihood."""
    data, space, params = sums(fit.model.design), fit.model.space, fit.params
    if fit.reml:
        params = fit_exact(data, space).params
    estimate, unit = float(params.beta[index]), parameter.std_error
    box = _box(space, column_scales(data), params.sigma)

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


def _of_covariance(fit: Fit, parameter: Parameter, index: int) -> Slice:
    """The unconstrained form of an sd, a correlation or sigma, then those of the others.

    Of the forms of correlations the first coordinate is the inverse hyperbolic sine, with which they end at a
    few units.
    """
    design, space, params = fit.model.design, fit.model.space, fit.params
    is_correlation = parameter.effect == "cor"
    if is_correlation:
        design, space, params, index = _leading_pair(design, space, params, index)
    data = sums(design)
    place = index - space.num_fixed
    box = _box(space, column_scales(data), params.sigma)
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


class _Box(NamedTuple):
    """Bounds of the covariance parameters.

    Attributes:
      lowest, highest: beyond them the log-likelihood no longer changes.
      low, high: beyond them it hardly does.
    """

    lowest: Floats
    highest: Floats
    low: Floats
    high: Floats


def _box(space: ParamSpace, scales: tuple[Floats, ...], sigma: float | None) -> _Box:
    assert sigma is not None
    size = space.size - space.num_fixed
    box = _Box(*(np.full(size, bound) for bound in (-np.inf, np.inf, -np.inf, np.inf)))
    for term, place, scale in zip(space.terms, space.theta_slices, scales, strict=True):
        k, start = len(term.columns), place.start - space.num_fixed
        num_sds = sum(
            name.startswith("sd(") for name in term.structure.param_names(term.name, term.columns)
        )
        sds = slice(start, start + num_sds)
        others = slice(start + num_sds, place.stop - space.num_fixed)
        unit = np.log(sigma / (scale if num_sds == k else scale.max()))
        box.lowest[sds], box.low[sds] = math.log(NIL) + unit, math.log(LEAST_SD) + unit
        box.lowest[others], box.low[others] = -STEEP, -MOST_BEND
        box.highest[others], box.high[others] = STEEP, MOST_BEND
    return box


def _leading_pair(
    design: Design, space: ParamSpace, params: Params, index: int
) -> tuple[Design, ParamSpace, Params, int]:
    """Put the two coefficients of a correlation first, where it is an element of theta by itself.

    In an unstructured covariance the correlation of the first two coefficients depends on one element of
    theta; that of any other pair on several.
    """
    number = next(
        j for j, place in enumerate(space.theta_slices) if place.start <= index < place.stop
    )
    place, term = space.theta_slices[number], design.terms[number]
    k = len(term.columns)
    if term.covariance != "us" or k == 2:
        return design, space, params, index
    rows, columns = np.tril_indices(k, -1)
    pair = index - place.start - k
    second, first = int(rows[pair]), int(columns[pair])
    order = [first, second, *(j for j in range(k) if j not in (first, second))]
    block = replace(
        term, columns=tuple(term.columns[j] for j in order), values=term.values[:, order]
    )
    terms = (*design.terms[:number], block, *design.terms[number + 1 :])
    covariances = list(params.covariances)
    covariances[number] = covariances[number][np.ix_(order, order)]
    reordered = replace(design, terms=terms)
    return (
        reordered,
        param_space(reordered, has_sigma=True, fixed_sigma=space.fixed_sigma),
        params._replace(covariances=tuple(covariances)),
        place.start + k,
    )
