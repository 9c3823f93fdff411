"""The Laplace fit of a model, and what Monte Carlo EM needs of it to start from."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.certificate import Certificate, Claim
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.design.outline import outline
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Options
from lmeformula.estimation.at_limits import as_whole
from lmeformula.estimation.claims import (
    LEAST_DIFFERENCE,
    ROUNDING,
    certify,
    predicted_perfectly,
    without_limit,
)
from lmeformula.estimation.common import (
    most_probes,
    probes_of,
    report_mc_error,
    stderr_of,
    without_errors,
)
from lmeformula.estimation.coordinates import Arrival
from lmeformula.estimation.covariance import reported_covariance
from lmeformula.estimation.evidence import probed
from lmeformula.estimation.evidence.laplace import approximated
from lmeformula.estimation.finish import Effects, Errors, finish, since
from lmeformula.estimation.separation import separated, without_end
from lmeformula.family.runaway import Met, met_exactly
from lmeformula.fit import FittedModel
from lmeformula.history import Ascent, LogLik
from lmeformula.likelihood.confounded import alike
from lmeformula.likelihood.laplace.ends import curvature_of
from lmeformula.likelihood.laplace.fit import WHOLE, Care, LaplaceFit, fit_laplace
from lmeformula.likelihood.laplace.iterative import IterativeLaplace, fit_iteratively
from lmeformula.likelihood.laplace.iterative_limits import climb_iteratively
from lmeformula.likelihood.laplace.limits import AtLimit, Climbed, climb, held_model
from lmeformula.likelihood.laplace.observed import (
    Observed,
    along_ways,
    nothing_observed,
    observed_information,
)
from lmeformula.likelihood.laplace.perfect_fit import Known, met_by_design
from lmeformula.model.bounds import off_bounds
from lmeformula.model.compile import Model
from lmeformula.model.orthogonal import at_rest

# The certificate of a fit that came nowhere.
NOWHERE = Claim(
    "density",
    False,
    math.nan,
    math.nan,
    (),
    "the density or its integral is not finite where the ascent was, and nothing was estimated",
)
# Error of the information by the iterative solver, relative to its diagonal.
PROBED_NOISE = 1e-7
# An ascent that does not arrive, and ends where an effect has a smaller share of its prior's curvature, is on
# its way to where the approximation grows without limit, and the likelihood does not.
SPIKE = 0.1


class Start(NamedTuple):
    """The Laplace fit with what both methods need of it.

    Attributes:
      found: the fit.
      psi: (d,) estimates, unconstrained; what is on a bound has a finite stand-in.
      inside: (d,) which have a finite estimate off their bounds.
      endless: (d,) which have none, as what they predict is predicted perfectly.
      observed: the information of these.
      mc_covariance: (d, d) Monte Carlo covariance of psi.
      loglik, loglik_error: the log-likelihood, and its Monte Carlo error.
      outcome: how the ascent ended.
      probed: what the iterative solver has besides.
      at_limits: the family's own parameters that ended at their limits; all the rest is of the model without
        them.
      met: what is left of responses that are known exactly.
      undetermined: (t,) parameters of covariances that the design does not tell apart; see `likelihood.alike`.
      is_one_of_many: see `Care`.
    """

    found: LaplaceFit
    psi: Floats
    inside: Mask
    endless: Mask
    observed: Observed
    mc_covariance: Floats
    loglik: float
    loglik_error: float
    outcome: Outcome
    probed: IterativeLaplace | None = None
    at_limits: tuple[AtLimit, ...] = ()
    met: Met | None = None
    undetermined: Mask | None = None
    is_one_of_many: bool = False


def whole(model: Model, start: Start, solver: str, seed: int, began: float) -> FittedModel:
    """The fit of a model with all parameters, those at their limits as well."""
    if not start.at_limits:
        return _fit_of(model, start, solver, seed, began)
    simpler = held_model(model, start.at_limits)
    return as_whole(model, _fit_of(simpler, start, solver, seed, began), start.at_limits)


def _fit_of(model: Model, start: Start, solver: str, seed: int, began: float) -> FittedModel:
    """The fit of the model without what is at its limit."""
    found = start.found
    at_bounds = np.where(start.inside, start.psi, model.space.to_free(found.params))
    model = at_rest(model, start.psi, at_bounds)
    space = model.space
    mode = found.approximation.mode
    vcov = reported_covariance(space, start.psi, start.observed)
    vcov = without_errors(vcov, space.num_fixed, start.undetermined)
    at = Arrival(
        model,
        start.psi,
        start.inside,
        start.observed.matrix,
        model.triangle,
        found.approximation.value,
        stderr_of(vcov),
        start.undetermined,
        start.mc_covariance,
    )
    last, certificate = start.probed, None
    if start.met is not None:
        certificate = without_limit(start.met)
    elif last is None:
        certificate = certify(
            at,
            lambda at: approximated(
                at, found, start.observed.noise, is_compared=not start.is_one_of_many
            ),
        )
    elif not last.interrupted:
        at = at._replace(inside=last.inside, information=last.information, value=last.loglik)
        certificate = certify(at, lambda at: probed.approximated(at, last, seed))
    if certificate is not None and model.priors:
        certificate = certificate.saying("log-likelihood", "log posterior density")
    if certificate is not None and start.endless.any():
        names = tuple(np.array(space.names, object)[start.endless])
        certificate = Certificate((*certificate.claims, predicted_perfectly(names)))
    return finish(
        model,
        found.problem.marginal.method,
        params=found.params,
        errors=Errors(found.problem.marginal.method, vcov),
        mc_error=report_mc_error(model, start.psi, start.mc_covariance),
        effects=Effects(*found.problem.marginal.effects(found.problem, mode)),
        loglik=LogLik(
            start.loglik,
            start.loglik_error,
            space.size,
            model.design.num_observations,
            None if last is None else probes_of(last, seed),
        ),
        outcome=start.outcome,
        certificate=certificate,
        singular=found.singular,
        seconds=since(began),
        ascent=Ascent(found.num_evaluations, found.gain),
        solver=solver,
    )


def failed_fit(model: Model, method: str, solver: str, began: float) -> FittedModel:
    """What is left of a fit whose density is finite nowhere it could start: rough parameters, and no errors."""
    space = model.space
    terms = model.design.terms
    return finish(
        model,
        method,
        params=model.start,
        errors=Errors("laplace", np.full((space.size, space.size), np.nan)),
        effects=Effects(
            tuple(np.zeros((len(term.levels), len(term.columns))) for term in terms),
            tuple(
                np.broadcast_to(covariance, (len(term.levels), *covariance.shape)).copy()
                for term, covariance in zip(terms, model.start.covariances, strict=True)
            ),
        ),
        loglik=LogLik(math.nan, 0.0, space.size, model.design.num_observations),
        outcome=Outcome.NONFINITE,
        certificate=Certificate((NOWHERE,)),
        singular=False,
        seconds=since(began),
        ascent=Ascent(0, math.inf),
        solver=solver,
    )


def start_of(model: Model, solver: str, seed: int, options: Options, care: Care = WHOLE) -> Start:
    """Fit by the Laplace approximation.

    Args:
      model: the model.
      solver: "direct" or "iterative".
      seed: of the iterative solver's probes.
      options: its tolerance and most probes.
      care: how much the ascent takes.
    """
    known = None if _is_held_by_prior(model) else met_by_design(model)
    last, undetermined, is_nowhere = None, None, False
    if solver == "iterative":
        model, last, at_limits = _by_probes(model, seed, options, known, is_start=care.is_start)
        found = last.found._replace(num_evaluations=last.num_evaluations)
        psi, inside = last.psi, last.inside.copy()
    else:
        climbed = climb(model, care) if known is None else _climb_held(model, known, care)
        model, found, at_limits = climbed
        if found.singular and found.converged and not at_limits:
            found, undetermined = _representing(model, found, care)
        psi, inside = off_bounds(model.space, model.space.to_free(found.params))
    to_limit = without_end(model, found)
    if model.penalty is not None:
        to_limit &= ~model.penalty.covered()
    endless = separated(model, found) & inside & ~to_limit
    inside &= ~(endless | to_limit)
    met = None if _is_held_by_prior(model) else _met(model, found)
    met = met if known is None else known.met
    if met is not None:
        # Nothing is left to estimate errors from, of what is met exactly.
        inside[slice(None) if met.is_met else model.space.own_slice] = False
    if last is not None:
        observed = along_ways(last.information, inside, model.triangle, PROBED_NOISE)
    else:
        observed = _observed(model, found, psi, inside, is_metric=care.is_start)
        is_spike = (
            not (found.converged or care.marginal.is_exact)
            and curvature_of(found.approximation.mode) < SPIKE
        )
        # No curvature to be had where the ascent ended, or next to there.
        is_nowhere = is_spike or not np.isfinite(observed.noise)
    value = found.approximation.value
    if model.penalty is not None:
        value -= model.penalty.of(found.params)
    start = Start(
        found=found,
        psi=psi,
        inside=inside,
        endless=endless,
        observed=observed,
        mc_covariance=np.zeros_like(observed.matrix) if last is None else last.mc_covariance,
        # Where the approximation has no curvature its value is none of the likelihood's.
        loglik=math.nan if is_nowhere else value if last is None else last.loglik,
        loglik_error=0.0 if last is None else last.loglik_error,
        outcome=Outcome.CONVERGED,
        probed=last,
        at_limits=at_limits,
        met=met,
        undetermined=undetermined,
        is_one_of_many=care.is_one_of_many,
    )
    is_simpler = bool(at_limits) or bool(to_limit.any())
    return start._replace(outcome=_outcome(start, is_nowhere, is_simpler))


def _outcome(start: Start, is_nowhere: bool, is_simpler: bool) -> Outcome:
    """How the ascent ended.

    Args:
      start: where.
      is_nowhere: whether the density has no curvature there.
      is_simpler: whether the family's own parameters ended at limits.
    """
    last, met = start.probed, start.met
    if last is not None and last.interrupted:
        return Outcome.INTERRUPTED
    if start.endless.any():
        return Outcome.SEPARATION
    if is_nowhere:
        return Outcome.NONFINITE
    if met is not None:
        return Outcome.PERFECT_FIT if met.is_met else Outcome.DIVERGED
    if not start.found.converged:
        return Outcome.OPTIMIZER_STALLED
    if last is not None and not last.is_sharp:
        return Outcome.DRAWS_EXHAUSTED
    return Outcome.BOUNDARY if is_simpler else Outcome.CONVERGED


def _observed(
    model: Model, found: LaplaceFit, psi: Floats, inside: Mask, *, is_metric: bool
) -> Observed:
    # What has no finite estimate may have no curvature at all; it takes no part in what follows.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        try:
            begin = found.approximation.mode.u
            return observed_information(
                model, found.problem, psi, inside, begin, is_metric=is_metric
            )
        except np.linalg.LinAlgError:
            return nothing_observed(inside)


def _climb_held(model: Model, known: Known, care: Care) -> Climbed:
    simpler = held_model(model, known.held)
    return Climbed(
        simpler, fit_laplace(simpler, care=WHOLE._replace(marginal=care.marginal)), known.held
    )


def _representing(model: Model, found: LaplaceFit, care: Care) -> tuple[LaplaceFit, Mask | None]:
    """The maximum at covariances that stand for all with its likelihood, and which parameters (t,) differ."""
    others = alike(found.problem.plan, model.space, found.params.covariances)
    if others is None:
        return found, None
    before = found.coordinates[: len(found.coordinates) - found.charts.size]
    elements = found.charts.near(tuple(map(cholesky_semidefinite, others.covariances)))
    start = np.concatenate([before, elements])
    moved = fit_laplace(model, start=start, care=care, alone=True)
    value = found.approximation.value
    is_as_high = moved.approximation.value >= value - LEAST_DIFFERENCE - ROUNDING * abs(value)
    return moved if is_as_high else found, others.undetermined


def _is_held_by_prior(model: Model) -> bool:
    """Whether own parameters have priors, which keep them from running to where a fit is perfect."""
    return bool(model.priors.of("own"))


def _met(model: Model, found: LaplaceFit) -> Met | None:
    own, response = model.space.own, model.family.response(outline(model.design))
    runaways = tuple(one for one in model.family.base.runaways if one.name in own.names)
    return met_exactly(runaways, own.natural_names, response, found.params.own)


def _by_probes(
    model: Model, seed: int, options: Options, known: Known | None, *, is_start: bool
) -> tuple[Model, IterativeLaplace, tuple[AtLimit, ...]]:
    """The model without what is at its limit, its maximum by probes, and what is at its limit."""

    def fit(model: Model) -> IterativeLaplace:
        most = most_probes(options)
        return fit_iteratively(
            model,
            seed=seed,
            tolerance=options.tolerance,
            max_probes=most,
            is_start=is_start,
        )

    if known is None:
        return climb_iteratively(model, fit)
    model = held_model(model, known.held)
    return model, fit(model), known.held
