"""Priors of parameters between zero and one: of chances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import betaln, xlog1py, xlogy

from lmeformula.arrays import Floats
from lmeformula.priors.record import Scalar, Support, Values


@dataclass(frozen=True)
class Beta(Scalar):
    """The beta density.

    Attributes:
      a, b: its shapes: a - 1 and b - 1 are the powers of x and of 1 - x.
    """

    name: ClassVar[str] = "beta"
    support: ClassVar[Support] = "share"

    a: float
    b: float

    def __post_init__(self) -> None:
        self._check(("a", "b"))

    def is_bounded(self, k: int = 1) -> bool:
        """See `Prior`."""
        return min(self.a, self.b) >= 1.0

    def log_density(self, x: Floats) -> Floats:
        """See `Scalar`."""
        return np.asarray(
            xlogy(self.a - 1.0, x) + xlog1py(self.b - 1.0, -x) - betaln(self.a, self.b)
        )

    def slope(self, x: Values) -> Values:
        """See `Scalar`."""
        return (self.a - 1.0) / x - (self.b - 1.0) / (1.0 - x)

    def distribution(self, dtype: str = "float64") -> Any:
        """See `Scalar`."""
        import tensorflow_probability as tfp

        a, b = np.asarray((self.a, self.b), dtype)
        return tfp.distributions.Beta(a, b)
