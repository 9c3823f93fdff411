"""Limits of a family's own parameters, where it becomes a simpler family, and families with a parameter held.

On the way to a limit the likelihood flattens out: the parameter's estimate is infinite, or zero, and it has no
standard error. What is left is the simpler family; a fit with the parameter held next to its limit, so close
that no digit of the likelihood tells them apart, is the simpler family's fit.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from lmeformula.arrays import Floats, Tensor
from lmeformula.family.bounded import Bounded
from lmeformula.family.own import NO_OWN, Own
from lmeformula.family.record import ClosedForm, Depths, Family, Slopes
from lmeformula.family.user_family import Bijected
from lmeformula.startup import tf

# Own parameters by their place, on their natural scale.
Held = tuple[tuple[int, float], ...]


# Values are of the data: a study of many data sets would keep families forever.
@functools.lru_cache(maxsize=64)
def hold(family: Family, held: Held) -> Family:
    """A family with some of its own parameters held.

    Args:
      family: the family.
      held: their places among its own parameters, in order, and their natural values.
    Returns:
      The family of the others, whose functions take these alone.
    Example:
      >>> from lmeformula.family import family
      >>> poisson = hold(family("nbinom2"), ((0, 1e12),))
      >>> poisson.variance(np.array([2.0]), np.zeros(0)).round(6).tolist()
      [2.0]
    """
    places = tuple(place for place, _ in held)
    numbers = functools.partial(_with_held, held)

    def cast(eta: Tensor, own: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        values = list(own)
        for place, value in held:
            values.insert(place, tf.cast(value, eta.dtype))
        return tuple(values)

    def with_numbers(function: Any) -> Any:
        return None if function is None else lambda first, own: function(first, numbers(own))

    def with_tensors(function: Any) -> Any:
        if function is None:
            return None
        return lambda eta, response, own: function(eta, response, cast(eta, own))

    return family._replace(
        distribution=with_tensors(family.distribution),
        mean=with_numbers(family.mean),
        own=lambda design: others(family.own(design), places),
        variance=with_numbers(family.variance),
        overdispersion=with_numbers(family.overdispersion),
        log_density=with_tensors(family.log_density),
        slope=with_tensors(family.slope),
        closed=None if family.closed is None else without_held(family.closed, held),
        probabilities=with_numbers(family.probabilities),
        within=with_numbers(family.within),
        held_of=(family, held),
    )


def _with_held(held: Held, own: Floats) -> Floats:
    """All own parameters from the others."""
    values = list(own)
    for place, value in held:
        values.insert(place, value)
    # Values of rows stand beside single ones.
    is_plain = all(np.ndim(value) == 0 for value in values)
    return np.array(values, float) if is_plain else values  # type: ignore[return-value]


def others(own: Own, places: tuple[int, ...]) -> Own:
    """The own parameters but for those at some places."""
    if not places:
        return own
    kept = [place for place in range(own.size) if place not in places]
    if not kept:
        return NO_OWN
    names = tuple(own.names[place] for place in kept)
    scale = own.scale
    if isinstance(scale, Bijected | Bounded):
        scale = scale.at(tuple(kept))
    return Own("_and_".join(names), names, own.start[kept], scale)


def without_held(form: ClosedForm, held: Held) -> ClosedForm:
    """A family's derivatives with some of its own parameters held: functions of the others."""
    places = tuple(place for place, _ in held)

    def slopes(eta: Floats, response: tuple[Floats, ...], own: Floats) -> Slopes:
        return form.slopes(eta, response, _with_held(held, own))

    def depths(eta: Floats, response: tuple[Floats, ...], own: Floats) -> Depths:
        found = form.depths(eta, response, _with_held(held, own))
        return Depths(
            found.third,
            np.delete(found.own, places),
            np.delete(np.delete(found.own_own, places, 0), places, 1),
            np.delete(found.own_first, places, 0),
            np.delete(found.own_second, places, 0),
        )

    return ClosedForm(slopes, depths)
