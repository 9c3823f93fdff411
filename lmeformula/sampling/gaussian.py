"""A Gaussian model as a problem for the engine: its posterior is whitened exactly at every parameter vector."""

from __future__ import annotations

import numpy as np

from lmeformula.algebra.factor import Factor
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.meetings import Factored
from lmeformula.arrays import Floats
from lmeformula.covariance.chart import pull_of
from lmeformula.em.types import Geometry, Problem
from lmeformula.likelihood.gaussian.information import average_information, observed_information
from lmeformula.likelihood.gaussian.likelihood import log_likelihood, solve_exactly
from lmeformula.likelihood.gaussian.solution import Solution
from lmeformula.likelihood.gaussian.sums import Sums, sums
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace
from lmeformula.sampling.edges import edge_finder, noticeable
from lmeformula.sampling.problem import (
    complete_information,
    inverse_factor,
    relative_changes,
    rows_of,
    whitened_problem,
)
from lmeformula.sampling.rising import Curvatures, looker
from lmeformula.sampling.whitened import Rows, Whitening

# Distance from the maximum, in standard errors, where Newton's own metric is worth its cost.
NEAR = 0.3
# Digits that a sum over levels may lose.
ROUNDING = 1e-15


def gaussian_problem(model: Model) -> Problem:
    """The problem of a Gaussian model, with whitening, control variates and information from its structure.

    Args:
      model: a compiled gaussian model with at least one random-effects term.
    Returns:
      The problem, started from least squares.
    """
    space = model.space
    data = sums(model.design)
    plan = data.plan
    order = (plan.lead, *plan.rest)
    rows = rows_of(model, plan)
    prior = noticeable(model, rows.counts * rows.response[1])

    def units(psi: Floats) -> tuple[Floats, ...]:
        return tuple(space.residual_sd(psi) * unit for unit in prior)

    problem = whitened_problem(
        model,
        plan,
        space.to_free(model.start),
        lambda psi: _geometry(model, data, rows, order, psi),
    )
    look = looker(space, units, _curvatures(data, space))
    return problem._replace(edges=edge_finder(space, units), look=look)


def _geometry(
    model: Model, data: Sums, rows: Rows, order: tuple[int, ...], psi: Floats
) -> Geometry:
    space, plan = model.space, data.plan
    beta, sigma = psi[: space.num_fixed], space.residual_sd(psi)
    variance = sigma**2
    factors = space.factors(psi)
    found = solve_exactly(
        data, tuple(factor / sigma for factor in factors), data.R @ (beta - data.ols)
    )
    # Effects of independent levels alone are drawn.
    assert isinstance(found.factor, Factor)
    modes = found.u / sigma
    traces = found.factor.inverse_traces()
    changes = relative_changes(space, psi, factors)
    weights = rows.counts * rows.response[1] / variance
    # The rows' leverages times their weights add up to tr(M^-1 (M - I)).
    leverage = len(modes) - float(sum(np.trace(trace) for trace in traces))
    effects = apply_lambda(plan, factors, modes)
    white = Whitening(
        eta=model.design.offset + model.design.X @ beta + plan.spread(effects),
        modes=modes,
        weights=weights,
        factors=tuple(factors[j] for j in order),
        lead_inverse=found.factor.lead_inverse,
        rest_inverse=inverse_factor(found.factor),
        pull=_pull(data, space, factors, modes, variance),
        traces=tuple(traces[j] for j in order),
        changes=tuple(changes[j] for j in order),
        levels=tuple(np.float64(plan.sizes[j][0]) for j in order),
        bend=_own_only(space, weights[:, None]),
        bends=_own_only(space, np.array([leverage])),
        cubic=(),
        extra=psi[space.own_slice],
    )
    p = space.num_fixed
    coefficients = np.zeros((p + space.own.size, p + space.own.size))
    coefficients[:p, :p] = data.R.T @ data.R / variance
    coefficients[p:, p:] = 2.0 * data.n
    return Geometry(
        arrays=white,
        complete=complete_information(space, plan, changes, coefficients),
        observed=_observed_information(data, space, psi, found),
    )


def _curvatures(data: Sums, space: ParamSpace) -> Curvatures:
    """The derivative of the likelihood in covariances, without draws: whatever they say would be noise."""

    def curvatures(
        params: Floats, geometry: Geometry, positions: Floats, terms: list[int]
    ) -> dict[int, Floats]:
        sigma = space.residual_sd(params)
        lambdas = tuple(factor / sigma for factor in space.factors(params))
        solution = solve_exactly(data, lambdas, data.R @ (params[: space.num_fixed] - data.ols))
        spread, fit = solution.factor.log_det_slopes(), solution.fit_slopes()
        found = {}
        for j in terms:
            slope = -pull_of(lambdas[j], fit[j] / sigma**2 - spread[j]) / sigma**2
            inverse = np.linalg.inv(lambdas[j])
            # The levels that Lambda's determinant counts and what the data say of them cancel nearly.
            lost = ROUNDING * data.plan.sizes[j][0] * np.abs(inverse.T @ inverse) / sigma**2
            found[j] = np.stack([slope - lost, slope + lost])[:, None]
        return found

    return curvatures


def _own_only(space: ParamSpace, values: Floats) -> Floats:
    """(..., d) the values (..., 1) for a residual sd that is estimated, zero for all else."""
    found = np.zeros((*values.shape[:-1], space.size))
    found[..., space.own_slice] = values
    return found


def _observed_information(
    data: Sums, space: ParamSpace, psi: Floats, found: Solution[Factored]
) -> Floats:
    """The average information; within NEAR standard errors of the maximum the observed one.

    The average information costs nothing and is positive semidefinite anywhere; only the observed one makes
    steps that end at the maximum rather than near it.
    """
    average = average_information(data, space, psi, found)
    _, score, _ = log_likelihood(data, space, psi)
    distance = np.linalg.lstsq(average, score, rcond=1e-10)[0]
    if float(score @ distance) > NEAR**2:
        return average
    return observed_information(data, space, psi, np.ones(space.size, bool))


def _pull(
    data: Sums, space: ParamSpace, factors: tuple[Floats, ...], modes: Floats, variance: float
) -> Floats:
    """Derivatives in u of the scores of beta and log sigma."""
    by_beta = -apply_lambda(data.plan, factors, data.ZQ @ data.R, transpose=True) / variance
    # Z'W r Lambda = u at the conditional modes
    return np.column_stack([by_beta, *[-2.0 * modes] * space.own.size])
