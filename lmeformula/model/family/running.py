"""Own parameters that run off, and the likelihood with them, where the data are known exactly.

Responses that are met exactly leave nothing for a shape or a scale to be estimated from; amounts that are all
alike leave nothing for a power. There the likelihood has no limit, and its density no digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.model.family.limits import MOST_AMOUNTS
from lmeformula.model.family.record import Family
from lmeformula.model.family.tweedie import FIRST_POWER

Floats = NDArray[np.float64]

# Below this relative spread a density that multiplies its logarithm by 1 / spread^2 has no digit left; one of a
# location, whose residual is divided by its scale, has them up to here.
MET, LOCATED = 1e-7, 1e-12
# Below this relative spread of amounts they are all alike.
ALIKE = 1e-6

# How far responses spread around what is predicted, relative to the response, or for logarithms in their unit.
_Spread = Callable[[tuple[Floats, ...], dict[str, float]], float]


class Running(NamedTuple):
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
    spread: _Spread
    limit: float
    linear: Callable[[tuple[Floats, ...]], Floats] | None = None
    stand_in: Callable[[tuple[Floats, ...], float], float] | None = None
    beside: str = ""
    says: str = "the model meets the responses exactly"

    @property
    def is_met(self) -> bool:
        """Whether it is that the model predicts the responses."""
        return self.linear is not None


def _logs(response: tuple[Floats, ...]) -> Floats:
    # Of zeros there are none.
    return np.where(response[0] > 0.0, response[1], -math.inf)


def _middle(response: tuple[Floats, ...]) -> float:
    return float(np.median(response[1][response[0] > 0.0]))


def _least(response: tuple[Floats, ...]) -> float:
    """The logarithm of the smallest share, or of what is left of the largest."""
    return min(float(response[1].min()), float(response[2].min()))


def _largest(response: tuple[Floats, ...]) -> float:
    return max(float(np.abs(response[0]).max()), 1e-300)


def _amount(response: tuple[Floats, ...], own: dict[str, float]) -> float:
    """The relative standard deviation of a positive response of the median size."""
    # Where it is held, the power is two.
    rest = 1.0 - 0.5 * own.get("power", 2.0)
    return math.sqrt(own["dispersion"]) * math.exp(-rest * _middle(response))


def _apart(response: tuple[Floats, ...], own: dict[str, float]) -> float:
    """The relative standard deviation of one amount."""
    return math.sqrt((own["power"] - 1.0) / max(2.0 - own["power"], MOST_AMOUNTS))


_RUNNING: dict[str, tuple[Running, ...]] = {
    "gamma": (
        Running(
            "shape",
            MET,
            lambda response, own: own["shape"] ** -0.5,
            math.inf,
            _logs,
            lambda response, spread: spread**-2.0,
        ),
    ),
    "beta": (
        Running(
            "precision",
            MET,
            lambda response, own: own["precision"] ** -0.5,
            math.inf,
            lambda response: response[1] - response[2],
            lambda response, spread: spread**-2.0 * math.exp(-_least(response)),
        ),
    ),
    "inverse_gaussian": (
        Running(
            "shape",
            MET,
            lambda response, own: math.exp(0.5 * _middle(response)) * own["shape"] ** -0.5,
            math.inf,
            _logs,
            lambda response, spread: math.exp(_middle(response)) / spread**2.0,
        ),
    ),
    "lognormal": (
        Running(
            "sigma",
            LOCATED,
            lambda response, own: own["sigma"],
            0.0,
            _logs,
            lambda response, spread: spread,
        ),
    ),
    "student": (
        Running(
            "scale",
            LOCATED,
            lambda response, own: own["scale"] / _largest(response),
            0.0,
            lambda response: response[0],
            lambda response, spread: spread * _largest(response),
            # Where all residuals are zero, the normal density is the highest.
            beside="df",
        ),
    ),
    "tweedie": (
        Running(
            "dispersion",
            MET,
            _amount,
            0.0,
            _logs,
            lambda response, spread: spread**2 * math.exp((2.0 - FIRST_POWER) * _middle(response)),
        ),
        Running(
            "power",
            ALIKE,
            _apart,
            1.0,
            says="the responses are whole multiples of one number",
        ),
    ),
}


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


def met_exactly(family: Family, names: tuple[str, ...], response: Any, own: Floats) -> Met | None:
    """Whether responses are met to all digits that the density has: then its own parameter runs off.

    Args:
      family: the family.
      names: (v,) of its own parameters.
      response: its response arrays.
      own: (v,) natural values of the parameters.
    Example:
      >>> from lmeformula.model.family import family
      >>> y = np.array([1.0, 2.0])
      >>> met_exactly(family("gamma"), ("shape",), (y,), np.array([1e15])).name
      'shape'
    """
    values = dict(zip(names, own, strict=True))
    for one in _RUNNING.get((family.base or family).name, ()):
        if one.name not in names:
            continue
        left = one.spread(response, values)
        if left < one.least:
            return Met(one.name, left, one.least, one.says, one.is_met)
    return None


def meets(family: Family) -> Running | None:
    """The own parameter that runs off where a family's responses are met exactly, if that is so."""
    kinds = _RUNNING.get((family.base or family).name, ())
    return next((one for one in kinds if one.is_met), None)
