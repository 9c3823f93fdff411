"""Priors of parameters that may be any number: of coefficients, and of thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import gammaln

from lmeformula.arrays import Floats
from lmeformula.priors.record import Scalar, Support, Values


@dataclass(frozen=True)
class Normal(Scalar):
    """A normal density.

    Attributes:
      mean: its mean.
      sd: its standard deviation.
    Example:
      >>> Normal(0, 2.5).log_density(np.array([0.0])).round(4).tolist()
      [-1.8352]
    """

    name: ClassVar[str] = "normal"
    support: ClassVar[Support] = "real"

    mean: float
    sd: float

    def __post_init__(self) -> None:
        self._check(("sd",), ("mean",))

    def log_density(self, x: Floats) -> Floats:
        """See `Scalar`."""
        z = (x - self.mean) / self.sd
        return np.asarray(-0.5 * z**2 - np.log(self.sd) - 0.5 * np.log(2.0 * np.pi))

    def slope(self, x: Values) -> Values:
        """See `Scalar`."""
        return -(x - self.mean) / self.sd**2

    def distribution(self, dtype: str = "float64") -> Any:
        """See `Scalar`."""
        import tensorflow_probability as tfp

        mean, sd = np.asarray((self.mean, self.sd), dtype)
        return tfp.distributions.Normal(mean, sd)


@dataclass(frozen=True)
class Student(Scalar):
    """Student's t density.

    Attributes:
      df: degrees of freedom.
      location: where it is highest.
      scale: what distances from there are measured in.
    """

    name: ClassVar[str] = "student"
    support: ClassVar[Support] = "real"

    df: float
    location: float
    scale: float

    def __post_init__(self) -> None:
        self._check(("df", "scale"), ("location",))

    def log_density(self, x: Floats) -> Floats:
        """See `Scalar`."""
        half = 0.5 * (self.df + 1.0)
        z = (x - self.location) / self.scale
        constant = gammaln(half) - gammaln(0.5 * self.df) - 0.5 * np.log(self.df * np.pi)
        return np.asarray(constant - np.log(self.scale) - half * np.log1p(z**2 / self.df))

    def slope(self, x: Values) -> Values:
        """See `Scalar`."""
        z = (x - self.location) / self.scale
        return -(self.df + 1.0) * z / (self.df + z**2) / self.scale

    def distribution(self, dtype: str = "float64") -> Any:
        """See `Scalar`."""
        import tensorflow_probability as tfp

        df, location, scale = np.asarray((self.df, self.location, self.scale), dtype)
        return tfp.distributions.StudentT(df, location, scale)


@dataclass(frozen=True)
class Cauchy(Scalar):
    """The Cauchy density: Student's t with one degree of freedom.

    Attributes:
      location: where it is highest.
      scale: half of what lies within this distance of there.
    """

    name: ClassVar[str] = "cauchy"
    support: ClassVar[Support] = "real"

    location: float
    scale: float

    def __post_init__(self) -> None:
        self._check(("scale",), ("location",))

    def _student(self) -> Student:
        return Student(1.0, self.location, self.scale)

    def log_density(self, x: Floats) -> Floats:
        """See `Scalar`."""
        return self._student().log_density(x)

    def slope(self, x: Values) -> Values:
        """See `Scalar`."""
        return self._student().slope(x)

    def distribution(self, dtype: str = "float64") -> Any:
        """See `Scalar`."""
        import tensorflow_probability as tfp

        location, scale = np.asarray((self.location, self.scale), dtype)
        return tfp.distributions.Cauchy(location, scale)
