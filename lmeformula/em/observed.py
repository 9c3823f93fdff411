"""The record of an observed information that draws gave: its noise, and the covariance that it reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.em.series import mean_covariance

# Relative errors of standard errors above this say that nothing is known of them.
KNOWN = 0.5


class Information(NamedTuple):
    """An estimate of the observed information.

    Attributes:
      params: (d,) where.
      basis: (d, f) the directions that are free; the others have no information.
      matrix: (f, f) in these directions.
      series: (m, f, f, c) what it is the mean of; its Monte Carlo error is theirs.
      change: (f, f, f) derivative of `matrix` in the free directions; zero after differences to one side.
      scores: (m, f, c) the scores at the same draws.
      share: of all the draws that the mean score comes from, those that the matrix comes from.
      score: (f,) the mean score of all draws at `params`, for which they are weighted.
    """

    params: Floats
    basis: Floats
    matrix: Floats
    series: Floats
    change: Floats
    scores: Floats
    share: float
    score: Floats

    @property
    def is_usable(self) -> bool:
        """Whether it is positive definite."""
        return bool(np.isfinite(self.matrix).all()) and (
            float(np.linalg.eigvalsh(self.matrix).min(initial=1.0)) > 0
        )

    @property
    def is_known(self) -> bool:
        """Whether its noise leaves the standard errors known at all."""
        stderr = np.sqrt(np.diag(np.linalg.inv(self.matrix)))
        return float(np.max(self.noise(self.basis.T) / stderr, initial=0.0)) < KNOWN

    @property
    def left(self) -> Floats:
        """(d,) the way from `params` to the maximum."""
        return np.asarray(self.basis @ np.linalg.solve(self.matrix, self.score))

    def halfway(self, params: Floats) -> Floats:
        """(d, d) information halfway from other parameters to these, in all directions.

        A score over it is the distance, up to the third order in it, where the maximum is here.
        """
        between = self.matrix + 0.5 * self.change @ (self.basis.T @ (params - self.params))
        usable = np.linalg.eigvalsh(between).min(initial=1.0) > 0
        return np.asarray(self.basis @ (between if usable else self.matrix) @ self.basis.T)

    def at(self, params: Floats) -> Floats:
        """(d, d) information at parameters close by, zero in directions that are held."""
        return np.asarray(self.basis @ self._free_at(params) @ self.basis.T)

    def _free_at(self, params: Floats) -> Floats:
        return np.asarray(self.matrix + self.change @ (self.basis.T @ (params - self.params)))

    def covariance_at(self, params: Floats) -> Floats:
        """(d, d) inverse information at parameters close by, zero in directions that are held.

        Raises:
          numpy.linalg.LinAlgError: where it is not positive definite.
        """
        root = np.linalg.cholesky(self._free_at(params))
        half = np.linalg.solve(root, self.basis.T)
        return np.asarray(half.T @ half)

    def change_to(self, params: Floats) -> float:
        """The largest relative change of standard errors from `self.params` to others; inf where they end."""
        try:
            there = self.covariance_at(params)
        except np.linalg.LinAlgError:
            return float("inf")
        here = np.diag(np.linalg.inv(self.matrix))
        changed = np.einsum("df,de,ef->f", self.basis, there, self.basis)
        return float(np.abs(np.sqrt(changed / here) - 1.0).max(initial=0.0))

    def noise(self, jacobian: Floats) -> Floats:
        """(v,) Monte Carlo errors of the standard errors of `jacobian` (v, d) times the parameters.

        By the delta method; they are those of the estimate at given parameters, `params`.
        """
        return np.sqrt(np.diag(mean_covariance(self._stderr_series(jacobian))))

    def correlation(self, jacobian: Floats, slopes: Floats) -> Floats:
        """(v,) Monte Carlo correlations of these standard errors with `slopes` (d, v) times the estimates.

        The estimates move by the mean score, whose draws are the same.
        """
        by_score = slopes.T @ self.basis @ np.linalg.inv(self.matrix)
        moved = np.einsum("vi,mic->mvc", by_score, self.scores)
        both = mean_covariance(np.concatenate([self._stderr_series(jacobian), moved], axis=1))
        size = np.sqrt(np.diag(both))
        scale = np.where(size > 0, size, np.inf)
        place = np.arange(len(jacobian))
        crossed = (both / scale[:, None] / scale)[place, place + len(jacobian)]
        # The mean score has further draws, which the matrix has not seen.
        return np.asarray(np.sqrt(self.share) * crossed)

    def _stderr_series(self, jacobian: Floats) -> Floats:
        """(m, v, c) to first order, what the noise in the standard errors is the mean of."""
        root = jacobian @ self.basis @ np.linalg.inv(self.matrix)
        changes = np.einsum("vi,mijc,vj->mvc", root, self.series, root, optimize=True)
        stderr = np.sqrt(np.einsum("vi,ij,vj->v", root, self.matrix, root))
        return np.asarray(-0.5 * changes / np.where(stderr > 0, stderr, np.inf)[:, None])


class Reported(NamedTuple):
    """Covariance of the estimates on a reporting scale.

    Attributes:
      covariance: (v, v).
      stderr_error: (v,) Monte Carlo errors of the roots of its diagonal.
    """

    covariance: Floats
    stderr_error: Floats


def reported(
    found: Information, jacobian: Callable[[Floats], Floats], params: Floats, mc_covariance: Floats
) -> Reported:
    """Bring an information to the estimates, and its inverse to the scale that they are reported on.

    Args:
      found: the information, where the last draws were taken.
      jacobian: parameters (d,) -> (v, d) derivative of what is reported.
      params: (d,) the estimates.
      mc_covariance: (d, d) their Monte Carlo covariance.
    Returns:
      The covariance; its errors come from the noise of the information and from that of the estimates.
    """

    def covariance(at: Floats) -> Floats:
        by = jacobian(at)
        return np.asarray(by @ found.covariance_at(at) @ by.T)

    def stderr(at: Floats) -> Floats:
        return np.sqrt(np.maximum(np.diag(covariance(at)), 0.0))

    whole = covariance(params)
    # The estimates' own error moves the information, and the scale.
    spread = np.sqrt(np.diag(found.covariance_at(found.params)))
    slopes = []
    for place, length in enumerate(1e-3 * spread):
        step = np.zeros(len(params))
        step[place] = length
        rise = stderr(params + step) - stderr(params - step)
        slopes.append(rise / (2.0 * length) if length > 0 else np.zeros(len(whole)))
    by_params = np.array(slopes)
    moved = np.sqrt(np.maximum(np.einsum("kv,kl,lv->v", by_params, mc_covariance, by_params), 0.0))
    noise = found.noise(jacobian(params))
    together = found.correlation(jacobian(params), by_params)
    total = moved**2 + noise**2 + 2.0 * together * moved * noise
    return Reported(whole, np.sqrt(np.maximum(total, 0.0)))
