"""Gaussian models: exactly, or by Monte Carlo EM."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.certificate import Certificate
from lmeformula.em.outcome import Outcome
from lmeformula.em.progress import Progress
from lmeformula.em.types import Options, Solution
from lmeformula.estimation.certify import (
    LEAST_DIFFERENCE,
    ROUNDING,
    certify_exact,
    certify_perfect,
    nothing_to_examine,
)
from lmeformula.estimation.certify_sampled import certify_sampled_gaussian
from lmeformula.estimation.claims import Bound, ending
from lmeformula.estimation.common import (
    BOUNDARY_SD,
    report_vcov,
    stderr_of,
    without_errors,
)
from lmeformula.estimation.finish import Effects, Errors, finish, since
from lmeformula.estimation.monte_carlo import Before, Drawn, End, Facts, run_mcem
from lmeformula.fit import FittedModel
from lmeformula.history import Ascent, LogLik
from lmeformula.likelihood.confounded import alike
from lmeformula.likelihood.gaussian.exact import ExactFit, densely, fit_exact
from lmeformula.likelihood.gaussian.information import observed_information
from lmeformula.likelihood.gaussian.likelihood import Solved, log_likelihood
from lmeformula.likelihood.gaussian.no_residual import runs_away, without_residual
from lmeformula.likelihood.gaussian.orthogonal import Orthogonal
from lmeformula.likelihood.gaussian.posterior import conditional, fixed_covariance
from lmeformula.likelihood.gaussian.restricted import restricted, restricted_information
from lmeformula.likelihood.gaussian.sums import Sums, sums
from lmeformula.model.bounds import off_bounds
from lmeformula.model.compile import Model
from lmeformula.model.params import Params, ParamSpace

# Between a rise and a fall in sigma squared, as shares, lies what other parameters' ascent leaves.
AS_GOOD = 1e-4
# Of a sigma of zero the information is taken at so many times what stands for it: derivatives keep the square
# of that in digits, and the share of the covariance is small still.
CLEARER = 10.0


def estimate_exact(
    model: Model, reml: bool, *, data: Sums | None = None, start: Params | None = None
) -> FittedModel:
    """Maximise the likelihood, or the restricted one, of a Gaussian model.

    Args:
      model: what to fit.
      reml: maximise the restricted likelihood.
      data: its cross products, if they are at hand.
      start: parameters to start from, with covariances of full rank; moment estimates by default.
    """
    began = time.perf_counter()
    data, space = sums(model.design) if data is None else data, model.space
    found, examined = _examined(data, model, reml, start)
    if found.solution.missed is not None or examined.outcome is Outcome.OPTIMIZER_STALLED:
        closer = densely(data)
        if closer is not None:
            found, examined = _examined(closer, model, reml, start)
    sigma = found.params.residual_sd
    effects = Effects(*found.inner.effects(*conditional(found.solution, sigma)))
    return finish(
        model,
        "exact",
        reml=reml,
        params=found.params,
        errors=examined.errors,
        effects=effects,
        loglik=LogLik(found.loglik, 0.0, space.size, model.design.n),
        outcome=examined.outcome,
        certificate=examined.certificate,
        singular=found.singular,
        seconds=since(began),
        ascent=Ascent(found.num_evaluations, found.gain),
    )


class _Examined(NamedTuple):
    """What is known of the estimates: their errors, what was proven, and how the fit ended."""

    errors: Errors
    certificate: Certificate
    outcome: Outcome


def _examined(
    data: Sums, model: Model, reml: bool, start: Params | None
) -> tuple[ExactFit, _Examined]:
    space = model.space
    found, bound = _settled(data, space, fit_exact(data, space, reml=reml, start=start), reml)
    undetermined = None
    if found.singular and bound is None and not found.perfect:
        found, undetermined = _representing(data, space, found, reml)
    return found, _errors(
        data, model, found, bound, space.to_free(found.params), reml, undetermined
    )


def _settled(
    data: Sums, space: ParamSpace, found: ExactFit, reml: bool
) -> tuple[ExactFit, Bound | None]:
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
    held = replace(space, own=space.own.held_at(there.stand_in))
    resting = fit_exact(data, held, reml=reml, start=found.params, thorough=False)
    there = without_residual(data, resting.params.covariances, reml)
    if there is None or there.rise > AS_GOOD or not resting.converged:
        return found, None
    return resting, Bound(("sigma",), there.rise, AS_GOOD, AS_GOOD)


def _representing(
    data: Sums, space: ParamSpace, found: ExactFit, reml: bool
) -> tuple[ExactFit, Mask | None]:
    """The maximum at covariances that stand for all with its likelihood, and which parameters (t,) differ."""
    X = data.rows.Q if reml else None
    others = alike(data.plan, space, found.params.covariances, X)
    if others is None:
        return found, None
    start = found.params._replace(covariances=others.covariances)
    moved = fit_exact(data, space, reml=reml, start=start, thorough=False, alone=True)
    rounding = LEAST_DIFFERENCE + ROUNDING * (abs(found.loglik) + data.n)
    is_as_high = moved.loglik >= found.loglik - rounding
    return moved if is_as_high else found, others.undetermined


def _errors(
    data: Sums,
    model: Model,
    found: ExactFit,
    bound: Bound | None,
    psi: Floats,
    reml: bool,
    undetermined: Mask | None,
) -> _Examined:
    """Work out standard errors, and prove the fit; none of a perfect fit, whose errors would be rounding."""
    space, sigma = model.space, found.params.residual_sd
    d, p = space.size, space.num_fixed
    nothing = Errors("exact", np.full((d, d), np.nan), fixed_vcov=np.full((p, p), np.nan))
    if found.perfect:
        return _Examined(nothing, certify_perfect(data.rows, sigma), Outcome.PERFECT_FIT)
    # Parameters on the boundary have no information; a stand-in keeps the others' finite.
    stand_in, inside = off_bounds(space, psi, BOUNDARY_SD * sigma, data.column_scales())
    if bound is not None:
        inside[space.own_slice] = False
    solved = None if found.singular else found.solution
    place = stand_in
    if bound is not None:
        place, solved = stand_in.copy(), None
        place[space.own_slice.start] += np.log(CLEARER)
    try:
        information = _information(found.inner, space, place, inside, solved, reml)
        fixed_vcov = fixed_covariance(data, found.solution, sigma)
        # Fixed effects in units of what is known of them: effects may leave some combinations without error.
        R = np.linalg.cholesky(found.solution.information).T @ data.R
        vcov = report_vcov(model, stand_in, information, inside, fixed_vcov, R, apart=True)
        if undetermined is not None:
            vcov = without_errors(vcov, space.num_fixed, undetermined)
        certificate = certify_exact(
            data,
            model,
            found,
            stand_in,
            inside,
            information,
            stderr_of(vcov),
            reml,
            R,
            bound,
            undetermined,
        )
    except np.linalg.LinAlgError:
        # Sigma is too small a share of the effects for derivatives in numbers of this precision.
        return _Examined(nothing, nothing_to_examine(), Outcome.OPTIMIZER_STALLED)
    by_ascent = Outcome.CONVERGED if bound is None else Outcome.BOUNDARY
    by_ascent = by_ascent if found.converged else Outcome.OPTIMIZER_STALLED
    errors = Errors("exact", vcov, fixed_vcov=fixed_vcov)
    return _Examined(errors, certificate, ending(by_ascent, certificate))


def _information(
    inner: Orthogonal,
    space: ParamSpace,
    psi: Floats,
    inside: Mask,
    solved: Solved | None,
    reml: bool,
) -> Floats:
    contrasts = restricted(inner.data) if reml else None
    if contrasts is None:
        return observed_information(inner.data, space, psi, inside, solved, reml, inner.factors)
    return restricted_information(inner.data, contrasts, space, psi, inside, inner.factors)


def estimate_mcem(
    model: Model, seed: int, options: Options, progress: Progress | None
) -> FittedModel:
    """Fit a Gaussian model by Monte Carlo EM; its likelihood at the estimates is exact."""
    from lmeformula.sampling.gaussian import gaussian_problem

    began = time.perf_counter()
    data, space = sums(model.design), model.space

    def roots(psi: Floats) -> tuple[Floats, ...]:
        sigma = space.residual_sd(psi)
        return tuple(root / sigma for root in data.column_roots(space))

    def end(model: Model, psi: Floats) -> End:
        sigma = space.residual_sd(psi)
        value, _, found = log_likelihood(data, space, psi)
        # On the reporting scale, whose fixed effects may be those of other columns.
        fixed = model.space.report_jacobian(psi)[: space.num_fixed, : space.num_fixed]
        fixed_vcov = fixed @ fixed_covariance(data, found, sigma) @ fixed.T

        def errors(solution: Solution, inside: Mask) -> Errors:
            information = observed_information(data, space, psi, inside)
            vcov = report_vcov(model, psi, information, inside, fixed_vcov, data.R, apart=True)
            return Errors("exact", vcov, fixed_vcov=fixed_vcov, information=information)

        def certificate(facts: Facts) -> Certificate:
            assert facts.errors.information is not None
            return certify_sampled_gaussian(
                data,
                model,
                psi,
                facts.inside,
                facts.errors.information,
                facts.solution.mc_covariance,
                stderr_of(facts.told.vcov),
                facts.loglik.value,
                facts.undetermined,
            )

        # Given the estimates the likelihood of a Gaussian model is exact.
        loglik = LogLik(value, 0.0, space.size, data.n)
        effects = Effects(*conditional(found, sigma))
        return End(effects, lambda solution, options: loglik, errors, certificate)

    drawn = Drawn(data.plan, gaussian_problem(model), roots, end)
    return run_mcem(drawn, model, seed, options, progress, Before(began))
