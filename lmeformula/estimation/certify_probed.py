"""Evidence at the end of fits by the iterative solver, whose likelihood is drawn by probes.

Probes are drawn anew, with another seed than the fit's, so that neither their luck nor their scatter is shared.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lmeformula.algebra.probed import ProbedFactor
from lmeformula.algebra.probes import random_signs
from lmeformula.arrays import Floats, Mask
from lmeformula.certificate import Certificate
from lmeformula.estimation.certify import LEAST_DIFFERENCE
from lmeformula.estimation.claims import RARE, Bound, Evidence, certify
from lmeformula.likelihood.gaussian.iterative import IterativeFit
from lmeformula.likelihood.gaussian.likelihood import log_likelihood_of, score
from lmeformula.likelihood.gaussian.sums import Sums
from lmeformula.likelihood.laplace.iterative import IterativeLaplace, fresh_probes, scores_by_probe
from lmeformula.likelihood.laplace.likelihood import approximate
from lmeformula.likelihood.laplace.modes import place
from lmeformula.likelihood.probing import loglik_error
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace

# Fresh probes: their scatter is the error of what they say.
FRESH = 16
# Added to a fit's seed for them.
ANOTHER_SEED = 104_729
# Error of an information by differences with probes, relative to its diagonal.
PROBED_NOISE = 1e-4
# What stands for a standard deviation of zero where a slope is wanted, in units that the data would notice.
STAND_IN = 1e-2


def certify_probed(
    data: Sums,
    model: Model,
    found: IterativeFit,
    stderr: Floats,
    seed: int,
    reml: bool,
) -> Certificate:
    """Examine an exact fit by the iterative solver, with fresh probes.

    Args:
      data: cross products of the design.
      model: what was fitted.
      found: the optimum.
      stderr: (d,) the reported standard errors.
      seed: of the fit.
      reml: of the restricted likelihood.
    Returns:
      The certificate.
    """
    space = model.space
    data = data._replace(signs=random_signs(len(found.signs), FRESH, seed + ANOTHER_SEED))
    scores, there = score(data, space, found.psi, reml)
    units = tuple(space.residual_sd(found.psi) / scale for scale in data.column_scales())
    assert isinstance(there.factor, ProbedFactor)
    log_dets = there.factor.probed.log_det_each
    second = log_likelihood_of(data, there, space.residual_sd(found.psi) ** 2, reml)
    return _certify_probes(
        model,
        found.psi,
        found.inside,
        found.information,
        found.mc_covariance,
        stderr,
        data.R,
        scores,
        _bounds(space, found, units, lambda psi: score(data, space, psi, reml)[0]),
        found.loglik,
        second,
        math.hypot(found.loglik_error, loglik_error(log_dets)),
    )


def certify_probed_laplace(
    model: Model, last: IterativeLaplace, stderr: Floats, seed: int
) -> Certificate:
    """Examine a Laplace fit by the iterative solver, with fresh probes; see `certify_probed`."""
    problem, space = last.found.problem, model.space
    factorize = fresh_probes(model, FRESH, seed + ANOTHER_SEED)
    fresh = problem._replace(factorize=factorize)
    mode = last.found.approximation.mode
    before = mode.factor
    at = approximate(fresh, place(space, last.psi), mode.u)
    after = at.mode.factor
    assert isinstance(before, ProbedFactor)
    assert isinstance(after, ProbedFactor)
    scores = scores_by_probe(space, fresh, last.psi, at)
    units = tuple(1.0 / np.sqrt(np.mean(t.values**2, axis=0)) for t in model.design.terms)

    def scores_at(psi: Floats) -> Floats:
        return scores_by_probe(space, fresh, psi, approximate(fresh, place(space, psi), mode.u))

    return _certify_probes(
        model,
        last.psi,
        last.inside,
        last.information,
        last.mc_covariance,
        stderr,
        model.triangle,
        scores,
        _bounds(space, last, units, scores_at),
        last.loglik,
        last.loglik + at.value - last.found.approximation.value,
        math.hypot(*(loglik_error(factor.probed.log_det_each) for factor in (before, after))),
    )


def _certify_probes(
    model: Model,
    psi: Floats,
    inside: Mask,
    information: Floats,
    mc_covariance: Floats,
    stderr: Floats,
    R: Floats,
    scores: Floats,
    bounds: tuple[Bound, ...],
    value: float,
    second: float,
    error: float,
) -> Certificate:
    scatter = np.atleast_2d(np.cov(scores, rowvar=False)) / len(scores)
    scatter = scatter + information @ mc_covariance @ information
    return certify(
        Evidence.of(
            model,
            psi,
            inside,
            information,
            R,
            gradient=scores.mean(axis=0),
            noise=PROBED_NOISE,
            scatter=scatter,
            stderr=stderr,
            bounds=bounds,
            value=value,
            second=second,
            allowed=LEAST_DIFFERENCE + RARE * error,
            way="fresh probes",
        )
    )


def _bounds(
    space: ParamSpace,
    found: IterativeFit | IterativeLaplace,
    units: tuple[Floats, ...],
    scores_at: Callable[[Floats], Floats],
) -> tuple[Bound, ...]:
    """Standard deviations at zero, by the slope close by, which has the sign of that at zero.

    Args:
      space: the parameter space.
      found: what ended there.
      units: (k,) of each term, in which sds of zero are moved to a hundredth.
      scores_at: psi (d,) -> (m, d) scores by probe.
    """
    moved, places = found.psi.copy(), []
    for term, where, unit in zip(space.terms, space.theta_slices, units, strict=True):
        count = term.structure.num_sds(len(term.columns))
        own = np.broadcast_to(unit if count == len(unit) else unit.mean(), (count,))
        for i, one in enumerate(own, where.start):
            if not found.inside[i]:
                moved[i] = math.log(STAND_IN * one)
                places.append(i)
    if (moved == found.psi).all():
        return ()
    bounds, scores = [], scores_at(moved)
    for i in places:
        each = scores[:, i]
        allowed = RARE * float(each.std(ddof=1)) / math.sqrt(len(each)) + LEAST_DIFFERENCE
        bounds.append(Bound((space.names[i],), float(each.mean()), allowed))
    return tuple(bounds)
