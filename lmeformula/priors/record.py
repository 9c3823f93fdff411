"""What every prior can do, and how its numbers are checked."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from lmeformula.arguments.kinds import is_number, shown
from lmeformula.arrays import Floats
from lmeformula.errors import ModelError

# Where a parameter may lie: anywhere, above zero, between zero and one, between the bounds of a single
# correlation; or what kind of matrix it is.
Support = Literal["real", "positive", "share", "within", "correlation", "covariance"]
# Slopes are worked out of complex numbers too: their second derivatives follow without differences.
Values: TypeAlias = Any


class Prior:
    """A density of a parameter, or of each of several, independent ones.

    Attributes:
      name: as it is written.
      support: where its parameters may lie.
      text: the whole, as it is written.
    """

    name: ClassVar[str]
    support: ClassVar[Support]

    @property
    def text(self) -> str:
        """As it is written.

        Example:
          >>> from lmeformula.priors import Normal
          >>> Normal(0, 2.5).text
          'normal(0, 2.5)'
        """
        numbers = [getattr(self, field.name) for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        return f"{self.name}({', '.join(written(one) for one in numbers if one is not None)})"

    @property
    def is_proper(self) -> bool:
        """Whether its density has an integral: an improper prior cannot be drawn from."""
        return True

    def is_bounded(self, k: int = 1) -> bool:
        """Whether its density is finite everywhere: where it is not the posterior has no mode.

        Args:
          k: number of coefficients of a matrix.
        """
        return True

    @property
    def has_kink(self) -> bool:
        """Whether it falls from zero at once, so that a standard deviation of zero may be the mode."""
        return False

    def __str__(self) -> str:
        return self.text

    def _check(self, positive: tuple[str, ...], finite: tuple[str, ...] = ()) -> None:
        """Refuse numbers that give no density.

        Args:
          positive: fields that have to be positive and finite.
          finite: fields that have to be finite.
        Raises:
          ModelError: that names the number.
        """
        for name in (*positive, *finite):
            value = getattr(self, name)
            if not is_number(value):
                raise ModelError(
                    f"the {name} of the prior {self.name} is {shown(value)}",
                    hint="Give a finite number.",
                )
            if name in positive and not value > 0.0:
                raise ModelError(
                    f"the {name} of the prior {self._shown()} is {value:g}",
                    hint=f"Give a {name} above zero.",
                )
            object.__setattr__(self, name, float(value))

    def _shown(self) -> str:
        try:
            return self.text
        except (TypeError, ValueError):
            return self.name


class Scalar(Prior):
    """A prior of numbers, each with the same density."""

    def log_density(self, x: Floats) -> Floats:
        """The log density at each of x (m,); of an improper prior up to a constant."""
        raise NotImplementedError

    def slope(self, x: Values) -> Values:
        """Its derivative at each of x (m,), which may be complex."""
        raise NotImplementedError

    def distribution(self, dtype: str = "float64") -> Any:
        """The same as a TFP distribution.

        Raises:
          ModelError: if the prior is improper.
        """
        raise NotImplementedError

    def _refuse_improper(self) -> None:
        if not self.is_proper:
            raise ModelError(
                f"the prior {self.text} is improper: there is nothing to draw from",
                hint="Give it a finite scale, or a rate above zero.",
            )


class Matrix(Prior):
    """A prior of a correlation or a covariance matrix."""

    def log_density(self, matrix: Floats) -> float:
        """The log density at a positive definite matrix (k, k); of an improper prior up to a constant."""
        raise NotImplementedError

    def slope(self, matrix: Values) -> Values:
        """Its derivative G (k, k), symmetric: the log density moves by trace(G dM); may be complex."""
        raise NotImplementedError


def written(number: float) -> str:
    """A number in as few digits as it takes.

    Example:
      >>> written(2.0), written(1 / 3)
      ('2', '0.3333333333333333')
    """
    short = f"{number:g}"
    return short if float(short) == number else repr(float(number))


def log_det(matrix: Floats) -> float:
    """The logarithm of the determinant of a covariance matrix; minus infinity of a singular one."""
    sign, value = np.linalg.slogdet(matrix)
    return float(value) if sign > 0.0 else -math.inf
