"""ou, exp, gau: correlations that fall with the distance between the positions of coefficients.

The correlation at the least distance between two of them takes the place of one correlation; what is reported
is the range: exp(-distance / range), or exp(-(distance / range)^2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.special
from scipy.linalg import lapack
from scipy.spatial.distance import cdist

from lmeformula.arrays import Floats, Tensor
from lmeformula.covariance.angle_chart import AngleChart
from lmeformula.covariance.chart import Chart, LinearChart
from lmeformula.covariance.one_correlation import OneAngle, OneCorrelation
from lmeformula.formula.kinds import KINDS

# What is added to the diagonal of correlations: those of smooth fields are singular in floating point long
# before they are.
NUGGET = 1e-10
# Derivatives where all correlations are one are taken at this cosine of the angle.
NEXT_TO = 1e-4
# The cosine of a right angle.
ROUNDING = 1e-15
# The angle to start from, where the nearest two coefficients have a correlation of about .6.
FIRST = 0.9


class Decaying:
    """Correlation rho^((d / least d)^power) between coefficients at a distance d: 0 < rho < 1.

    Args:
      kind: what it is called.
      positions: (k, dimensions) of the coefficients, distinct.
      power: 1 for the exponential of the distance, 2 for that of its square.
    Example:
      >>> line = Decaying("exp", np.array([[0.0], [1.0], [3.0]]), 1.0)
      >>> factor = line.factor(np.sqrt(0.5), np.sqrt(0.5), 3)[0]
      >>> np.round(factor @ factor.T, 9).tolist()
      [[1.0, 0.5, 0.125], [0.5, 1.0, 0.25], [0.125, 0.25, 1.0]]
    """

    def __init__(self, kind: str, positions: Floats, power: float) -> None:
        self.kind, self.power = kind, power
        distances = cdist(positions, positions)
        apart = distances[distances > 0.0]
        self.least = float(apart.min()) if apart.size else 1.0
        self.exponents = (distances / self.least) ** power

    def lowest(self, k: int) -> float:
        return 0.0

    def factor(self, sine: float, cosine: float, k: int) -> Floats:
        if abs(cosine) >= NEXT_TO:
            return self._factor(sine, cosine)
        # All are one, or all but: slopes keep their digits a little away.
        found = self._factor(np.copysign(np.sqrt(1.0 - NEXT_TO**2), sine), NEXT_TO)
        if abs(cosine) < ROUNDING:
            found[0] = np.eye(k)[:1] * np.ones((k, 1))
        else:
            found[0] = self._factor(sine, cosine)[0]
        return found

    def _factor(self, sine: float, cosine: float) -> Floats:
        """L with L L' = R, and its derivatives in the angle t by those of R: rho is the square of sin t."""
        E = self.exponents
        size = abs(sine)
        with np.errstate(divide="ignore", invalid="ignore"):
            R = np.where(E > 0.0, size ** (2.0 * E), 1.0)
            first = np.where(E > 0.0, 2.0 * E * size ** (2.0 * E - 1.0) * cosine, 0.0)
            second = np.where(
                E > 0.0,
                2.0 * E * ((2.0 * E - 1.0) * size ** (2.0 * E - 2.0) * cosine**2 - R),
                0.0,
            )
        first = first if sine >= 0.0 else -first
        factor, one, two = smooth_factor(R, first[None], second[None, None])
        return np.array([factor, one[0], two[0, 0]])

    def correlation_of(self, correlations: Floats) -> float:
        known = np.isfinite(correlations) & (self.exponents > 0.0)
        if not known.any():
            return np.nan
        nearest = known & (self.exponents == self.exponents[known].min())
        value = max(float(correlations[nearest].mean()), 0.0)
        return float(value ** (1.0 / self.exponents[nearest][0]))

    def elements(self, k: int) -> None:
        return None

    def tfp_factor(self, rho: Tensor, k: int) -> Tensor:
        import tensorflow as tf

        exponents = tf.constant(self.exponents, rho.dtype)
        nugget = tf.constant(
            max(NUGGET, float(np.finfo(rho.dtype.as_numpy_dtype).eps) ** 0.75), rho.dtype
        )
        # The logarithm's gradient is finite where that of a power of zero is not.
        found = tf.exp(exponents * tf.math.log(tf.maximum(rho, tf.constant(1e-30, rho.dtype))))
        return tf.linalg.cholesky((found + nugget * tf.eye(k, dtype=rho.dtype)) / (1.0 + nugget))

    def matrix_text(self, part: str, k: int) -> str:
        ratio = f"(d_rs / {self.least:g})" + (f"^{self.power:g}" if self.power != 1.0 else "")
        return f"R the {k} × {k} matrix of correlation_{part}^{ratio} for distances d_rs"

    def matrix_latex(self, label: str, k: int) -> str:
        return rf"R_{{rs}} = {KINDS[self.kind].correlation(label)}, \quad r, s = 1, \dots, {k}"


