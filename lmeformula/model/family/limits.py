"""Limits of a family's own parameters, where it becomes a simpler family, and families with a parameter held.

On the way to a limit the likelihood flattens out: the parameter's estimate is infinite, or zero, and it has no
standard error. What is left is the simpler family; a fit with the parameter held next to its limit, so close
that no digit of the likelihood tells them apart, is the simpler family's fit.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.model.family.bounded import Bounded
from lmeformula.model.family.own import NO_OWN, Own
from lmeformula.model.family.record import ClosedForm, Depths, Family, Slopes

Floats = NDArray[np.float64]
Tensor = Any
# Own parameters by their place, on their natural scale.
Held = tuple[tuple[int, float], ...]

# What is left of the way to a limit changes the log-likelihood by about this.
NOTHING = 1e-9
# The nearest to two that a power is told from it.
MOST_AMOUNTS = 1e-12


class Limit(NamedTuple):
    """A limit of an own parameter.

    Attributes:
      name: of the parameter.
      value: the limit.
      becomes: the family that it leads to.
      stand_in: response arrays -> a natural value so close to the limit that no likelihood tells.
      near: response arrays -> one at which the likelihood leans away from the limit, if it does.
      is_open: response arrays -> whether the simpler family takes them.
    """

    name: str
    value: float
    becomes: str
    stand_in: Callable[[tuple[Floats, ...]], float]
    near: Callable[[tuple[Floats, ...]], float]
    is_open: Callable[[tuple[Floats, ...]], bool] = lambda response: True

    @property
    def is_upwards(self) -> bool:
        """Whether the parameter grows towards its limit."""
        return self.value > 0.0


def _square(response: tuple[Floats, ...]) -> float:
    return 1.0 + float(np.sum(response[0] ** 2))


def _total(response: tuple[Floats, ...]) -> float:
    return 1.0 + float(np.sum(response[0]))


def _trials(response: tuple[Floats, ...]) -> float:
    return 1.0 + float(np.sum(response[1] ** 2))


def _rows(response: tuple[Floats, ...]) -> float:
    return float(len(response[0]))


def _upwards(name: str, becomes: str, size: Callable[[tuple[Floats, ...]], float]) -> Limit:
    """An infinite limit of a parameter whose inverse times `size` is what the likelihood notices of it."""
    return Limit(
        name,
        math.inf,
        becomes,
        lambda response: size(response) / NOTHING,
        lambda response: 1e3 * size(response),
    )


def _downwards(name: str, becomes: str, size: Callable[[tuple[Floats, ...]], float]) -> Limit:
    """A limit of zero of a parameter that times `size` is what the likelihood notices of it."""
    return Limit(
        name,
        0.0,
        becomes,
        lambda response: NOTHING / size(response),
        lambda response: 1e-3 / size(response),
    )


def _amounts(response: tuple[Floats, ...]) -> float:
    return 1.0 + float(np.sum(1.0 + np.abs(response[1])))


# Many amounts a row are a gamma variable; there is no zero among those.
_POWER_AT_TWO = Limit(
    "power",
    2.0,
    "gamma",
    lambda response: 2.0 - max(NOTHING / _amounts(response), MOST_AMOUNTS),
    lambda response: 2.0 - 1e-3 / _amounts(response),
    lambda response: bool((response[0] > 0.0).all()),
)
_NO_ZEROS = "zero_probability"
# By the family with one predictor.
LIMITS: dict[str, tuple[Limit, ...]] = {
    "nbinom2": (_upwards("dispersion", "poisson", _square),),
    "nbinom1": (_downwards("dispersion", "poisson", _total),),
    "generalized_poisson": (_downwards("dispersion", "poisson", _total),),
    "beta_binomial": (_upwards("precision", "binomial", _trials),),
    "student": (_upwards("df", "normal", _rows),),
    "zero_inflated_poisson": (_downwards(_NO_ZEROS, "poisson", _rows),),
    "zero_inflated_nbinom2": (
        _upwards("dispersion", "zero_inflated_poisson", _square),
        _downwards(_NO_ZEROS, "nbinom2", _rows),
    ),
    "tweedie": (_POWER_AT_TWO,),
    "hurdle_nbinom2": (_upwards("dispersion", "hurdle_poisson", _square),),
}


def limits_of(family: Family) -> tuple[Limit, ...]:
    """The limits that own parameters of a family have."""
    return LIMITS.get((family.base or family).name, ())


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
      >>> from lmeformula.model.family import family
      >>> poisson = hold(family("nbinom2"), ((0, 1e12),))
      >>> poisson.variance(np.array([2.0]), np.zeros(0)).round(6).tolist()
      [2.0]
    """
    places = tuple(place for place, _ in held)
    numbers = functools.partial(_with_held, held)

    def cast(eta: Tensor, own: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        import tensorflow as tf

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
    kept = [place for place in range(own.size) if place not in places]
    if not kept:
        return NO_OWN
    names = tuple(own.names[place] for place in kept)
    scale = own.scale
    if isinstance(scale, Bounded):
        scale = Bounded(tuple(scale.bounds[place] for place in kept))
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
