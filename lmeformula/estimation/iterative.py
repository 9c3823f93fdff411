"""Gaussian models with more effects than a dense block can hold: exact up to a reported Monte Carlo error."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from lmeformula.algebra.small import MOST_EFFECTS
from lmeformula.certificate import Certificate
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Options
from lmeformula.estimation.certify import certify_perfect, nothing_to_examine
from lmeformula.estimation.certify_probed import certify_probed
from lmeformula.estimation.common import most_probes, report_mc_error, report_vcov, stderr_of
from lmeformula.estimation.coordinates import coordinates
from lmeformula.estimation.finish import Effects, Errors, finish, since
from lmeformula.fit import FittedModel
from lmeformula.history import Ascent, LogLik
from lmeformula.likelihood.gaussian.exact import fit_exact
from lmeformula.likelihood.gaussian.iterative import IterativeFit, fit_iterative
from lmeformula.likelihood.gaussian.posterior import conditional, fixed_covariance
from lmeformula.likelihood.gaussian.sums import sums
from lmeformula.model.compile import Model
from lmeformula.model.params import Params


def estimate_exact(model: Model, reml: bool, seed: int, options: Options) -> FittedModel:
    """Maximise the likelihood, or the restricted one, of a Gaussian model by the iterative solver.

    Standard errors are from the observed information. Conditional variances of the effects are estimates
    with the same probes.
    """
    began = time.perf_counter()
    data, space = sums(model.design, factored=False), model.space
    found = fit_iterative(
        data,
        space,
        reml=reml,
        seed=seed,
        tolerance=options.tolerance,
        max_probes=most_probes(options),
        ways=lambda psi, inside: coordinates(model, psi, inside, data.R),
        start=_highest(model, reml) if data.plan.num_effects <= MOST_EFFECTS else None,
    )
    sigma = found.params.residual_sd
    solution = found.solution
    if found.perfect or found.lost:
        modes = solution.factor.effects(solution.u, solution.w)
        mode_cov = tuple(np.full((levels, k, k), np.nan) for levels, k in data.plan.sizes)
    else:
        # By all probes, those that the log-likelihood was sharpened with as well.
        sharp = solution._replace(factor=replace(solution.factor, signs=found.signs))
        modes, mode_cov = conditional(sharp, sigma)
    fixed_vcov = fixed_covariance(data, solution, sigma)
    vcov = report_vcov(
        model, found.psi, found.information, found.inside, fixed_vcov, data.R, apart=True
    )
    certificate: Certificate | None = None
    if found.perfect:
        certificate = certify_perfect(data.rows, sigma)
        fixed_vcov, vcov = np.full_like(fixed_vcov, np.nan), np.full_like(vcov, np.nan)
    elif found.lost:
        certificate = nothing_to_examine()
    elif not found.interrupted:
        certificate = certify_probed(data, model, found, stderr_of(vcov), seed, reml)
    return finish(
        model,
        "exact",
        reml=reml,
        params=found.params,
        errors=Errors("exact", vcov, fixed_vcov=fixed_vcov),
        mc_error=report_mc_error(model, found.psi, found.mc_covariance),
        effects=Effects(modes, mode_cov),
        loglik=LogLik(found.loglik, found.loglik_error, space.size, model.design.n),
        outcome=_outcome(found),
        certificate=certificate,
        singular=found.singular,
        seconds=since(began),
        ascent=Ascent(found.num_evaluations, found.gain),
        solver="iterative",
    )


def _highest(model: Model, reml: bool) -> Params | None:
    """Parameters at the highest of several maxima, which a likelihood of few effects may have."""
    found = fit_exact(sums(model.design), model.space, reml=reml)
    return None if found.perfect or not found.converged else found.params


def _outcome(found: IterativeFit) -> Outcome:
    if found.interrupted:
        return Outcome.INTERRUPTED
    if found.perfect:
        return Outcome.PERFECT_FIT
    if found.lost or not found.converged:
        return Outcome.OPTIMIZER_STALLED
    return Outcome.CONVERGED if found.is_sharp else Outcome.DRAWS_EXHAUSTED
