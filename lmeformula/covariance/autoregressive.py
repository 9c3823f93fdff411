"""ar1: the correlation falls by a factor with each step in time."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats, Tensor
from lmeformula.covariance.jets import times
from lmeformula.formula.kinds import KINDS


class Autoregressive:
    """Correlation rho^d between coefficients d steps apart: -1 < rho < 1.

    The factor's first column is 1, rho, rho^2 ..., the others sqrt(1 - rho^2) times that from the diagonal on.

    Example:
      >>> third = np.pi / 3
      >>> factor = Autoregressive().factor(np.sin(third), np.cos(third), 3)[0]
      >>> np.round(factor @ factor.T, 12).tolist()
      [[1.0, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 1.0]]
    """

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

    def elements(self, k: int) -> None:
        return None

    def tfp_factor(self, rho: Tensor, k: int) -> Tensor:
        import tensorflow as tf

        # Products, since the derivative of a power of zero or less is not finite.
        powers = [tf.ones_like(rho)]
        for _ in range(k - 1):
            powers.append(powers[-1] * rho)
        apart = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
        return tf.linalg.cholesky(tf.gather(tf.stack(powers), apart))

    def matrix_text(self, part: str, k: int) -> str:
        return f"R the {k} × {k} matrix of correlation_{part}^|r - s|"

    def matrix_latex(self, label: str, k: int) -> str:
        return rf"R_{{rs}} = {KINDS['ar1'].correlation(label)}, \quad r, s = 1, \dots, {k}"
