"""Gaussian models by Monte Carlo EM."""

from __future__ import annotations

import time

from lmeformula.arrays import Floats, Mask
from lmeformula.em.progress import Progress
from lmeformula.em.types import Options, Solution
from lmeformula.estimation.chains import Chains
from lmeformula.estimation.claims import Evidence
from lmeformula.estimation.common import report_vcov
from lmeformula.estimation.coordinates import Arrival
from lmeformula.estimation.evidence import exact
from lmeformula.estimation.finish import Effects, Errors
from lmeformula.estimation.monte_carlo import Before, Drawn, End, Facts, run_mcem
from lmeformula.fit import FittedModel
from lmeformula.history import LogLik
from lmeformula.likelihood.gaussian.information import observed_information
from lmeformula.likelihood.gaussian.likelihood import log_likelihood
from lmeformula.likelihood.gaussian.posterior import conditional, fixed_covariance
from lmeformula.likelihood.gaussian.sums import sums
from lmeformula.model.compile import Model
from lmeformula.sampling.gaussian import gaussian_problem


def estimate_mcem(
    model: Model,
    seed: int,
    options: Options,
    progress: Progress | None,
    chains: Chains | None = None,
) -> FittedModel:
    """Fit a Gaussian model by Monte Carlo EM; its likelihood at the estimates is exact."""
    began = time.perf_counter()
    options = options if chains is None else chains.options(options)
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
            vcov = report_vcov(Arrival(model, psi, inside, information, data.R), fixed_vcov)
            return Errors("exact", vcov, fixed_vcov=fixed_vcov, information=information)

        def witness(at: Arrival, facts: Facts) -> Evidence:
            return exact.where_drawn(at, data)

        # Given the estimates the likelihood of a Gaussian model is exact.
        loglik = LogLik(value, 0.0, space.size, data.n)
        effects = Effects(*conditional(found, sigma))
        return End(effects, lambda solution, options: loglik, errors, data.R, witness)

    problem = gaussian_problem(model)
    problem = problem if chains is None else chains.walking(model, problem)
    drawn = Drawn(data.plan, problem, roots, end)
    return run_mcem(drawn, model, seed, options, progress, Before(began))
