"""A limit of an own parameter of a family, where it becomes a simpler family."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats

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


def of_squares(response: tuple[Floats, ...]) -> float:
    """The sum of squares of the responses."""
    return 1.0 + float(np.sum(response[0] ** 2))


def of_total(response: tuple[Floats, ...]) -> float:
    """The sum of the responses."""
    return 1.0 + float(np.sum(response[0]))


def of_trials(response: tuple[Floats, ...]) -> float:
    """The sum of squares of the trials."""
    return 1.0 + float(np.sum(response[1] ** 2))


def of_rows(response: tuple[Floats, ...]) -> float:
    """The number of rows."""
    return float(len(response[0]))


def upwards(name: str, becomes: str, size: Callable[[tuple[Floats, ...]], float]) -> Limit:
    """An infinite limit of a parameter whose inverse times `size` is what the likelihood notices of it."""
    return Limit(
        name,
        math.inf,
        becomes,
        lambda response: size(response) / NOTHING,
        lambda response: 1e3 * size(response),
    )


def downwards(name: str, becomes: str, size: Callable[[tuple[Floats, ...]], float]) -> Limit:
    """A limit of zero of a parameter that times `size` is what the likelihood notices of it."""
    return Limit(
        name,
        0.0,
        becomes,
        lambda response: NOTHING / size(response),
        lambda response: 1e-3 / size(response),
    )
