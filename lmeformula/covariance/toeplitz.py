"""toep: a correlation for each number of steps between coefficients.

Such matrices are given by partial autocorrelations p_m, any numbers between -1 and 1. With p_m = sin t_m and
c_m = cos t_m the normalised lattice makes coefficients x of independent e, one time after another:

    f_(m-1) = c_m f_m + p_m b_(m-1) of the time before,    b_m = c_m b_(m-1) of the time before - p_m f_m,

m falling from the time to 1, with f of the highest order e, and f_0 = b_0 = x. So the Cholesky factor is a
polynomial in the p_m and c_m, and smooth in the angles, bounds included.

References: Gray, Markel (1975), IEEE Trans. Acoust. Speech Signal Process. 23, 268-277, the normalised lattice;
Barndorff-Nielsen, Schou (1973), J. Multivariate Anal. 3, 408-419, the parametrisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Ints, Mask, Tensor
from lmeformula.covariance.chart import SMALLEST
from lmeformula.covariance.several_angles import SeveralAngles
from lmeformula.covariance.structure import Correlations
from lmeformula.formula.kinds import KINDS


class Toeplitz(SeveralAngles):
    """Sigma = D R D with R_rs = rho of |r - s|.

    theta holds log sds, then for each number of steps m the z with p_m = 2 / (1 + exp(-z)) - 1.

    Args:
      homogeneous: one standard deviation for all coefficients.
    Example:
      >>> structure = Toeplitz(homogeneous=True)
      >>> theta = structure.to_free(np.array([[4.0, 2.0, 1.2], [2.0, 4.0, 2.0], [1.2, 2.0, 4.0]]))
      >>> np.round(structure.to_report(theta, 3), 12).tolist()
      [2.0, 0.5, 0.3]
    """

    kind = "toep"
    correlations: Correlations = "lags"

    def __init__(self, *, homogeneous: bool) -> None:
        super().__init__(Lags(), homogeneous=homogeneous)

    def least_correlation(self, k: int) -> float:
        return -1.0

    def tfp_correlation(self, start: Floats, dtype: str) -> tuple[Floats, Any]:
        import tensorflow_probability as tfp

        return np.sin(Lags().of(start)), tfp.bijectors.Tanh()

    def tfp_factor(self, value: Tensor, k: int) -> Tensor:
        import tensorflow as tf

        rest = tf.sqrt((1.0 - value) * (1.0 + value))
        unit, rows = tf.eye(k, dtype=value.dtype), []
        backward: list[Tensor] = []
        for time in range(k):
            forward, moved = unit[time], []
            for m in range(time, 0, -1):
                before = backward[m - 1]
                moved.append(rest[m - 1] * before - value[m - 1] * forward)
                forward = rest[m - 1] * forward + value[m - 1] * before
            backward = [forward, *moved[::-1]]
            rows.append(forward)
        return tf.stack(rows)

    def tfp_reported(self, value: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The correlations (c, k - 1), and the log volume (c,), from partial ones (c, k - 1)."""
        import tensorflow as tf

        lags = tf.vectorized_map(lambda one: self.tfp_factor(one, k)[1:, 0], value)
        # A partial autocorrelation scales what those of more steps add.
        later = tf.constant(np.arange(k - 2, -1, -1), value.dtype)
        return lags, tf.linalg.matvec(tf.math.log1p(-(value**2)), later)

    def matrix_text(self, part: str, k: int) -> str:
        return f"R the {k} × {k} matrix of a correlation for each |r - s|"

    def matrix_latex(self, label: str, k: int) -> str:
        rho = KINDS["toep"].correlation(label)
        return rf"R_{{rs}} = {rho}, \quad R_{{rr}} = 1, \quad r, s = 1, \dots, {k}"

    def to_report(self, theta: Floats, k: int) -> Floats:
        sd, angles = self._parts(theta, k)
        # The first coefficient is e_0: its covariances with the others are the first column.
        return np.append(sd[: self.num_sds(k)], Lags().at(angles, k)[0][1:, 0])

    def report_jacobian(self, theta: Floats, k: int) -> Floats:
        count, size = self.num_sds(k), self.num_params(k)
        sd, angles = self._parts(theta, k)
        found = np.zeros((size, size))
        found[range(count), range(count)] = sd[:count]
        found[count:, count:] = (
            self._slopes(theta, k)[:, None] * Lags().at(angles, k)[1][:, 1:, 0]
        ).T
        return found

    def labels(self, columns: Sequence[str]) -> list[tuple[str, str]]:
        lags = [("cor", f"lag {steps}") for steps in range(1, len(columns))]
        return self.labels_of_sds(columns) + lags


