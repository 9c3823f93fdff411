"""Correlation matrices with one correlation, as smooth functions of an angle.

The correlation rises from its lowest value to one as lowest + (1 - lowest) sin^2 t. The Cholesky factor of the
matrix is smooth in t, its bounds included: at t = 0 and t = pi / 2 the matrix is singular, and going on
beyond only changes the signs of columns.
"""

from __future__ import annotations

from typing import Protocol

from lmeformula.arrays import Floats, Tensor


class Pattern(Protocol):
    """A family of (k, k) correlation matrices with one parameter, k >= 2."""

    def lowest(self, k: int) -> float:
        """The infimum of the correlations; their supremum is one."""

    def factor(self, sine: float, cosine: float, k: int) -> Floats:
        """The Cholesky factor at an angle t, with its first and second derivatives in t.

        Args:
          sine, cosine: of t.
          k: size.
        Returns:
          (3, k, k).
        """

    def correlation_of(self, correlations: Floats) -> float:
        """The correlation of a (k, k) matrix of this pattern, nan where coefficients do not vary."""

    def elements(self, k: int) -> Floats | None:
        """See `Structure.elements`, of covariances with one variance."""

    def tfp_factor(self, rho: Tensor, k: int) -> Tensor:
        """The Cholesky factor (k, k) at a correlation () in TensorFlow."""

    def matrix_text(self, part: str, k: int) -> str:
        """See `Structure.matrix_text`."""

    def matrix_latex(self, label: str, k: int) -> str:
        """See `Structure.matrix_latex`."""
