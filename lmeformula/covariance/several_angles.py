"""What structures share whose correlations are given by several angles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.special

from lmeformula.arrays import Floats, Mask
from lmeformula.covariance.angle_chart import AngleChart
from lmeformula.covariance.angles import Angles
from lmeformula.covariance.chart import Chart, LinearChart
from lmeformula.covariance.one_correlation import LARGEST_LOGIT
from lmeformula.covariance.structure import log_sds

# The cosine of a right angle in floating point.
RIGHT = 1e-15


class SeveralAngles:
    """Sigma = D R D with R given by angles.

    theta holds log sds, then for each angle t the z with sin^2 u = 1 / (1 + exp(-z)), where u goes from zero to
    a right angle while t goes from its lowest to its highest.

    Args:
      angles: what gives the correlations of two coefficients or more.
      homogeneous: one standard deviation for all of them.
    """

    def __init__(self, angles: Angles, *, homogeneous: bool) -> None:
        self.angles, self.homogeneous = angles, homogeneous

    def rank(self, k: int) -> int:
        return k

    def num_params(self, k: int) -> int:
        return self.num_sds(k) + (len(self.angles.uncorrelated(k)) if k > 1 else 0)

    def num_sds(self, k: int) -> int:
        return 1 if self.homogeneous else k

    def cholesky(self, theta: Floats, k: int) -> Floats:
        sd, angles = self._parts(theta, k)
        return np.asarray(sd[:, None] * (self.angles.at(angles, k)[0] if k > 1 else 1.0))

    def cholesky_jacobian(self, theta: Floats, k: int) -> Floats:
        sd, angles = self._parts(theta, k)
        if k == 1:
            return sd[None, None]
        factor, by_angle, _ = self.angles.at(angles, k)
        by_sd = np.zeros((k, k, k))
        by_sd[range(k), range(k)] = sd[:, None] * factor
        first = by_sd.sum(axis=0)[None] if self.homogeneous else by_sd
        return np.concatenate(
            [first, (self._slopes(theta, k)[:, None] * sd)[:, :, None] * by_angle]
        )

    def to_free(self, covariance: Floats) -> Floats:
        variances = np.diag(covariance)
        logs = log_sds(variances.mean(keepdims=True) if self.homogeneous else variances)
        if len(variances) == 1:
            return logs
        sd = np.sqrt(variances)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = self.angles.of(covariance / np.outer(sd, sd))
            found = np.where(np.isnan(found), self.angles.uncorrelated(len(sd)), found)
            turned = (found - self.angles.lowest_angle) * self._share
            cosine = np.cos(turned)
            cosine = np.where(cosine < RIGHT, 0.0, cosine)
            return np.append(logs, 2.0 * (np.log(np.sin(turned)) - np.log(cosine)))

    def off_bounds(self, theta: Floats, k: int, sd: float | Floats) -> tuple[Floats, Mask]:
        logs, rest = np.split(theta, [self.num_sds(k)])
        has_sd = np.isfinite(logs)
        stand_in = np.append(
            np.where(has_sd, logs, np.log(sd)), np.clip(rest, -LARGEST_LOGIT, LARGEST_LOGIT)
        )
        active = np.flatnonzero(np.broadcast_to(has_sd, (k,)))
        idle = self.angles.idle(self._angles_of(rest), active)
        return stand_in, np.append(has_sd, (np.abs(rest) < LARGEST_LOGIT) & ~idle)

    def labels_of_sds(self, columns: Sequence[str]) -> list[tuple[str, str]]:
        """The first of `Structure.labels`."""
        return [("sd", "")] if self.homogeneous else [("sd", column) for column in columns]

    def elements(self, k: int) -> Floats | None:
        return np.ones((1, 1, 1)) if k == 1 else None

    def chart(self, scale: Floats) -> Chart:
        if len(scale) == 1:
            return LinearChart(np.ones((1, 1, 1)) / scale[0])
        return AngleChart(self.angles, scale, homogeneous=self.homogeneous)

    @property
    def _share(self) -> float:
        """A right angle, of the angles' interval."""
        return float(0.5 * np.pi / (0.5 * np.pi - self.angles.lowest_angle))

    def _parts(self, theta: Floats, k: int) -> tuple[Floats, Floats]:
        """(k,) standard deviations, and the angles."""
        logs, rest = np.split(theta, [self.num_sds(k)])
        return np.broadcast_to(np.exp(logs), (k,)), self._angles_of(rest)

    def _angles_of(self, free: Floats) -> Floats:
        high, low = scipy.special.expit(free), scipy.special.expit(-free)
        turned = np.arctan2(np.sqrt(high), np.sqrt(low))
        return np.asarray(self.angles.lowest_angle + turned / self._share)

    def _slopes(self, theta: Floats, k: int) -> Floats:
        """Derivatives of the angles in what stands for them in theta."""
        rest = theta[self.num_sds(k) :]
        product = scipy.special.expit(rest) * scipy.special.expit(-rest)
        return np.asarray(0.5 * np.sqrt(product) / self._share)
