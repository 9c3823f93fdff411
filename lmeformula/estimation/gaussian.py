"""Gaussian models with a residual, exactly, by either solver."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.precision import Exact, Precision
from lmeformula.algebra.probes import signs_of
from lmeformula.algebra.small import MOST_EFFECTS
from lmeformula.arrays import Floats, Mask
from lmeformula.certificate import Certificate
from lmeformula.design.absent import has_rows
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Options
from lmeformula.estimation.claims import (
    LEAST_DIFFERENCE,
    ROUNDING,
    Bound,
    Evidence,
    Witness,
    certify,
    ending,
    nothing_to_examine,
    without_limit,
)
from lmeformula.estimation.common import (
    most_probes,
    probes_of,
    report_mc_error,
    report_vcov,
    stderr_of,
)
from lmeformula.estimation.coordinates import Arrival, coordinates
from lmeformula.estimation.evidence import exact
from lmeformula.estimation.finish import Effects, Errors, finish, since
from lmeformula.family.runaway import Met
from lmeformula.fit import FittedModel
from lmeformula.history import Ascent, LogLik, Probes
from lmeformula.likelihood.confounded import alike
from lmeformula.likelihood.gaussian.exact import ExactFit, densely, fit_exact
from lmeformula.likelihood.gaussian.from_residuals import EXACTLY, JUDGED, is_close
from lmeformula.likelihood.gaussian.information import observed_information
from lmeformula.likelihood.gaussian.likelihood import (
    Solved,
    relative_factors,
    solve_exactly_quickly,
)
from lmeformula.likelihood.gaussian.no_residual import runs_away, without_residual
from lmeformula.likelihood.gaussian.orthogonal import Orthogonal
from lmeformula.likelihood.gaussian.posterior import conditional, fixed_covariance
from lmeformula.likelihood.gaussian.restricted import restricted, restricted_information
from lmeformula.likelihood.gaussian.shared_sums import shared_sums
from lmeformula.likelihood.gaussian.sums import Sums, sums
from lmeformula.likelihood.reached import Reached
from lmeformula.likelihood.ways import covariance_ways
from lmeformula.model.bounds import BOUNDARY_SD, off_bounds
from lmeformula.model.compile import Model
from lmeformula.model.params import Params, ParamSpace

# Between a rise and a fall in sigma squared, as shares, lies what other parameters' ascent leaves.
AS_GOOD = 1e-4
# Of a sigma of zero the information is taken at so many times what stands for it: derivatives keep the square
# of that in digits, and the share of the covariance is small still.
CLEARER = 10.0


class Ended(NamedTuple):
    """Where an ascent ended: the optimum, what is known of it, and how the fit ended."""

    found: ExactFit[Precision]
    errors: Errors
    certificate: Certificate | None
    outcome: Outcome
    effects: Effects
    loglik: float
    loglik_error: float = 0.0
    mc_error: Floats | None = None
    probes: Probes | None = None


def estimate_with_residual(
    model: Model,
    reml: bool,
    solver: str = "direct",
    seed: int = 0,
    options: Options | None = None,
    *,
    data: Sums | None = None,
    start: Params | None = None,
) -> FittedModel:
    """Maximise the likelihood, or the restricted one, of a Gaussian model.

    By the iterative solver it is exact up to a reported Monte Carlo error, that of the conditional variances of
    the effects as well, which are estimates with the same probes.

    Args:
      model: what to fit.
      reml: maximise the restricted likelihood.
      solver: "direct" or "iterative".
      seed: of the iterative solver's probes.
      options: its tolerance and most probes.
      data: cross products for the direct solver, if they are at hand.
      start: parameters for it to start from, with covariances of full rank; moment estimates by default.
    """
    began = time.perf_counter()
    if solver == "iterative":
        reached = Reached(model.space)
        with reached.told():
            ended = _by_probes(
                model, reml, seed, Options() if options is None else options, reached
            )
    else:
        data = sums(model.design) if data is None else data
        ended = factored(data, model, reml, start)
        if ended.found.solution.missed is not None or ended.outcome is Outcome.OPTIMIZER_STALLED:
            closer = densely(data)
            ended = ended if closer is None else factored(closer, model, reml, start)
    found = ended.found
    return finish(
        model,
        "exact",
        reml=reml,
        params=found.params,
        errors=ended.errors,
        mc_error=ended.mc_error,
        effects=ended.effects,
        loglik=LogLik(
            ended.loglik,
            ended.loglik_error,
            model.space.size,
            model.design.num_observations,
            ended.probes,
        ),
        outcome=ended.outcome,
        certificate=ended.certificate,
        singular=found.singular,
        seconds=since(began),
        ascent=Ascent(found.num_evaluations, found.gain),
        solver=solver,
    )


def factored(data: Sums, model: Model, reml: bool, start: Params | None) -> Ended:
    """By the direct solver, from cross products of the design; see `estimate_with_residual`."""
    space = model.space
    found, bound = _settled(data, space, fit_exact(data, space, reml=reml, start=start), reml)
    undetermined = None
    if found.singular and bound is None and not found.perfect:
        found, undetermined = _representing(data, space, found, reml)
    sigma, psi = found.params.residual_sd, space.to_free(found.params)

    def arrive() -> Arrival:
        # Parameters on the boundary have no information; a stand-in keeps the others' finite.
        stand_in, inside = off_bounds(space, psi, BOUNDARY_SD * sigma, data.column_scales())
        place, solved = stand_in, None if found.singular else found.solution
        if bound is not None:
            inside[space.own_slice] = False
            place, solved = stand_in.copy(), None
            place[space.own_slice.start] += np.log(CLEARER)
        ways = covariance_ways(model, place, inside)
        information = _information(found.inner, space, place, inside, solved, reml, ways)
        # Fixed effects in units of what is known of them: effects may leave some combinations without error.
        R = np.linalg.cholesky(found.solution.information).T @ data.R
        return Arrival(
            model,
            stand_in,
            inside,
            information,
            R,
            found.loglik,
            undetermined=undetermined,
            ways=ways,
            frame=ways if place is stand_in else None,
        )

    def witness(at: Arrival) -> Evidence:
        return exact.at_summit(at, data, found, reml, bound)

    outcome = Outcome.CONVERGED if bound is None else Outcome.BOUNDARY
    outcome = outcome if found.converged else Outcome.OPTIMIZER_STALLED
    return Ended(
        found,
        *_examined(data, model, found, arrive, witness, outcome),
        Effects(*found.inner.effects(*conditional(found.solution, sigma))),
        found.loglik,
    )


def _by_probes(model: Model, reml: bool, seed: int, options: Options, reached: Reached) -> Ended:
    """By the iterative solver."""
    from lmeformula.estimation.evidence import probed
    from lmeformula.likelihood.gaussian.iterative import fit_iterative

    data, space = shared_sums(model.design), model.space
    last = fit_iterative(
        data,
        space,
        signs_of(data.plan, model.design.terms),
        reml=reml,
        seed=seed,
        tolerance=options.tolerance,
        max_probes=most_probes(options),
        ways=lambda psi, inside: coordinates(model, psi, inside, data.R),
        start=_highest(model, reml),
        reached=reached,
    )
    found = last.found._replace(num_evaluations=last.num_evaluations)
    nothing = tuple(np.full((levels, k, k), np.nan) for levels, k in data.plan.sizes)
    effects = Effects(last.factor.effects(found.solution.u, found.solution.w), nothing)
    if not last.lost:
        # By all probes, those that the log-likelihood was sharpened with as well.
        sharp = found.solution._replace(factor=last.factor)
        effects = Effects(*conditional(sharp, found.params.residual_sd))

    def arrive() -> Arrival:
        if last.lost:
            raise np.linalg.LinAlgError("no derivatives where the ascent ended")
        return Arrival(
            model,
            last.psi,
            last.inside,
            last.information,
            data.R,
            last.loglik,
            mc_covariance=last.mc_covariance,
        )

    def witness(at: Arrival) -> Evidence:
        return probed.exact(at, data, last, seed, reml)

    outcome = Outcome.CONVERGED if last.is_sharp else Outcome.DRAWS_EXHAUSTED
    outcome = outcome if found.converged else Outcome.OPTIMIZER_STALLED
    if last.interrupted:
        outcome = Outcome.INTERRUPTED
    return Ended(
        found,
        *_examined(
            data,
            model,
            found,
            arrive,
            None if last.interrupted else witness,
            outcome,
            last.stderr_share,
        ),
        effects,
        last.loglik,
        last.loglik_error,
        report_mc_error(model, last.psi, last.mc_covariance),
        probes_of(last, seed),
    )


def _highest(model: Model, reml: bool) -> Params | None:
    """Parameters at the highest of several maxima, which a likelihood of few effects may have."""
    effects = sum(len(term.levels) * len(term.columns) for term in model.design.terms)
    if effects > MOST_EFFECTS or not has_rows(model.design):
        return None
    found = fit_exact(sums(model.design), model.space, reml=reml)
    return None if found.perfect or not found.converged else found.params


class _Examined(NamedTuple):
    """What is known of an optimum; see `Ended`."""

    errors: Errors
    certificate: Certificate | None
    outcome: Outcome


def _examined(
    data: Sums,
    model: Model,
    found: ExactFit[Precision],
    arrive: Callable[[], Arrival],
    witness: Witness | None,
    outcome: Outcome,
    stderr_share: Floats | None = None,
) -> _Examined:
    """Work out standard errors, and prove the fit; none of a perfect fit, whose errors would be rounding.

    Standard errors by probes have Monte Carlo errors (d,), given relative to them.
    """
    sigma, d, p = found.params.residual_sd, model.space.size, model.space.num_fixed
    nothing = Errors("exact", np.full((d, d), np.nan), fixed_vcov=np.full((p, p), np.nan))
    if found.perfect:
        left = sigma * math.sqrt(data.n) / data.rows.size if data.rows.size > 0.0 else 0.0
        met = Met("sigma", left, EXACTLY, "the model meets the responses exactly", True)
        return _Examined(nothing, without_limit(met, "zero"), Outcome.PERFECT_FIT)
    try:
        at = arrive()
        fixed_vcov = fixed_covariance(data, found.solution, sigma)
        vcov = report_vcov(at, fixed_vcov)
        certificate = None
        if witness is not None:
            certificate = certify(at._replace(stderr=stderr_of(vcov)), witness)
            outcome = ending(outcome, certificate)
    except np.linalg.LinAlgError:
        # Sigma is too small a share of the effects for derivatives in numbers of this precision.
        return _Examined(nothing, nothing_to_examine(), Outcome.OPTIMIZER_STALLED)
    unsure = None if stderr_share is None else stderr_share * stderr_of(vcov)
    errors = Errors("exact", vcov, stderr_error=unsure, fixed_vcov=fixed_vcov)
    return _Examined(errors, certificate, outcome)


def _settled(
    data: Sums, space: ParamSpace, found: ExactFit[Exact], reml: bool
) -> tuple[ExactFit[Exact], Bound | None]:
    """Rest sigma on its bound, zero, where the likelihood is as high there, as covariances are on theirs."""
    if space.held_sd is not None or found.perfect:
        return found, None
    if runs_away(data, found.params.covariances, found.params.residual_sd, reml):
        return found._replace(perfect=True), None
    there = without_residual(data, found.params.covariances, reml)
    # Two ways to a likelihood differ by rounding; which of the two is higher, the sign of the derivative tells.
    rounding = LEAST_DIFFERENCE + ROUNDING * (abs(found.loglik) + data.n)
    if there is None or there.value < found.loglik - rounding:
        return found, None
    held = replace(space, own=space.own.held_at({0: there.stand_in}))
    resting = fit_exact(data, held, reml=reml, start=found.params, thorough=False)
    there = without_residual(data, resting.params.covariances, reml)
    if there is None or there.rise > AS_GOOD or not resting.converged:
        return found, None
    return resting, Bound(("sigma",), there.rise, AS_GOOD, AS_GOOD)


def _representing(
    data: Sums, space: ParamSpace, found: ExactFit[Exact], reml: bool
) -> tuple[ExactFit[Exact], Mask | None]:
    """The maximum at covariances that stand for all with its likelihood, and which parameters (t,) differ."""
    X = data.rows_here.Q if reml else None
    others = alike(data.plan, space, found.params.covariances, X)
    if others is None:
        return found, None
    start = found.params._replace(covariances=others.covariances)
    moved = fit_exact(data, space, reml=reml, start=start, thorough=False, alone=True)
    rounding = LEAST_DIFFERENCE + ROUNDING * (abs(found.loglik) + data.n)
    is_as_high = moved.loglik >= found.loglik - rounding
    return moved if is_as_high else found, others.undetermined


def _information(
    inner: Orthogonal,
    space: ParamSpace,
    psi: Floats,
    inside: Mask,
    solved: Solved | None,
    reml: bool,
    ways: Floats,
) -> Floats:
    contrasts = restricted(inner.data) if reml else None
    if contrasts is None:
        # Blocks lose what a matrix of few effects keeps: beside large variances the square of their share.
        if solved is None or is_close(solved.rss, inner.data.yy, solved.information, JUDGED):
            lambdas = inner.factors(relative_factors(space, psi))
            solved = solve_exactly_quickly(inner.data, lambdas, JUDGED)
        return observed_information(
            inner.data, space, psi, inside, solved, reml, inner.factors, ways
        )
    return restricted_information(inner.data, contrasts, space, psi, inside, inner.factors, ways)
