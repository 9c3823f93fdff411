"""Priors of a single correlation: densities of any number, or of a matrix of two, between its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.special

from lmeformula.arrays import Floats
from lmeformula.priors.matrices import LKJ
from lmeformula.priors.real import Cauchy, Normal, Student
from lmeformula.priors.record import Prior, Scalar, Support, Values


@dataclass(frozen=True)
class Within(Scalar):
    """A density that a user gave, of a correlation between its bounds: what lies beyond has none.

    Attributes:
      given: "normal(0, 0.5)", or "lkj(2)", whose density is that of the correlation of two: 1 - r^2 to the
        power shape - 1.
      least: the infimum of the correlation; its supremum is one.
    """

    name: ClassVar[str] = "within"
    support: ClassVar[Support] = "within"

    given: Prior
    least: float

    @property
    def text(self) -> str:
        """As it was given."""
        return self.given.text

    def is_bounded(self, k: int = 1) -> bool:
        """See `Prior`."""
        return self.given.is_bounded(2)

    @property
    def log_mass(self) -> float:
        """The log of the integral of what is given between the bounds."""
        # Its distributions take a second to load, which other priors do without.
        from scipy import stats

        given, least = self.given, self.least
        if isinstance(given, LKJ):
            shape = given.shape
            whole = (2.0 * shape - 1.0) * np.log(2.0) + scipy.special.betaln(shape, shape)
            return float(whole + np.log(stats.beta(shape, shape).sf(0.5 * (1.0 + least))))
        if isinstance(given, Normal):
            whole = stats.norm(given.mean, given.sd)
        elif isinstance(given, Student):
            whole = stats.t(given.df, given.location, given.scale)
        else:
            assert isinstance(given, Cauchy)
            whole = stats.cauchy(given.location, given.scale)
        return float(np.log(whole.cdf(1.0) - whole.cdf(least)))

    def log_density(self, x: Floats) -> Floats:
        """See `Scalar`."""
        if isinstance(self.given, LKJ):
            with np.errstate(divide="ignore", invalid="ignore"):
                power = scipy.special.xlog1py(self.given.shape - 1.0, -(x**2))
        else:
            assert isinstance(self.given, Scalar)
            power = self.given.log_density(x)
        inside = (x >= self.least) & (x <= 1.0)
        return np.where(inside, power - self.log_mass, -np.inf)

    def slope(self, x: Values) -> Values:
        """See `Scalar`."""
        if isinstance(self.given, LKJ):
            return -2.0 * (self.given.shape - 1.0) * x / (1.0 - x**2)
        assert isinstance(self.given, Scalar)
        return self.given.slope(x)

    def tfp_log_density(self, x: Any) -> Any:
        """The log density at x in TensorFlow, which lies between the bounds."""
        import tensorflow as tf

        if isinstance(self.given, LKJ):
            return (self.given.shape - 1.0) * tf.math.log1p(-(x**2)) - self.log_mass
        assert isinstance(self.given, Scalar)
        return self.given.distribution("float64").log_prob(x) - self.log_mass
