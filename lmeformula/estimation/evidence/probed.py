"""Of likelihoods that are drawn by probes.

Probes are drawn anew, with another seed than the fit's, so that neither their luck nor their scatter is shared.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lmeformula.algebra.probed import ProbedFactor
from lmeformula.algebra.probes import signs_of
from lmeformula.arrays import Floats
from lmeformula.design.shards import mean_squares
from lmeformula.estimation.claims import LEAST_DIFFERENCE, RARE, Bound, Evidence
from lmeformula.estimation.coordinates import Arrival
from lmeformula.likelihood.gaussian.iterative import IterativeFit
from lmeformula.likelihood.gaussian.likelihood import log_likelihood_of, score
from lmeformula.likelihood.gaussian.sums import Sums
from lmeformula.likelihood.laplace.iterative import IterativeLaplace, fresh_probes, scores_by_probe
from lmeformula.likelihood.laplace.likelihood import approximate
from lmeformula.likelihood.laplace.modes import place
from lmeformula.likelihood.probing import loglik_error
from lmeformula.likelihood.sureness import scatter

# Fresh probes: their scatter is the error of what they say.
FRESH = 16
# Added to a fit's seed for them.
ANOTHER_SEED = 104_729
# Error of an information by differences with probes, relative to its diagonal.
PROBED_NOISE = 1e-4
# What stands for a standard deviation of zero where a slope is wanted, in units that the data would notice.
STAND_IN = 1e-2


def exact(at: Arrival, data: Sums, last: IterativeFit, seed: int, reml: bool) -> Evidence:
    """Of a Gaussian model.

    Args:
      at: where the fit ended.
      data: cross products of the design.
      last: the optimum.
      seed: of the fit.
      reml: of the restricted likelihood.
    """
    space = at.model.space
    draws = signs_of(data.plan, at.model.design.terms)
    data = data._replace(signs=draws.draw(FRESH, seed + ANOTHER_SEED))
    scores, there = score(data, space, at.psi, reml)
    units = tuple(space.residual_sd(at.psi) / scale for scale in data.column_scales())
    assert isinstance(there.factor, ProbedFactor)
    second = log_likelihood_of(data, there, space.residual_sd(at.psi) ** 2, reml)
    error = math.hypot(last.loglik_error, loglik_error(there.factor.probed.log_det_each))
    bounds = _bounds(at, units, lambda psi: score(data, space, psi, reml)[0])
    return _of_probes(at, scores, bounds, second, error)


def approximated(at: Arrival, last: IterativeLaplace, seed: int) -> Evidence:
    """Of a Laplace approximation; see `exact`."""
    problem, space, before = last.found.problem, at.model.space, last.found.approximation
    probing = fresh_probes(at.model, last.factor, FRESH, seed + ANOTHER_SEED)
    fresh = problem._replace(factorize=probing)
    there = approximate(fresh, place(space, at.psi), before.mode.u)
    design = at.model.design
    units = tuple(1.0 / np.sqrt(mean_squares(design, j)) for j in range(len(design.terms)))
    errors = []
    for factor in (before.mode.factor, there.mode.factor):
        assert isinstance(factor, ProbedFactor)
        errors.append(loglik_error(factor.probed.log_det_each))

    def scores_at(psi: Floats) -> Floats:
        found = approximate(fresh, place(space, psi), before.mode.u)
        return scores_by_probe(space, fresh, psi, found)

    scores = scores_by_probe(space, fresh, at.psi, there)
    second = at.value + there.value - before.value
    return _of_probes(at, scores, _bounds(at, units, scores_at), second, math.hypot(*errors))


def _of_probes(
    at: Arrival, scores: Floats, bounds: tuple[Bound, ...], second: float, error: float
) -> Evidence:
    """From scores (m, d) by each probe, and the log-likelihood with its error."""
    return Evidence.of(
        at,
        gradient=scores.mean(axis=0),
        noise=PROBED_NOISE,
        scatter=scatter(scores) / len(scores) + at.scatter,
        bounds=bounds,
        second=second,
        allowed=LEAST_DIFFERENCE + RARE * error,
        way="fresh probes",
    )


def _bounds(
    at: Arrival, units: tuple[Floats, ...], scores_at: Callable[[Floats], Floats]
) -> tuple[Bound, ...]:
    """Standard deviations at zero, by the slope close by, which has the sign of that at zero.

    Args:
      at: where the fit ended.
      units: (k,) of each term, in which sds of zero are moved to a hundredth.
      scores_at: psi (d,) -> (m, d) scores by probe.
    """
    space, moved = at.model.space, at.psi.copy()
    places = []
    for term, where, unit in zip(space.terms, space.theta_slices, units, strict=True):
        count = term.structure.num_sds(len(term.columns))
        own = np.broadcast_to(unit if count == len(unit) else unit.mean(), (count,))
        for i, one in enumerate(own, where.start):
            if not at.inside[i]:
                moved[i] = math.log(STAND_IN * one)
                places.append(i)
    if (moved == at.psi).all():
        return ()
    bounds, scores = [], scores_at(moved)
    for i in places:
        each = scores[:, i]
        allowed = RARE * float(each.std(ddof=1)) / math.sqrt(len(each)) + LEAST_DIFFERENCE
        bounds.append(Bound((space.names[i],), float(each.mean()), allowed))
    return tuple(bounds)
