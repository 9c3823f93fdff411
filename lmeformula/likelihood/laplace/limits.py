"""Maximise the Laplace approximation where a family's own parameter may end at its limit.

On the way to a limit the likelihood flattens out: the parameter's estimate is infinite, or zero, and it has no
standard error. What is left is the simpler family; a fit with the parameter held next to its limit, so close
that no digit of the likelihood tells them apart, is the simpler family's fit.

A limit is tried where the data hardly tell the parameter from it, or where the ascent got lost on the way: the
simpler family is fitted, and kept if the likelihood is as high there and does not lean away from it. That is
Kuhn and Tucker's condition, with the parameter on the scale on which its limit is a finite distance away.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.outline import outline
from lmeformula.family.limit import Limit
from lmeformula.likelihood.laplace.fit import WHOLE, Care, LaplaceFit, fit_laplace
from lmeformula.likelihood.laplace.information import coefficients_at
from lmeformula.likelihood.laplace.likelihood import Approximation, approximate
from lmeformula.likelihood.laplace.modes import again
from lmeformula.likelihood.laplace.row_sums import At
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace

# A parameter is told from its limit by so many conditional standard errors of its logarithm to one.
FAR = 5.0
# Log-likelihoods that differ by less are equal.
EQUAL = 1e-6
# A parameter from whose start to its limit they differ by less has no part in them.
SAME = 1e-9


class AtLimit(NamedTuple):
    """An own parameter at its limit.

    Attributes:
      place: of the parameter among the family's natural values.
      stand_in: a natural value so near to the limit that no likelihood tells.
      limit: what it tends to, and what the family becomes.
    """

    place: int
    stand_in: float
    limit: Limit


class Climbed(NamedTuple):
    """The maximum, with what is at its limit.

    Attributes:
      model: the model whose maximum it is: the family's own parameters are those that have not gone to a limit.
      found: its fit.
      at_limits: the other ones, in order of their places.
    """

    model: Model
    found: LaplaceFit
    at_limits: tuple[AtLimit, ...] = ()


def held_model(model: Model, at_limits: tuple[AtLimit, ...]) -> Model:
    """The model with these own parameters held next to their limits."""
    own = model.space.own.held_at({one.place: one.stand_in for one in at_limits})
    space = replace(model.space, own=own)
    return Model(model.design, model.family, space, model.dtype, priors=model.priors)


def place_of(space: ParamSpace, one: AtLimit) -> int:
    """Where a parameter that may go to its limit lies among those of a model in which it is free."""
    return int(space.own_slice.start) + space.own.names.index(one.limit.name)


def climb(model: Model, care: Care = WHOLE) -> Climbed:
    """Maximise the approximation, limits of own parameters included.

    Args:
      model: the model.
      care: how much the ascent takes.
    Raises:
      numpy.linalg.LinAlgError: if the density is not finite wherever the ascent could start.
    """
    return _from(model, (), None, care)


def _from(whole: Model, held: tuple[AtLimit, ...], start: Floats | None, care: Care) -> Climbed:
    model = held_model(whole, held) if held else whole
    limits = limits_left(whole, held)
    try:
        best: Climbed | None = Climbed(model, fit_laplace(model, start=start, care=care), held)
    except np.linalg.LinAlgError:
        if not limits:
            raise
        best = None
    for one in limits:
        if best is not None and not _is_doubtful(best, one):
            continue
        near = tuple(sorted((*held, one), key=lambda other: other.place))
        # A maximum with another parameter at its limit is no place to start without this one alone.
        is_start = best is not None and best.at_limits == held
        begin = _without(whole, best, near) if best is not None and is_start else None
        simpler = _from(whole, near, begin, care)
        if begin is not None:
            simpler = _better(simpler, whole, near, care)
        if best is None:
            best = simpler
            continue
        if best.found.approximation.value > simpler.found.approximation.value + EQUAL:
            continue
        if best.found.converged and _is_silent(whole, simpler, one):
            # As good at its limit as anywhere: that is no estimate.
            continue
        away = _away(whole, simpler, one, care)
        best = simpler if away is None else away
    assert best is not None
    return best


def _better(found: Climbed, whole: Model, held: tuple[AtLimit, ...], care: Care) -> Climbed:
    """The simpler model's maximum from its own start, where that is higher: there may be several."""
    try:
        other = _from(whole, held, None, care)
    except np.linalg.LinAlgError:
        return found
    gain = other.found.approximation.value - found.found.approximation.value
    return other if other.found.converged and gain > EQUAL else found


