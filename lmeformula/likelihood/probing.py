"""Fits whose score is a mean over probes: how many probes, and what error they leave in the estimates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from lmeformula.algebra.probed import ProbedFactor
from lmeformula.algebra.probes import Signs, probe
from lmeformula.arrays import Floats, Mask
from lmeformula.checkpoint.journal import stop
from lmeformula.likelihood.sureness import Sureness, scatter
from lmeformula.model.params import Params, ParamSpace

# Probes of the first ascent: their scatter must tell the error, and designs seldom need more. Two of them lead
# most of the way, to about a tenth of a standard error.
FIRST_PROBES = 8
ROUGH_PROBES = 2
ROUGH_GAIN = 1e-2
# The ascent ends where Newton's step is some 3e-4 standard errors long; that last step is taken with the
# observed information, which leaves of it less than the errors by which scores are known.
NEGLIGIBLE_GAIN = 1e-7
# At the maximum, probes are added for the log-likelihood alone until its error is this, or there are so many.
LOGLIK_ERROR = 0.05
MAX_LOGLIK_PROBES = 64
# A direction has no information where less than this share of its coordinates' own is left.
NOTHING = 1e-13


class Found(Protocol):
    """What is asked of an optimum."""

    @property
    def converged(self) -> bool:
        """Whether the ascent arrived."""

    @property
    def num_evaluations(self) -> int:
        """How often the likelihood was evaluated."""


F = TypeVar("F", bound=Found, covariant=True)


class ProbedFit(NamedTuple, Generic[F]):
    """An optimum, as far as probes see it.

    Attributes:
      found: the optimum, its parameters those of psi.
      coordinates: where the ascent ended, to start from again.
      psi: (d,) estimates, unconstrained; boundary parameters hold a finite stand-in.
      inside: (d,) which parameters are not at their boundary.
      information: (d, d) observed information of psi; zero outside.
      mc_covariance: (d, d) Monte Carlo covariance of psi; zero outside.
      factor: M at the optimum, with all probes.
      loglik: the log-likelihood there.
      loglik_error: its Monte Carlo standard error.
      loglik_each: (m,) the log-likelihood by each probe, but for a constant.
      follow: (d, d) how psi moves with what the likelihood has, where it has not all.
      sureness: what standard errors owe to probes, and
      stderr_share: (d,) their Monte Carlo errors, relative; None where these are not known.
      lost: whether there are no derivatives at the end: beyond numbers of this precision, or of a perfect fit.
      num_evaluations: how often the likelihood was evaluated, over all sets of probes.
      is_sharp: whether every Monte Carlo error is as small as was asked.
      interrupted: whether the user stopped it before it was.
    """

    found: F
    coordinates: Floats
    psi: Floats
    inside: Mask
    information: Floats
    mc_covariance: Floats
    factor: ProbedFactor
    loglik: float
    loglik_error: float
    loglik_each: Floats
    follow: Floats | None = None
    sureness: Sureness | None = None
    stderr_share: Floats | None = None
    lost: bool = False
    num_evaluations: int = 0
    is_sharp: bool = False
    interrupted: bool = False


def fit_by_probes(
    draws: Signs,
    roughly: Callable[[Floats], tuple[Floats, int]],
    fit: Callable[[Floats, Floats, ProbedFit[F] | None], ProbedFit[F]],
    *,
    seed: int,
    tolerance: float,
    max_probes: int,
) -> ProbedFit[F]:
    """Maximise a likelihood with as many probes as its estimates need.

    Args:
      draws: what draws the probes.
      roughly: probes (r, m) -> coordinates near the optimum, and how many evaluations these took.
      fit: probes (r, m), coordinates to start from, what fewer probes gave -> the optimum by these.
      seed: of the probes.
      tolerance: probes are added until every Monte Carlo error is below this fraction of the parameter's
        standard error.
      max_probes: most probes.
    Returns:
      The optimum, whether or not the optimiser converged. An interruption from the keyboard while probes are
      added returns what the last set of them gave.
    """
    count = min(FIRST_PROBES, max_probes)
    here, num_evaluations = roughly(draws.draw(ROUGH_PROBES, seed))
    last: ProbedFit[F] | None = None
    while True:
        try:
            last = fit(draws.draw(count, seed), here, last)
        except KeyboardInterrupt:
            if last is None:
                raise
            stop()
            return last._replace(interrupted=True)
        here, num_evaluations = last.coordinates, num_evaluations + last.found.num_evaluations
        last = last._replace(num_evaluations=num_evaluations)
        if last.lost:
            return last
        too_large = excess(last.mc_covariance, last.information, last.inside, tolerance)
        last = last._replace(is_sharp=too_large <= 1.0)
        # Where a parameter has no end its error is no number, which more probes do not make one.
        if not too_large > 1.0 or count >= max_probes or not last.found.converged:
            return _sharpened(last, draws, seed)
        count = more_probes(count, too_large, max_probes)


def _sharpened(last: ProbedFit[F], draws: Signs, seed: int) -> ProbedFit[F]:
    """Add probes at the maximum for log |M|, whose error is absolute and grows with the root of the data."""
    factor = last.factor
    each = factor.probed.log_det_each
    needed, count = len(each) * (last.loglik_error / LOGLIK_ERROR) ** 2, len(each)
    # Twice as many each time: models that are compared have as many as each other then, mostly.
    while count < min(needed, MAX_LOGLIK_PROBES):
        count *= 2
    if count == len(each):
        return last
    signs = draws.draw(count, seed)
    further = probe(factor.eliminated, signs[:, len(each) :])
    whole = np.concatenate([each, further.log_det_each])
    return last._replace(
        factor=replace(factor, signs=signs),
        loglik=last.loglik - 0.5 * (float(whole.mean()) - factor.log_det),
        loglik_error=loglik_error(whole),
        loglik_each=-0.5 * whole,
    )


def mc_covariance(scores: Floats, information: Floats, inside: Mask) -> Floats:
    """(d, d) covariance of the root of the mean score, by the delta method; zero outside.

    Args:
      scores: (m, d) the score by each probe.
      information: (d, d) observed information.
      inside: (d,) parameters that are not at their boundary.
    """
    inverse, _ = inverse_inside(information, inside)
    return np.asarray(inverse @ scatter(scores) @ inverse / len(scores))


def excess(covariance: Floats, information: Floats, inside: Mask, tolerance: float) -> float:
    """The largest Monte Carlo error in units of what is tolerated, a fraction of the standard error.

    Parameters without one, beside others at a boundary, do not count.
    """
    variances = np.diag(inverse_inside(information, inside)[0])
    has_one = variances > 0
    errors = np.sqrt(np.diag(covariance)[has_one])
    return float((errors / (tolerance * np.sqrt(variances[has_one]))).max(initial=0.0))


def more_probes(count: int, too_large: float, max_probes: int) -> int:
    """How many probes to take next, where errors are `too_large` times what is tolerated."""
    wanted = 1.2 * count * too_large**2
    return (
        max_probes if wanted >= max_probes else min(max_probes, max(2 * count, math.ceil(wanted)))
    )


def loglik_error(log_dets: Floats) -> float:
    """Standard error of the log-likelihood from (m,) estimates of log |M|."""
    return 0.5 * math.sqrt(float(scatter(log_dets[:, None])[0, 0]) / len(log_dets))


def last_step(
    space: ParamSpace,
    psi: Floats,
    inside: Mask,
    information: Floats,
    score: Floats,
    params: Params,
    follow: Floats | None = None,
) -> tuple[Floats, Params]:
    """Newton's step with the observed information, for parameters that are not at their boundary.

    Args:
      space: the parameter space.
      psi: (d,) where the ascent ended; boundary parameters hold a finite stand-in.
      inside: (d,) which are not at their boundary.
      information: (d, d) observed information.
      score: (d,).
      params: the parameters of psi, boundary ones exactly; covariances that are on a boundary stay.
      follow: (d, d) how psi moves with what the likelihood has; as that, by default.
    Returns:
      psi and the parameters after the step.
    """
    inverse, is_maximum = inverse_inside(information, inside)
    if not is_maximum:
        return psi, params  # what stands for a boundary may leave no maximum of the others
    step = inverse @ score
    psi = psi + (step if follow is None else follow @ step)
    moved = space.to_natural(psi)
    covariances = tuple(
        new if inside[place].all() else old
        for new, old, place in zip(
            moved.covariances, params.covariances, space.theta_slices, strict=True
        )
    )
    return psi, moved._replace(covariances=covariances)


def inverse_inside(information: Floats, inside: Mask) -> tuple[Floats, bool]:
    """The inverse (d, d) in the directions that have information, and whether in none the likelihood bends up.

    It is zero outside. A coefficient of rows that say nothing, as without trials, has none.
    """
    found, use = np.zeros_like(information), np.ix_(inside, inside)
    inner = information[use]
    diagonal = np.abs(np.diag(inner))
    scale = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(inner * np.outer(scale, scale))
    least = NOTHING * len(values)
    known = np.abs(values) > least
    moves = scale[:, None] * vectors[:, known]
    found[use] = (moves / values[known]) @ moves.T
    return found, bool((values > -least).all())
