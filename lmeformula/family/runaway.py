"""An own parameter that runs off, and the likelihood with it, where the data are known exactly.

Responses that are met exactly leave nothing for a shape or a scale to be estimated from; amounts that are all
alike leave nothing for a power. There the likelihood has no limit, and its density no digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats

# Below this relative spread a density that multiplies its logarithm by 1 / spread^2 has no digit left; one of a
# location, whose residual is divided by its scale, has them up to here.
MET, LOCATED = 1e-7, 1e-12
# Below this relative spread of amounts they are all alike.
ALIKE = 1e-6

# How far responses spread around what is predicted, relative to the response, or for logarithms in their unit.
Spread = Callable[[tuple[Floats, ...], dict[str, float]], float]


class Met(NamedTuple):
    """Responses that own parameters know exactly: a likelihood without a maximum.

    Attributes:
      name: of the own parameter that runs off.
      spread: what is left of the responses, relative to them.
      least: below which that is nothing.
      says: what is known, in words.
      is_met: whether it is that the model predicts the responses.
    """

    name: str
    spread: float
    least: float
    says: str
    is_met: bool


class Runaway(NamedTuple):
    """An own parameter that runs off, and the likelihood with it, to a place that the data know exactly.

    Attributes:
      name: of the parameter.
      least: below this spread the data are known to be there.
      spread: response arrays, natural own parameters by name -> what is left.
      limit: what the parameter tends to.
      linear: response arrays -> (n,) the predictors that meet them; not finite where none does.
      stand_in: response arrays, spread -> the natural value with about that spread.
      beside: another own parameter, which goes to infinity then.
      says: what that says of the data, in words.
    """

    name: str
    least: float
    spread: Spread
    limit: float
    linear: Callable[[tuple[Floats, ...]], Floats] | None = None
    stand_in: Callable[[tuple[Floats, ...], float], float] | None = None
    beside: str = ""
    says: str = "the model meets the responses exactly"

    @property
    def is_met(self) -> bool:
        """Whether it is that the model predicts the responses."""
        return self.linear is not None

    def known(self, left: float) -> Met:
        """What is known where so much of the spread is left."""
        return Met(self.name, left, self.least, self.says, self.is_met)


def met_exactly(
    runaways: tuple[Runaway, ...], names: tuple[str, ...], response: tuple[Floats, ...], own: Floats
) -> Met | None:
    """Whether responses are met to all digits that the density has: then its own parameter runs off.

    Args:
      runaways: those of the family.
      names: (v,) of its own parameters.
      response: its response arrays.
      own: (v,) natural values of the parameters.
    Example:
      >>> from lmeformula.family import family
      >>> y = np.array([1.0, 2.0])
      >>> met_exactly(family("gamma").runaways, ("shape",), (y,), np.array([1e15])).name
      'shape'
    """
    values = dict(zip(names, own, strict=True))
    for one in runaways:
        if one.name in names and (left := one.spread(response, values)) < one.least:
            return one.known(left)
    return None


def of_precision(
    name: str,
    linear: Callable[[tuple[Floats, ...]], Floats],
    unit: Callable[[tuple[Floats, ...]], float] = lambda response: 1.0,
    stand_in: Callable[[tuple[Floats, ...], float], float] = lambda response, spread: spread**-2.0,
) -> Runaway:
    """A shape or a precision: its inverse root, in a unit, is a relative spread."""
    return Runaway(
        name,
        MET,
        lambda response, own: unit(response) * own[name] ** -0.5,
        math.inf,
        linear,
        stand_in,
    )


def logs_of(response: tuple[Floats, ...]) -> Floats:
    """(n,) logarithms of positive responses, the second of the arrays."""
    # Of zeros there are none.
    return np.where(response[0] > 0.0, response[1], -math.inf)


def middle_of(response: tuple[Floats, ...]) -> float:
    """The median logarithm of the positive responses."""
    return float(np.median(response[1][response[0] > 0.0]))


def of_shares(linear: Callable[[tuple[Floats, ...]], Floats]) -> Runaway:
    """The precision of shares, whose logarithms and those of what is left of one are the last two arrays."""

    def stand_in(response: tuple[Floats, ...], spread: float) -> float:
        least = min(float(response[1].min()), float(response[2].min()))
        return float(spread**-2.0 * math.exp(-least))

    return of_precision("precision", linear, stand_in=stand_in)


def largest_of(response: tuple[Floats, ...]) -> float:
    """The size of the largest response."""
    return max(float(np.abs(response[0]).max()), 1e-300)