def limits_left(whole: Model, held: tuple[AtLimit, ...]) -> tuple[AtLimit, ...]:
    """The limits that are not held yet."""
    own, response = whole.space.own, whole.family.response(outline(whole.design))
    taken = {one.limit.name for one in held}
    # A prior says how far an own parameter is from its limit.
    taken |= {name for one in whole.priors.of("own") for name in one.names}
    return tuple(
        AtLimit(own.natural_names.index(limit.name), limit.stand_in(response), limit)
        for limit in whole.family.base.limits
        if limit.name in own.names and limit.name not in taken and limit.is_open(response)
    )


def _is_doubtful(best: Climbed, one: AtLimit) -> bool:
    """Whether the parameter is hardly told from its limit, or the ascent did not arrive."""
    names = best.model.space.own.names
    if one.limit.name not in names or not best.found.converged:
        return one.limit.name in names
    place = best.model.space.num_fixed + names.index(one.limit.name)
    there = best.found.approximation
    known = coefficients_at(best.found.problem, there.mode, there.depths)
    return not is_told(known.information[place, place])


def is_told(information: Any) -> Any:
    """Whether a parameter is told from its limit by its information, a number or an array of them."""
    return information > FAR**2


def _without(whole: Model, best: Climbed, near: tuple[AtLimit, ...]) -> Floats:
    """Coordinates of the best fit without those of the own parameters that are held."""
    p, held = whole.space.num_fixed, {one.limit.name for one in near}
    kept = [name not in held for name in best.model.space.own.names]
    own = best.found.coordinates[p : p + len(kept)][np.array(kept, bool)]
    return np.concatenate(
        [best.found.coordinates[:p], own, best.found.coordinates[p + len(kept) :]]
    )


def _away(whole: Model, simpler: Climbed, one: AtLimit, care: Care) -> Climbed | None:
    """The maximum away from a limit from which the likelihood leans away; None where it does not."""
    model, start, slope = outwards(whole, simpler, one)
    if not slope > EQUAL:
        return None
    away = fit_laplace(model, start=start, care=care)
    if away.approximation.value <= simpler.found.approximation.value + EQUAL:
        return None
    return Climbed(
        model, away, tuple(other for other in simpler.at_limits if other.place != one.place)
    )


def _is_silent(whole: Model, simpler: Climbed, one: AtLimit) -> bool:
    """Whether the parameter makes no difference: the likelihood is the same at the family's own start."""
    _, _, there = _beside(whole, simpler, one, float(whole.space.own.start[one.place]))
    return abs(there.value - simpler.found.approximation.value) < SAME


def outwards(whole: Model, simpler: Climbed, one: AtLimit) -> tuple[Model, Floats, float]:
    """How the likelihood leans away from a limit.

    Args:
      whole: the model with all parameters.
      simpler: the maximum with one of them, and perhaps others, at their limits.
      one: the limit.
    Returns:
      model: with that parameter free.
      start: its coordinates near the limit.
      slope: of the likelihood there, away from the limit, in the unconstrained parameter.
    """
    near = one.limit.near(whole.family.response(outline(whole.design)))
    model, start, found = _beside(whole, simpler, one, near)
    slope = found.in_own[model.space.own.names.index(one.limit.name)]
    return model, start, float(-slope if one.limit.is_upwards else slope)


def _beside(
    whole: Model, simpler: Climbed, one: AtLimit, value: float
) -> tuple[Model, Floats, Approximation]:
    """The model with a parameter free again, its coordinates at some value of that, and what is there."""
    held = tuple(other for other in simpler.at_limits if other.place != one.place)
    model = held_model(whole, held) if held else whole
    space, found = model.space, simpler.found
    p, held_own = space.num_fixed, simpler.model.space.own
    first, own, rest = np.split(found.coordinates, [p, p + held_own.size])
    natural = held_own.scale.to_natural(own)
    natural[one.place] = value
    free = space.own.scale.to_free(natural)
    start = np.concatenate([first, free, rest])
    lambdas = found.charts.factors(found.charts.settle(rest))
    problem = again(found.problem, model)
    at = At(found.params.beta, lambdas, free)
    return model, start, approximate(problem, at, found.approximation.mode.u)
