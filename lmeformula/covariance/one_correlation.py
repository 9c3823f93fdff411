"""Structures with one correlation: standard deviations, one or each its own, and a pattern of correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Ints, Mask, Tensor
from lmeformula.covariance.angle_chart import AngleChart
from lmeformula.covariance.chart import Chart, LinearChart
from lmeformula.covariance.pattern import Pattern
from lmeformula.covariance.structure import Correlations, log_sds

# The correlation's stand-in on its bound: the share of the admissible interval that it keeps away, squared root
# as far from zero as a standard deviation's.
LARGEST_LOGIT = 2.0 * np.log(1e6)


class OneCorrelation:
    """Sigma = D R(rho) D with D the standard deviations and R a pattern.

    theta holds log sds, then (for k > 1) z with rho = lowest + (1 - lowest) / (1 + exp(-z)): the logit of where
    rho lies in its admissible interval, as tfp.bijectors.Sigmoid(lowest, 1) has it. For ar1, and for cs with
    k = 2, z / 2 is Fisher's transformation of rho.

    Args:
      kind: what it is called.
      pattern: of the correlations.
      homogeneous: one standard deviation for all coefficients.
    Example:
      >>> from lmeformula.covariance.autoregressive import Autoregressive
      >>> structure = OneCorrelation("ar1", Autoregressive(), homogeneous=True)
      >>> theta = structure.to_free(np.array([[4.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 4.0]]))
      >>> np.round(structure.to_report(theta, 3), 12).tolist()
      [2.0, 0.5]
    """

    correlations: Correlations = "one"

    def __init__(self, kind: str, pattern: Pattern, *, homogeneous: bool) -> None:
        self.kind = kind
        self.pattern = pattern
        self.homogeneous = homogeneous

    def least_correlation(self, k: int) -> float:
        return self.pattern.lowest(k)

    def tfp_correlation(self, start: Floats, dtype: str) -> tuple[Floats, Any]:
        import tensorflow as tf
        import tensorflow_probability as tfp

        lowest = tf.constant(self.pattern.lowest(len(start)), dtype)
        bijector = tfp.bijectors.Sigmoid(lowest, tf.ones([], dtype))
        return np.asarray(self.pattern.correlation_of(start)), bijector

    def tfp_factor(self, value: Tensor, k: int) -> Tensor:
        return self.pattern.tfp_factor(value, k)

    def tfp_reported(self, value: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """What is reported of correlations (c, e), and the log volume (c,), from their values (c,)."""
        return value[:, None], 0.0 * value

    def matrix_text(self, part: str, k: int) -> str:
        return self.pattern.matrix_text(part, k)

    def matrix_latex(self, label: str, k: int) -> str:
        return self.pattern.matrix_latex(label, k)

    def rank(self, k: int) -> int:
        return k

    def num_params(self, k: int) -> int:
        return self.num_sds(k) + (k > 1)

    def num_sds(self, k: int) -> int:
        return 1 if self.homogeneous else k

    def cholesky(self, theta: Floats, k: int) -> Floats:
        sd = np.exp(self._log_sds(theta, k))
        return np.asarray(sd[:, None] * self._factor(theta, k)[0])

    def cholesky_jacobian(self, theta: Floats, k: int) -> Floats:
        sd = np.exp(self._log_sds(theta, k))
        factor, by_angle, _ = self._factor(theta, k)
        by_sd = np.zeros((k, k, k))
        by_sd[range(k), range(k)] = sd[:, None] * factor
        parts = [by_sd.sum(axis=0)[None] if self.homogeneous else by_sd]
        if k > 1:
            # p = sin^2 t and z = logit p, so that dt / dz = sin t cos t / 2.
            share = scipy.special.expit(theta[-1])
            parts.append((0.5 * np.sqrt(share * (1.0 - share)) * sd[:, None] * by_angle)[None])
        return np.concatenate(parts)

    def to_free(self, covariance: Floats) -> Floats:
        variances = np.diag(covariance)
        k = len(variances)
        logs = log_sds(variances.mean(keepdims=True) if self.homogeneous else variances)
        if k == 1:
            return logs
        sd = np.sqrt(variances)
        with np.errstate(divide="ignore", invalid="ignore"):
            rho = self.pattern.correlation_of(covariance / np.outer(sd, sd))
            lowest = self.pattern.lowest(k)
            share = np.clip(((0.0 if np.isnan(rho) else rho) - lowest) / (1.0 - lowest), 0.0, 1.0)
            return np.append(logs, np.log(share) - np.log1p(-share))

    def off_bounds(self, theta: Floats, k: int, sd: float | Floats) -> tuple[Floats, Mask]:
        logs, rest = np.split(theta, [self.num_sds(k)])
        has_sd = np.isfinite(logs)
        makes_a_difference = has_sd.sum() >= min(2, len(logs))
        stand_in = np.append(
            np.where(has_sd, logs, np.log(sd)), np.clip(rest, -LARGEST_LOGIT, LARGEST_LOGIT)
        )
        return stand_in, np.append(has_sd, (np.abs(rest) < LARGEST_LOGIT) & makes_a_difference)

    def to_report(self, theta: Floats, k: int) -> Floats:
        logs, rest = np.split(theta, [self.num_sds(k)])
        lowest = self.pattern.lowest(k) if k > 1 else 0.0
        return np.append(np.exp(logs), lowest + (1.0 - lowest) * scipy.special.expit(rest))

    def report_jacobian(self, theta: Floats, k: int) -> Floats:
        logs, rest = np.split(theta, [self.num_sds(k)])
        lowest = self.pattern.lowest(k) if k > 1 else 0.0
        share = scipy.special.expit(rest)
        return np.diag(np.append(np.exp(logs), (1.0 - lowest) * share * (1.0 - share)))

    def labels(self, columns: Sequence[str]) -> list[tuple[str, str]]:
        sds = [("sd", "")] if self.homogeneous else [("sd", column) for column in columns]
        return sds + [("cor", "")] * (len(columns) > 1)

    def elements(self, k: int) -> Floats | None:
        if k == 1:
            return np.ones((1, 1, 1))
        return self.pattern.elements(k) if self.homogeneous else None

    def chart(self, scale: Floats) -> Chart:
        if len(scale) == 1:
            return LinearChart(np.ones((1, 1, 1)) / scale[0])
        return AngleChart(OneAngle(self.pattern), scale, homogeneous=self.homogeneous)

    def _log_sds(self, theta: Floats, k: int) -> Floats:
        return np.broadcast_to(theta[: self.num_sds(k)], (k,))

    def _factor(self, theta: Floats, k: int) -> Floats:
        """(3, k, k) factor of the correlations and its derivatives in the angle."""
        if k == 1:
            return np.array([1.0, 0.0, 0.0])[:, None, None]
        share, rest = scipy.special.expit(theta[-1]), scipy.special.expit(-theta[-1])
        return self.pattern.factor(float(np.sqrt(share)), float(np.sqrt(rest)), k)


class OneAngle:
    """A pattern's correlation as an angle t: lowest + (1 - lowest) sin^2 t."""

    lowest_angle = 0.0

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern

    def uncorrelated(self, k: int) -> Floats:
        lowest = self.pattern.lowest(k)
        return np.array([np.arcsin(np.sqrt(-lowest / (1.0 - lowest)))])

    def at(self, angles: Floats, k: int) -> tuple[Floats, Floats, Floats]:
        angle = float(angles[0])
        factor, first, second = self.pattern.factor(float(np.sin(angle)), float(np.cos(angle)), k)
        return factor, first[None], second[None, None]

    def of(self, correlations: Floats) -> Floats:
        rho, lowest = (
            self.pattern.correlation_of(correlations),
            self.pattern.lowest(len(correlations)),
        )
        share = np.clip((rho - lowest) / (1.0 - lowest), 0.0, 1.0)
        return np.array([np.arcsin(np.sqrt(share))])

    def idle(self, angles: Floats, active: Ints) -> Mask:
        return np.array([len(active) < 2])
