"""Priors of positive parameters: of standard deviations, and of dispersions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import gammaln

from lmeformula.arrays import Floats
from lmeformula.errors import ModelError
from lmeformula.priors.real import Normal, Student
from lmeformula.priors.record import Scalar, Support, Values


class _Positive(Scalar):
    support: ClassVar[Support] = "positive"


@dataclass(frozen=True)
class HalfNormal(_Positive):
    """The half of a normal density about zero that is above zero.

    Attributes:
      sd: of the whole.
    """

    name: ClassVar[str] = "half_normal"

    sd: float

    def __post_init__(self) -> None:
        self._check(("sd",))

    def log_density(self, x: Floats) -> Floats:
        """See `Scalar`."""
        return np.asarray(Normal(0.0, self.sd).log_density(x) + np.log(2.0))

    def slope(self, x: Values) -> Values:
        """See `Scalar`."""
        return Normal(0.0, self.sd).slope(x)

    def distribution(self, dtype: str = "float64") -> Any:
        """See `Scalar`."""
        import tensorflow_probability as tfp

        return tfp.distributions.HalfNormal(np.asarray(self.sd, dtype))


@dataclass(frozen=True)
class HalfStudent(_Positive):
    """The half of Student's t density about zero that is above zero.

    Attributes:
      df: degrees of freedom.
      location: zero.
      scale: of the whole.
    """

    name: ClassVar[str] = "half_student"

    df: float
    location: float
    scale: float

    def __post_init__(self) -> None:
        self._check(("df", "scale"), ("location",))
        _check_half(self)

    def log_density(self, x: Floats) -> Floats:
        """See `Scalar`."""
        return np.asarray(Student(self.df, 0.0, self.scale).log_density(x) + np.log(2.0))

    def slope(self, x: Values) -> Values:
        """See `Scalar`."""
        return Student(self.df, 0.0, self.scale).slope(x)

    def distribution(self, dtype: str = "float64") -> Any:
        """See `Scalar`."""
        import tensorflow_probability as tfp

        df, zero, scale = np.asarray((self.df, 0.0, self.scale), dtype)
        return tfp.distributions.HalfStudentT(df, zero, scale)


@dataclass(frozen=True)
class HalfCauchy(_Positive):
    """The half of a Cauchy density about zero that is above zero.

    Attributes:
      location: zero.
      scale: of the whole.
    """

    name: ClassVar[str] = "half_cauchy"

    location: float
    scale: float

    def __post_init__(self) -> None:
        self._check(("scale",), ("location",))
        _check_half(self)

    def _whole(self) -> HalfStudent:
        return HalfStudent(1.0, 0.0, self.scale)

    def log_density(self, x: Floats) -> Floats:
        """See `Scalar`."""
        return self._whole().log_density(x)

    def slope(self, x: Values) -> Values:
        """See `Scalar`."""
        return self._whole().slope(x)

    def distribution(self, dtype: str = "float64") -> Any:
        """See `Scalar`."""
        import tensorflow_probability as tfp

        zero, scale = np.asarray((0.0, self.scale), dtype)
        return tfp.distributions.HalfCauchy(zero, scale)


@dataclass(frozen=True)
class Exponential(_Positive):
    """The exponential density, highest at zero.

    Attributes:
      rate: one over its mean.
    """

    name: ClassVar[str] = "exponential"

    rate: float

    def __post_init__(self) -> None:
        self._check(("rate",))

    @property
    def has_kink(self) -> bool:
        """See `Prior`."""
        return True

    def log_density(self, x: Floats) -> Floats:
        """See `Scalar`."""
        return np.asarray(np.log(self.rate) - self.rate * x)

    def slope(self, x: Values) -> Values:
        """See `Scalar`."""
        return -self.rate + 0.0 * x

    def distribution(self, dtype: str = "float64") -> Any:
        """See `Scalar`."""
        import tensorflow_probability as tfp

        return tfp.distributions.Exponential(np.asarray(self.rate, dtype))


@dataclass(frozen=True)
class Gamma(_Positive):
    """The gamma density; with a shape above one it is zero at zero, and keeps a standard deviation off that.

    Attributes:
      shape: its shape.
      rate: its shape over its mean; zero for the improper density x^(shape - 1).
    Reference: Chung, Rabe-Hesketh, Dorie, Gelman, Liu (2013), A nondegenerate penalized likelihood estimator
      for variance parameters in multilevel models, Psychometrika 78, 685-709, for gamma(2.5, 0).
    """

    name: ClassVar[str] = "gamma"

    shape: float
    rate: float

    def __post_init__(self) -> None:
        if self.rate == 0:
            object.__setattr__(self, "rate", 0.0)
        self._check(("shape", "rate") if self.rate else ("shape",))

    @property
    def is_proper(self) -> bool:
        """See `Prior`."""
        return self.rate > 0.0

    def is_bounded(self, k: int = 1) -> bool:
        """See `Prior`."""
        return self.shape >= 1.0

    @property
    def has_kink(self) -> bool:
        """See `Prior`."""
        return self.shape == 1.0 and self.rate > 0.0

    def log_density(self, x: Floats) -> Floats:
        """See `Scalar`."""
        constant = self.shape * np.log(self.rate) - gammaln(self.shape) if self.rate else 0.0
        with np.errstate(divide="ignore"):
            power = 0.0 if self.shape == 1.0 else (self.shape - 1.0) * np.log(x)
        return np.asarray(constant + power - self.rate * x)

    def slope(self, x: Values) -> Values:
        """See `Scalar`."""
        return (self.shape - 1.0) / x - self.rate

    def distribution(self, dtype: str = "float64") -> Any:
        """See `Scalar`."""
        import tensorflow_probability as tfp

        self._refuse_improper()
        shape, rate = np.asarray((self.shape, self.rate), dtype)
        return tfp.distributions.Gamma(shape, rate)


@dataclass(frozen=True)
class InverseGamma(_Positive):
    """The density of one over a gamma variable: zero at zero.

    Attributes:
      shape: its shape.
      scale: its scale.
    """

    name: ClassVar[str] = "inverse_gamma"

    shape: float
    scale: float

    def __post_init__(self) -> None:
        self._check(("shape", "scale"))

    def log_density(self, x: Floats) -> Floats:
        """See `Scalar`."""
        constant = self.shape * np.log(self.scale) - gammaln(self.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = constant - (self.shape + 1.0) * np.log(x) - self.scale / x
        return np.asarray(np.where(np.asarray(x) > 0.0, found, -np.inf))

    def slope(self, x: Values) -> Values:
        """See `Scalar`."""
        return -(self.shape + 1.0) / x + self.scale / x**2

    def distribution(self, dtype: str = "float64") -> Any:
        """See `Scalar`."""
        import tensorflow_probability as tfp

        shape, scale = np.asarray((self.shape, self.scale), dtype)
        return tfp.distributions.InverseGamma(shape, scale)


@dataclass(frozen=True)
class LogNormal(_Positive):
    """The density of a number whose logarithm is normal: zero at zero.

    Attributes:
      mean: of the logarithm.
      sd: of the logarithm.
    """

    name: ClassVar[str] = "lognormal"

    mean: float
    sd: float

    def __post_init__(self) -> None:
        self._check(("sd",), ("mean",))

    def log_density(self, x: Floats) -> Floats:
        """See `Scalar`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            log = np.log(x)
            found = Normal(self.mean, self.sd).log_density(log) - log
        return np.asarray(np.where(np.asarray(x) > 0.0, found, -np.inf))

    def slope(self, x: Values) -> Values:
        """See `Scalar`."""
        return -(1.0 + (np.log(x) - self.mean) / self.sd**2) / x

    def distribution(self, dtype: str = "float64") -> Any:
        """See `Scalar`."""
        import tensorflow_probability as tfp

        mean, sd = np.asarray((self.mean, self.sd), dtype)
        return tfp.distributions.LogNormal(mean, sd)


def _check_half(prior: HalfStudent | HalfCauchy) -> None:
    if prior.location != 0.0:
        raise ModelError(
            f"the prior {prior.text} is about {prior.location:g}, and half a density is about zero",
            hint="Give the location 0; lognormal, gamma and inverse_gamma are about another value.",
        )
