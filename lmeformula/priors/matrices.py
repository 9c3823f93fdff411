"""Priors of matrices: of the correlations, or of the whole covariance, of a term's coefficients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import betaln, multigammaln

from lmeformula.arrays import Floats
from lmeformula.errors import ModelError
from lmeformula.priors.record import Matrix, Support, Values, log_det, written


@dataclass(frozen=True)
class LKJ(Matrix):
    """The density of Lewandowski, Kurowicka and Joe: the determinant to the power shape - 1.

    Attributes:
      shape: one for all correlation matrices alike; above one it is zero where correlations are one.
    Reference: Lewandowski, Kurowicka, Joe (2009), J. Multivariate Anal. 100, 1989-2001.
    """

    name: ClassVar[str] = "lkj"
    support: ClassVar[Support] = "correlation"

    shape: float

    def __post_init__(self) -> None:
        self._check(("shape",))

    def is_bounded(self, k: int = 1) -> bool:
        """See `Prior`."""
        return self.shape >= 1.0

    def log_density(self, matrix: Floats) -> float:
        """See `Matrix`.

        Example:
          >>> round(LKJ(2).log_density(np.eye(2)), 4)  # 3 / 4 (1 - r^2)
          -0.2877
        """
        k = len(matrix)
        constant = 0.0
        for m in range(1, k):
            b = self.shape + 0.5 * (k - 1 - m)
            constant += (2.0 * self.shape - 2.0 + k - m) * (k - m) * math.log(2.0)
            constant += (k - m) * float(betaln(b, b))
        power = 0.0 if self.shape == 1.0 else (self.shape - 1.0) * log_det(matrix)
        return power - constant

    def slope(self, matrix: Values) -> Values:
        """See `Matrix`: in all elements, the diagonal, which is one, included."""
        return (self.shape - 1.0) * np.linalg.inv(matrix)


@dataclass(frozen=True)
class Wishart(Matrix):
    """The Wishart density of a covariance matrix.

    Attributes:
      df: degrees of freedom, above k - 1; k + 2.5 where it is not given. Above k + 1 the density is zero where
        the covariance is singular.
      scale: of its scale matrix, that times the identity; infinite for the improper density, a power of the
        determinant.
    """

    name: ClassVar[str] = "wishart"
    support: ClassVar[Support] = "covariance"

    df: float | None = None
    scale: float = math.inf

    def __post_init__(self) -> None:
        names = [name for name in ("df", "scale") if getattr(self, name) not in (None, math.inf)]
        self._check(tuple(names))

    @property
    def text(self) -> str:
        """See `Prior`."""
        df = "" if self.df is None else written(self.df)
        scale = ""
        if self.is_proper:
            scale = ("" if df else "scale=") + written(self.scale)
        return f"{self.name}({', '.join(part for part in (df, scale) if part)})"

    @property
    def is_proper(self) -> bool:
        """See `Prior`."""
        return math.isfinite(self.scale)

    def is_bounded(self, k: int = 1) -> bool:
        """See `Prior`."""
        return self.of_size(k) >= k + 1.0

    def of_size(self, k: int) -> float:
        """Its degrees of freedom for k coefficients.

        Raises:
          ModelError: if they are too few.
        """
        df = k + 2.5 if self.df is None else self.df
        _check_df(self, df, k)
        return df

    def log_density(self, matrix: Floats) -> float:
        """See `Matrix`."""
        k = len(matrix)
        df = self.of_size(k)
        power, value = 0.5 * (df - k - 1.0), 0.0
        if power:
            value = power * log_det(matrix)
        if self.is_proper:
            value -= 0.5 * float(np.trace(matrix)) / self.scale
            value -= 0.5 * df * k * math.log(2.0 * self.scale) + float(multigammaln(0.5 * df, k))
        return value

    def slope(self, matrix: Values) -> Values:
        """See `Matrix`."""
        k = len(matrix)
        pull = np.eye(k) / (2.0 * self.scale)
        return 0.5 * (self.of_size(k) - k - 1.0) * np.linalg.inv(matrix) - pull


@dataclass(frozen=True)
class InverseWishart(Matrix):
    """The inverse Wishart density of a covariance matrix: zero where that is singular.

    Attributes:
      df: degrees of freedom, above k - 1.
      scale: of its scale matrix, that times the identity.
    """

    name: ClassVar[str] = "inverse_wishart"
    support: ClassVar[Support] = "covariance"

    df: float
    scale: float

    def __post_init__(self) -> None:
        self._check(("df", "scale"))

    def of_size(self, k: int) -> float:
        """Its degrees of freedom for k coefficients; see `Wishart`."""
        _check_df(self, self.df, k)
        return self.df

    def log_density(self, matrix: Floats) -> float:
        """See `Matrix`."""
        k = len(matrix)
        df, value = self.of_size(k), log_det(matrix)
        if not math.isfinite(value):
            return -math.inf
        trace = float(np.trace(np.linalg.inv(matrix)))
        constant = 0.5 * df * k * math.log(0.5 * self.scale) - float(multigammaln(0.5 * df, k))
        return constant - 0.5 * (df + k + 1.0) * value - 0.5 * self.scale * trace

    def slope(self, matrix: Values) -> Values:
        """See `Matrix`."""
        k, inverse = len(matrix), np.linalg.inv(matrix)
        return 0.5 * (self.scale * inverse @ inverse - (self.of_size(k) + k + 1.0) * inverse)


def _check_df(prior: Matrix, df: float, k: int) -> None:
    if not df > k - 1:
        raise ModelError(
            f"the prior {prior.text} has {df:g} degrees of freedom for {k} coefficients",
            hint=f"Give more than {k - 1}.",
        )
