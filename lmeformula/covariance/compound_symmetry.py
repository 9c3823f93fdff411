"""cs: compound symmetry, one correlation between any two coefficients."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats, Tensor
from lmeformula.covariance.jets import power, times
from lmeformula.formula.kinds import KINDS


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

    def elements(self, k: int) -> Floats:
        return np.stack([np.eye(k), 1.0 - np.eye(k)])

    def tfp_factor(self, rho: Tensor, k: int) -> Tensor:
        import tensorflow as tf

        matrix = rho + (1.0 - rho) * tf.eye(k, dtype=rho.dtype)
        return tf.linalg.cholesky(matrix)

    def matrix_text(self, part: str, k: int) -> str:
        return f"R the {k} × {k} matrix of 1 and, off its diagonal, correlation_{part}"

    def matrix_latex(self, label: str, k: int) -> str:
        return (
            rf"R_{{rs}} = {KINDS['cs'].correlation(label)} \; (r \neq s), \quad R_{{rr}} = 1, "
            rf"\quad r, s = 1, \dots, {k}"
        )
