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
import scipy.special

from lmeformula.arrays import Floats, Ints, Mask, Tensor
from lmeformula.covariance.angle_chart import AngleChart
from lmeformula.covariance.chart import SMALLEST, Chart, LinearChart
from lmeformula.covariance.one_correlation import LARGEST_LOGIT
from lmeformula.covariance.structure import Correlations, log_sds
from lmeformula.formula.kinds import KINDS


class Toeplitz:
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
        self.homogeneous = homogeneous

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

    def matrix_text(self, part: str, k: int) -> str:
        return f"R the {k} × {k} matrix of a correlation for each |r - s|"

    def matrix_latex(self, label: str, k: int) -> str:
        rho = KINDS["toep"].correlation(label)
        return rf"R_{{rs}} = {rho}, \quad R_{{rr}} = 1, \quad r, s = 1, \dots, {k}"

    def num_params(self, k: int) -> int:
        return self.num_sds(k) + k - 1

    def num_sds(self, k: int) -> int:
        return 1 if self.homogeneous else k

    def cholesky(self, theta: Floats, k: int) -> Floats:
        sd, rest = self._parts(theta, k)
        return np.asarray(sd[:, None] * Lags().at(rest, k)[0])

    def cholesky_jacobian(self, theta: Floats, k: int) -> Floats:
        sd, angles = self._parts(theta, k)
        factor, by_angle, _ = Lags().at(angles, k)
        by_sd = np.zeros((k, k, k))
        by_sd[range(k), range(k)] = sd[:, None] * factor
        first = by_sd.sum(axis=0)[None] if self.homogeneous else by_sd
        # p = sin t and dp / dz = (1 - p^2) / 2, so that dt / dz = cos t / 2.
        return np.concatenate([first, (0.5 * np.cos(angles)[:, None] * sd)[:, :, None] * by_angle])

    def to_free(self, covariance: Floats) -> Floats:
        variances = np.diag(covariance)
        logs = log_sds(variances.mean(keepdims=True) if self.homogeneous else variances)
        sd = np.sqrt(variances)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.sin(Lags().of(covariance / np.outer(sd, sd)))
            found = np.where(np.isnan(found), 0.0, found)
            return np.append(logs, np.log1p(found) - np.log1p(-found))

    def off_bounds(self, theta: Floats, k: int, sd: float | Floats) -> tuple[Floats, Mask]:
        logs, rest = np.split(theta, [self.num_sds(k)])
        has_sd = np.isfinite(logs)
        stand_in = np.append(
            np.where(has_sd, logs, np.log(sd)), np.clip(rest, -LARGEST_LOGIT, LARGEST_LOGIT)
        )
        active = np.flatnonzero(np.broadcast_to(has_sd, (k,)))
        idle = Lags().idle(_angles_of(rest), active)
        return stand_in, np.append(has_sd, (np.abs(rest) < LARGEST_LOGIT) & ~idle)

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
            0.5 * np.cos(angles)[:, None] * Lags().at(angles, k)[1][:, 1:, 0]
        ).T
        return found

    def labels(self, columns: Sequence[str]) -> list[tuple[str, str]]:
        sds = [("sd", "")] if self.homogeneous else [("sd", column) for column in columns]
        return sds + [("cor", f"lag {steps}") for steps in range(1, len(columns))]

    def elements(self, k: int) -> Floats | None:
        return np.ones((1, 1, 1)) if k == 1 else None

    def chart(self, scale: Floats) -> Chart:
        if len(scale) == 1:
            return LinearChart(np.ones((1, 1, 1)) / scale[0])
        return AngleChart(Lags(), scale, homogeneous=self.homogeneous)

    def _parts(self, theta: Floats, k: int) -> tuple[Floats, Floats]:
        """(k,) standard deviations, and (k - 1,) angles."""
        logs, rest = np.split(theta, [self.num_sds(k)])
        return np.broadcast_to(np.exp(logs), (k,)), _angles_of(rest)


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


def _angles_of(free: Floats) -> Floats:
    """Angles of unconstrained z: the sine is 2 expit(z) - 1, the cosine 2 sqrt(expit(z) expit(-z))."""
    high, low = scipy.special.expit(free), scipy.special.expit(-free)
    return np.asarray(np.arctan2(high - low, 2.0 * np.sqrt(high * low)))


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
