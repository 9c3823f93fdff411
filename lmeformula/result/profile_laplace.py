"""Result stage: a likelihood of all parameters in coordinates of which the first belongs to one of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lmeformula.algebra.crossproducts import layout
from lmeformula.fit import FittedModel
from lmeformula.laplace.fit import arrays_of, gradient, place
from lmeformula.laplace.likelihood import approximate
from lmeformula.model.compile import Model
from lmeformula.model.family.own import Ascending
from lmeformula.model.params import ParamSpace
from lmeformula.result.parameters import Parameter
from lmeformula.result.profile_gaussian import Box, Slice, box_of, leading_pair
from lmeformula.result.profile_walk import Surface

Floats = NDArray[np.float64]
Value = Callable[[Floats], tuple[float, Floats]]


def likelihood_slice(
    fit: FittedModel, parameter: Parameter, index: int, evaluator: Callable[[Model], Value]
) -> Slice:
    """The surface of one parameter of a fit whose likelihood is a function of all unconstrained ones.

    Coordinates are the unconstrained parameters, fixed effects and the first threshold in standard errors. Of
    a later threshold, which depends on those before it, the first coordinate takes the place of the first one.

    Args:
      fit: the fit.
      parameter: which.
      index: its position in `fit.param_names`.
      evaluator: model -> function of psi (d,), the log-likelihood and its gradient.
    """
    model, params = fit.model, fit.params
    is_correlation = parameter.effect == "cor"
    if is_correlation:
        model, params, index = leading_pair(model, params, index)
    space = model.space
    scales = tuple(np.sqrt(np.mean(term.values**2, axis=0)) for term in model.design.terms)
    box = _whole_box(space, box_of(space, scales, 1.0))
    centre = np.clip(space.to_free(params), box.lowest, box.highest)
    unit = np.ones(space.size)
    unit[: space.num_fixed] = fit.param_stderr[: space.num_fixed]
    own = space.own_slice
    if isinstance(space.own.scale, Ascending):
        unit[own.start] = fit.param_stderr[own.start]
        if own.start < index:
            return _of_threshold(model, parameter, index, centre, unit, box, evaluator(model))
    evaluate = evaluator(model)

    def form(at: float) -> float:
        return math.sinh(at) if is_correlation else float(centre[index] + unit[index] * at)

    def form_slope(at: float) -> float:
        return math.cosh(at) if is_correlation else float(unit[index])

    def unorder(at: Floats) -> Floats:
        psi = centre + unit * np.insert(at[1:], index, 0.0)
        psi[index] = form(at[0])
        return psi

    def value(at: Floats) -> tuple[float, Floats]:
        asked = unorder(at)
        inside = np.clip(asked, box.lowest, box.highest)
        found, slope = evaluate(inside)
        slope = np.where(inside == asked, slope, 0.0)
        first = slope[index] * form_slope(at[0])
        return found, np.concatenate([[first], np.delete(slope * unit, index)])

    def interior(at: Floats) -> Floats:
        drawn = (np.clip(unorder(at), box.low, box.high) - centre) / unit
        return np.concatenate([at[:1], np.delete(drawn, index)])

    ends = (float(box.lowest[index]), float(box.highest[index]))
    if is_correlation:
        limits, first = (math.asinh(ends[0]), math.asinh(ends[1])), math.asinh(centre[index])
    else:
        shifted = [(end - centre[index]) / unit[index] for end in ends]
        limits, first = (float(shifted[0]), float(shifted[1])), 0.0

    def whole(at: float) -> Floats:
        psi = centre.copy()
        psi[index] = form(at)
        return psi

    def report(at: float) -> float:
        if not limits[0] < at < limits[1]:
            return parameter.bounds[0 if at <= limits[0] else 1]
        return float(space.to_report(whole(at))[index])

    def report_slope(at: float) -> float:
        return float(space.report_jacobian(whole(at))[index, index]) * form_slope(at)

    top = np.concatenate([[first], np.zeros(space.size - 1)])
    return Slice(parameter, Surface(value, top, interior, limits), report, report_slope)


def _of_threshold(
    model: Model,
    parameter: Parameter,
    index: int,
    centre: Floats,
    unit: Floats,
    box: Box,
    evaluate: Value,
) -> Slice:
    """A threshold after the first: it is held, and the first one is what the distances leave of it."""
    space = model.space
    start = space.own_slice.start
    steps = slice(start + 1, index + 1)
    estimate = float(space.to_report(centre)[index])
    scale = float(unit[start])

    def unorder(at: Floats) -> Floats:
        psi = centre + unit * np.insert(at[1:], start, 0.0)
        psi[start] = estimate + scale * at[0] - np.exp(psi[steps]).sum()
        return psi

    def value(at: Floats) -> tuple[float, Floats]:
        asked = unorder(at)
        inside = np.clip(asked, box.lowest, box.highest)
        found, slope = evaluate(inside)
        slope = np.where(inside == asked, slope, 0.0)
        slope[steps] -= slope[start] * np.exp(asked[steps])
        return found, np.concatenate([[slope[start] * scale], np.delete(slope * unit, start)])

    def interior(at: Floats) -> Floats:
        drawn = (np.clip(unorder(at), box.low, box.high) - centre) / unit
        return np.concatenate([at[:1], np.delete(drawn, start)])

    surface = Surface(value, np.zeros(space.size), interior, (-math.inf, math.inf))
    return Slice(parameter, surface, lambda at: estimate + scale * at, lambda at: scale)


def laplace_evaluator(model: Model) -> Value:
    """psi (d,) -> the approximation and its gradient; searches for the mode start from the last one."""
    plan = layout(model.stack.terms)
    problem = arrays_of(model, plan)
    last = np.zeros(plan.num_effects)

    def evaluate(psi: Floats) -> tuple[float, Floats]:
        nonlocal last
        found = approximate(problem, place(model.space, psi), last)
        if np.isfinite(found.value):
            last = found.mode.u
        return found.value, gradient(model.space, psi, found)

    return evaluate


def _whole_box(space: ParamSpace, box: Box) -> Box:
    """The box of all of psi from that of the parameters after the fixed effects."""
    free = np.full(space.num_fixed, np.inf)
    return Box(
        np.concatenate([-free, box.lowest]),
        np.concatenate([free, box.highest]),
        np.concatenate([-free, box.low]),
        np.concatenate([free, box.high]),
    )