class Lags:
    """The angles t_m of partial autocorrelations sin t_m, m = 1 .. k - 1."""

    lowest_angle = -np.pi / 2

    def uncorrelated(self, k: int) -> Floats:
        return np.zeros(k - 1)

    def at(self, angles: Floats, k: int) -> tuple[Floats, Floats, Floats]:
        a = k - 1
        sine, cosine = np.sin(angles), np.cos(angles)
        rows: list[_Row] = []
        backward: list[_Row] = []
        for time in range(k):
            forward, moved = _Row.unit(time, k), []
            for m in range(time, 0, -1):
                before = backward[m - 1]
                turn = (m - 1, sine[m - 1], cosine[m - 1])
                moved.append(_combined(turn, before, forward, -1.0))
                forward = _combined(turn, forward, before, 1.0)
            backward = [forward, *moved[::-1]]
            rows.append(forward)
        return (
            np.stack([row.value for row in rows]),
            np.stack([row.first for row in rows], axis=1).reshape(a, k, k),
            np.stack([row.second for row in rows], axis=2).reshape(a, a, k, k),
        )

    def of(self, correlations: Floats) -> Floats:
        k = len(correlations)
        each = [np.diagonal(correlations, -steps) for steps in range(1, k)]
        known = [part[np.isfinite(part)] for part in each]
        lags = np.array([part.mean() if len(part) else np.nan for part in known])
        return np.asarray(np.arcsin(np.clip(_partial(lags), -1.0, 1.0)))

    def idle(self, angles: Floats, active: Ints) -> Mask:
        steps = np.arange(1, len(angles) + 1)
        reach = active.max() - active.min() if len(active) else 0
        at_bound = np.cos(angles) < 2.0 * SMALLEST
        after = np.cumsum(at_bound) - at_bound > 0
        return np.asarray((steps > reach) | after)


class _Row(NamedTuple):
    """A row of the factor (k,), with its first (a, k) and second (a, a, k) derivatives in the angles."""

    value: Floats
    first: Floats
    second: Floats

    @staticmethod
    def unit(place: int, k: int) -> _Row:
        return _Row(np.eye(k)[place], np.zeros((k - 1, k)), np.zeros((k - 1, k - 1, k)))


def _combined(turn: tuple[int, float, float], one: _Row, other: _Row, sign: float) -> _Row:
    """cos t times one row, plus or minus sin t times another."""
    m, sine, cosine = turn
    value = cosine * one.value + sign * sine * other.value
    first = cosine * one.first + sign * sine * other.first
    second = cosine * one.second + sign * sine * other.second
    slope = -sine * one.first + sign * cosine * other.first
    second[m] += slope
    second[:, m] += slope
    second[m, m] += -cosine * one.value - sign * sine * other.value
    first[m] += -sine * one.value + sign * cosine * other.value
    return _Row(value, first, second)


def _partial(lags: Floats) -> Floats:
    """(a,) partial autocorrelations of autocorrelations, by Durbin's recursion; nan of those not known."""
    found = np.full(len(lags), np.nan)
    weights, left = np.zeros(0), 1.0
    for m, lag in enumerate(lags):
        predicted = float(weights @ lags[:m][::-1]) if m else 0.0
        if np.isnan(lag):
            lags = lags.copy()
            lags[m], found[m] = predicted, np.nan
            weights = np.append(weights, 0.0)
            continue
        part = float(np.clip((lag - predicted) / left, -1.0, 1.0)) if left > 1e-12 else 0.0
        found[m] = part
        weights = np.append(weights - part * weights[::-1], part)
        left *= 1.0 - part**2
    return found
