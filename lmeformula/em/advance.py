"""From the draws of an E-step to the M-step: mean score, metric, distance to the maximum, and its error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.em.draws import Draws
from lmeformula.em.mstep import newton
from lmeformula.em.series import effective_draws, mean_covariance

# A fraction of observed information below this is taken for none: the parameter is not identified, or at
# its boundary.
LOWEST_FLOOR = 1e-3
# One below this is rounding: a parameter that the data say nothing on has it where it starts.
SINGULAR = 1e-13


class Moments(NamedTuple):
    """What draws say of the scores.

    Attributes:
      score: (d,) mean of the controlled scores: the gradient of the log-likelihood, estimated.
      covariance: (d, d) Monte Carlo covariance of that mean.
      raw_covariance: (d, d) posterior covariance of the raw scores.
      reduction: (d,) variance of the raw scores over that of the controlled ones.
      effective: smallest effective number of draws over the raw scores.
      information: (d, d) mean complete-data information, where the draws have it.
    """

    score: Floats
    covariance: Floats
    raw_covariance: Floats
    reduction: Floats
    effective: float
    information: Floats


class Learned(NamedTuple):
    """What the iterations before this one said of the information, where the problem does not.

    Attributes:
      complete: (d, d) complete-data information.
      missing: (d, d) posterior covariance of the scores.
      evidence: number of effective draws behind them.
    """

    complete: Floats
    missing: Floats
    evidence: float


class Advance(NamedTuple):
    """Where the maximum is from here.

    Attributes:
      distance: (d,) Newton's distance to it; 0 in directions that are held.
      step: (d,) the cautious step there.
      mc_covariance: (d, d) Monte Carlo covariance of `distance`.
      stderr: (d,) standard errors; inf for parameters that are held.
      observed: (d, d) the information that was used.
      resolved: whether it needed no floor.
    """

    distance: Floats
    step: Floats
    mc_covariance: Floats
    stderr: Floats
    observed: Floats
    resolved: bool

    @property
    def mc_error(self) -> Floats:
        """(d,) Monte Carlo standard errors of `distance`."""
        return np.sqrt(np.diag(self.mc_covariance))


def moments_of(draws: Draws, scores: Floats) -> Moments:
    """Summarize draws.

    Args:
      draws: of one parameter vector.
      scores: (m, d, c) their controlled scores, as they are to be used.
    """
    total = scores.shape[0] * scores.shape[2]
    raw = draws.raw - draws.raw.mean(axis=(0, 2), keepdims=True)
    raw_covariance = np.einsum("mic,mjc->ij", raw, raw) / total
    variance = np.maximum(scores.var(axis=(0, 2)), 1e-300)
    return Moments(
        score=scores.mean(axis=(0, 2)),
        covariance=mean_covariance(scores),
        raw_covariance=raw_covariance,
        reduction=np.diag(raw_covariance) / variance,
        effective=effective_draws(draws.raw),
        information=0.5 * (draws.information + draws.information.T),
    )


def learn(learned: Learned, moments: Moments) -> Learned:
    """Add what draws say to what earlier ones did, which were taken at other parameters and count for less."""
    past = 0.8 * learned.evidence
    share = moments.effective / (past + moments.effective)
    return Learned(
        learned.complete + share * (moments.information - learned.complete),
        learned.missing + share * (moments.raw_covariance - learned.missing),
        past + moments.effective,
    )


def noise_floor(learned: Learned) -> float:
    """What the Monte Carlo noise of Louis's difference could hide of the observed fractions."""
    return float(np.clip(2.0 * np.sqrt(2.0 / learned.evidence), LOWEST_FLOOR, 1.0))


def advance(
    moments: Moments, complete: Floats, observed: Floats, least: float, floor: float, basis: Floats
) -> Advance:
    """Work out the way to the maximum within the free directions.

    Args:
      moments: of the scores.
      complete: (d, d) complete-data information.
      observed: (d, d) observed information.
      least: floor under the observed fractions of information, for the distance; 0 takes the observed
        information as it is where it is positive definite.
      floor: the same for the step.
      basis: (d, f) orthonormal directions that are free.
    """
    score = basis.T @ moments.score
    inside, outside = basis.T @ complete @ basis, basis.T @ observed @ basis
    bent = _metric(inside, outside, least)
    cautious = _metric(inside, outside, max(floor, least))
    inverse = basis @ bent.inverse @ basis.T
    # Through its root: variances of next to nothing stay none below zero.
    sizes, ways = np.linalg.eigh(moments.covariance)
    noise = inverse @ (ways * np.sqrt(np.maximum(sizes, 0.0)))
    variance = np.diag(inverse)
    with np.errstate(over="ignore", invalid="ignore"):
        # Where nothing is left of the information the loop sees that a step is not finite.
        distance, step = (basis @ (metric.inverse @ score) for metric in (bent, cautious))
    return Advance(
        distance=distance,
        step=step,
        mc_covariance=noise @ noise.T,
        stderr=np.sqrt(np.where(variance > 0, variance, np.inf)),
        observed=basis @ bent.information @ basis.T,
        resolved=bent.fraction >= least,
    )


def _metric(complete: Floats, observed: Floats, floor: float) -> newton.Metric:
    if floor == 0.0:
        scale = np.sqrt(np.diag(complete))
        if np.linalg.eigvalsh(observed / np.outer(scale, scale)).min(initial=1.0) > SINGULAR:
            return newton.Metric(observed, np.asarray(np.linalg.inv(observed)), 1.0)
    return newton.metric(complete, observed, max(floor, LOWEST_FLOOR))
