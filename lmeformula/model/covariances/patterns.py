"""cs and ar1: correlation matrices with one correlation, as smooth functions of an angle.

The correlation rises from its lowest value to one as lowest + (1 - lowest) sin^2 t. The Cholesky factor of the
matrix is smooth in t, its bounds included: at t = 0 and t = pi / 2 the matrix is singular, and going on
beyond only changes the signs of columns.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmeformula.model.covariances.jets import power, times

Floats = NDArray[np.float64]
Tensor: TypeAlias = Any


class Pattern(Protocol):
    """A family of (k, k) correlation matrices with one parameter, k >= 2."""

    kind: str

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

    def tfp_factor(self, rho: Tensor, k: int) -> Tensor:
        """The Cholesky factor (k, k) at a correlation () in TensorFlow."""


class CompoundSymmetry:
    """The same correlation rho between any two: -1 / (k - 1) < rho < 1.

    With g_m = 1 + m rho the factor's diagonal is 1, then sqrt((1 - rho) g_j / g_(j-1)), j = 1 .. k - 1; below
    it stands rho, then rho sqrt((1 - rho) / (g_j g_(j-1))).

    Example:
      >>> half = np.sqrt(0.5)
      >>> factor = CompoundSymmetry().factor(half, half, 3)[0]
      >>> np.round(factor @ factor.T, 12).tolist()
      [[1.0, 0.25, 0.25], [0.25, 1.0, 0.25], [0.25, 0.25, 1.0]]
    """

    kind = "cs"

    def lowest(self, k: int) -> float:
        return -1.0 / (k - 1)

    def factor(self, sine: float, cosine: float, k: int) -> Floats:
        spread = k / (k - 1)  # 1 - lowest
        squared = np.array([sine**2, 2 * sine * cosine, 2 * (cosine**2 - sine**2)])
        rho = spread * squared + np.array([self.lowest(k), 0.0, 0.0])
        root = np.sqrt(spread) * np.array([cosine, -sine, -cosine])  # of 1 - rho
        g = [m * rho + np.array([1.0, 0.0, 0.0]) for m in range(k - 1)]
        roots = [power(values, 0.5) for values in g]
        # g_(k-1) = k sin^2 t vanishes at the lower bound, where its root changes its sign.
        roots.append(np.sqrt(k) * np.array([sine, cosine, -sine]))
        jets = np.zeros((3, k, k))
        jets[0, 0, 0] = 1.0
        jets[:, 1:, 0] = rho[:, None]
        for j in range(1, k):
            inner = times(root, power(roots[j - 1], -1.0))
            jets[:, j, j] = times(inner, roots[j])
            if j < k - 1:
                jets[:, j + 1 :, j] = times(times(inner, rho), power(roots[j], -1.0))[:, None]
        return jets

    def correlation_of(self, correlations: Floats) -> float:
        below = correlations[np.tril_indices(len(correlations), -1)]
        known = below[np.isfinite(below)]
        return float(known.mean()) if known.size else np.nan

    def tfp_factor(self, rho: Tensor, k: int) -> Tensor:
        import tensorflow as tf

        matrix = rho + (1.0 - rho) * tf.eye(k, dtype=rho.dtype)
        return tf.linalg.cholesky(matrix)


class Autoregressive:
    """Correlation rho^d between coefficients d steps apart: -1 < rho < 1.

    The factor's first column is 1, rho, rho^2 ..., the others sqrt(1 - rho^2) times that from the diagonal on.

    Example:
      >>> third = np.pi / 3
      >>> factor = Autoregressive().factor(np.sin(third), np.cos(third), 3)[0]
      >>> np.round(factor @ factor.T, 12).tolist()
      [[1.0, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 1.0]]
    """

    kind = "ar1"

    def lowest(self, k: int) -> float:
        return -1.0

    def factor(self, sine: float, cosine: float, k: int) -> Floats:
        double_sine, double_cosine = 2 * sine * cosine, cosine**2 - sine**2
        rho = np.array([-double_cosine, 2 * double_sine, 4 * double_cosine])
        root = np.array([double_sine, 2 * double_cosine, -4 * double_sine])  # of 1 - rho^2
        powers = [np.array([1.0, 0.0, 0.0])]
        for _ in range(k - 1):
            powers.append(times(powers[-1], rho))
        decay = np.stack(powers, axis=1)
        jets = np.zeros((3, k, k))
        jets[:, :, 0] = decay
        later = times(root[:, None], decay)
        for j in range(1, k):
            jets[:, j:, j] = later[:, : k - j]
        return jets

    def correlation_of(self, correlations: Floats) -> float:
        k = len(correlations)
        for apart in range(1, k):
            pairs = np.diagonal(correlations, -apart)
            known = pairs[np.isfinite(pairs)]
            if known.size:
                value = float(known.mean())
                # An even number of steps does not tell the sign.
                return float(np.copysign(abs(value) ** (1.0 / apart), value))
        return np.nan

    def tfp_factor(self, rho: Tensor, k: int) -> Tensor:
        import tensorflow as tf

        # Products, since the derivative of a power of zero or less is not finite.
        powers = [tf.ones_like(rho)]
        for _ in range(k - 1):
            powers.append(powers[-1] * rho)
        apart = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
        return tf.linalg.cholesky(tf.gather(tf.stack(powers), apart))


PATTERNS: dict[str, Pattern] = {
    pattern.kind: pattern for pattern in (CompoundSymmetry(), Autoregressive())
}