class Ranged(OneCorrelation):
    """Correlations that fall with distance, reported by their range."""

    pattern: Decaying

    def __init__(self, pattern: Decaying, *, homogeneous: bool) -> None:
        super().__init__(pattern.kind, pattern, homogeneous=homogeneous)

    def to_report(self, theta: Floats, k: int) -> Floats:
        logs, rest = np.split(theta, [self.num_sds(k)])
        with np.errstate(divide="ignore"):
            return np.append(np.exp(logs), self._ranges(rest))

    def report_jacobian(self, theta: Floats, k: int) -> Floats:
        logs, rest = np.split(theta, [self.num_sds(k)])
        power = self.pattern.power
        # range = least h^(-1/power), h = -log(rho) = log(1 + exp(-z)).
        slope = self._ranges(rest) / power * scipy.special.expit(-rest) / np.logaddexp(0.0, -rest)
        return np.diag(np.append(np.exp(logs), slope))

    def tfp_reported(self, value: Tensor, k: int) -> tuple[Tensor, Tensor]:
        import tensorflow as tf

        power, depth = self.pattern.power, -tf.math.log(value)
        log_range = np.log(self.pattern.least) - tf.math.log(depth) / power
        volume = log_range - np.log(power) - tf.math.log(depth) - tf.math.log(value)
        return tf.exp(log_range)[:, None], volume

    def labels(self, columns: Sequence[str]) -> list[tuple[str, str]]:
        found = super().labels(columns)
        return [*found[:-1], ("range", "")] if len(columns) > 1 else found

    def chart(self, scale: Floats) -> Chart:
        if len(scale) == 1:
            return LinearChart(np.ones((1, 1, 1)) / scale[0])
        return AngleChart(_Nearness(self.pattern), scale, homogeneous=self.homogeneous)

    def _ranges(self, free: Floats) -> Floats:
        return np.asarray(
            self.pattern.least * np.logaddexp(0.0, -free) ** (-1.0 / self.pattern.power)
        )


class _Nearness(OneAngle):
    """The angle of the correlation at the least distance."""

    def uncorrelated(self, k: int) -> Floats:
        # Where nothing is known of it: without any correlation it would be on its bound.
        return np.array([FIRST])


def smooth_factor(
    correlations: Floats, first: Floats, second: Floats
) -> tuple[Floats, Floats, Floats]:
    """The Cholesky factor (k, k) of correlations, and its derivatives, from theirs.

    Args:
      correlations: (k, k).
      first: (a, k, k) their derivatives.
      second: (a, a, k, k) their second ones.
    Returns:
      The factor, its first (a, k, k) and its second derivatives (a, a, k, k).
    """
    one = np.eye(len(correlations))
    factor = np.linalg.cholesky((correlations + NUGGET * one) / (1.0 + NUGGET))
    inverse = lapack.dtrtri(factor, lower=1)[0]
    once = [_half(inverse @ each @ inverse.T) for each in first]
    twice = np.empty_like(second)
    for i, j in np.ndindex(second.shape[:2]):
        both = once[i] @ once[j].T
        twice[i, j] = _half(inverse @ second[i, j] @ inverse.T - (both + both.T))
    return np.asarray(factor), np.asarray(factor @ np.array(once)), np.asarray(factor @ twice)


def _half(matrix: Floats) -> Floats:
    """The lower triangle, with half of the diagonal."""
    found = np.tril(matrix)
    k = len(found)
    found[range(k), range(k)] *= 0.5
    return found
