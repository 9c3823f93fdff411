"""A Gaussian model as a problem for the engine: its posterior is whitened exactly at every parameter vector."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.factor import Factor, apply_lambda
from lmeformula.em.types import Geometry, Problem, Scores, Tensor
from lmeformula.gaussian.information import average_information, observed_information
from lmeformula.gaussian.likelihood import Solution, Sums, log_likelihood, solve, sums
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace
from lmeformula.sampling import whitened
from lmeformula.sampling.whitened import Rows, Sizes, Whitening

Floats = NDArray[np.float64]

# Distance from the maximum, in standard errors, where Newton's own metric is worth its cost.
NEAR = 0.3


def gaussian_problem(model: Model) -> Problem:
    """The problem of a Gaussian model, with whitening, control variates and information from its structure.

    Args:
      model: a compiled gaussian model with at least one random-effects term.
    Returns:
      The problem, started from least squares.
    """
    design, space = model.design, model.space
    data = sums(design)
    plan = data.plan
    order = (plan.lead, *plan.rest)
    sizes = Sizes(
        terms=tuple(plan.sizes[j] for j in order),
        formula_order=tuple(order.index(j) for j in range(len(order))),
        has_own=space.estimates_sigma,
    )
    rows = Rows(
        response=model.family.response(design),
        X=design.X,
        codes=tuple(design.terms[j].index for j in order),
        values=tuple(design.terms[j].values for j in order),
    )

    def geometry(psi: Floats) -> Geometry:
        return _geometry(model, data, rows, order, psi)

    def density(params: Tensor, z: Tensor, white: Any, given: Any) -> tuple[Tensor, Tensor]:
        return whitened.density(sizes, model.family, white, given, z)

    def score(params: Tensor, z: Tensor, gradient: Tensor, white: Any, given: Any) -> Scores:
        return whitened.scores(sizes, model.family, white, given, z, gradient)

    return Problem(
        params=space.to_free(model.start),
        names=space.names,
        latents=np.zeros(plan.num_effects),
        data=rows,
        density=density,
        score=score,
        to_latents=lambda z, white, given: whitened.effects_of(sizes, white, given, z),
        # The chains start at the conditional modes.
        to_position=lambda latents, white: np.zeros(plan.num_effects),
        report=lambda psi: (space.to_report(psi), space.report_jacobian(psi)),
        geometry=geometry,
        max_step=_longest_step(space),
    )


def _longest_step(space: ParamSpace) -> Floats:
    """The fixed effects' score is linear; a standard deviation changes at most by a factor of e."""
    return np.concatenate([np.full(space.num_fixed, np.inf), np.ones(space.size - space.num_fixed)])


def _geometry(
    model: Model, data: Sums, rows: Rows, order: tuple[int, ...], psi: Floats
) -> Geometry:
    space, plan = model.space, data.plan
    beta, sigma = psi[: space.num_fixed], space.residual_sd(psi)
    variance = sigma**2
    factors = tuple(
        term.structure.cholesky(psi[place], len(term.columns))
        for term, place in zip(space.terms, space.theta_slices, strict=True)
    )
    found = solve(
        data,
        tuple(factor / sigma for factor in factors),
        data.R @ (beta - data.ols),
    )
    modes = found.u / sigma
    traces = found.factor.inverse_traces()
    changes = tuple(
        _solve(factor, term.structure.cholesky_jacobian(psi[place], len(term.columns)))
        for factor, term, place in zip(factors, space.terms, space.theta_slices, strict=True)
    )
    weights = rows.response[1] / variance
    white = Whitening(
        eta=model.design.offset + model.design.X @ beta + _predictor(plan, factors, modes),
        modes=modes,
        weights=weights,
        factors=tuple(factors[j] for j in order),
        lead_inverse=found.factor.lead_inverse,
        rest_inverse=_inverse_factor(found.factor),
        pull=_pull(data, space, factors, modes, variance),
        traces=tuple(traces[j] for j in order),
        changes=tuple(changes[j] for j in order),
        levels=tuple(np.float64(plan.sizes[j][0]) for j in order),
        inverse_trace=np.float64(sum(np.trace(trace) for trace in traces)),
        extra=np.array([np.log(sigma)]),
    )
    return Geometry(
        arrays=white,
        complete=_complete_information(data, space, changes, variance),
        observed=_observed_information(data, space, psi, found),
    )


def _observed_information(data: Sums, space: ParamSpace, psi: Floats, found: Solution) -> Floats:
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
    if not space.estimates_sigma:
        return by_beta
    # Z'W r Lambda = u at the conditional modes
    return np.column_stack([by_beta, -2.0 * modes])


def _complete_information(
    data: Sums, space: ParamSpace, changes: tuple[Floats, ...], variance: float
) -> Floats:
    """Expected information of psi if the random effects had been seen."""
    information = np.zeros((space.size, space.size))
    p = space.num_fixed
    information[:p, :p] = data.R.T @ data.R / variance
    for (levels, _), change, place in zip(
        data.plan.sizes, changes, space.theta_slices, strict=True
    ):
        both = change + change.transpose(0, 2, 1)
        information[place, place] = 0.5 * levels * np.einsum("sab,tba->st", both, both)
    if space.estimates_sigma:
        information[-1, -1] = 2.0 * data.n
    return information


def _predictor(plan: Layout, factors: tuple[Floats, ...], modes: Floats) -> Floats:
    effects = apply_lambda(plan, factors, modes)
    return np.asarray(sum(plan.matrices[j] @ effects[plan.place(j)] for j in range(len(factors))))


def _inverse_factor(factor: Factor) -> Floats:
    if not factor.plan.rest:
        return np.zeros((0, 0))
    inverse, status = lapack.dtrtri(factor.rest, lower=1)
    if status != 0:
        raise np.linalg.LinAlgError("the Schur complement is singular")
    return np.tril(inverse)


def _solve(factor: Floats, matrices: Floats) -> Floats:
    """factor^-1 times each of the (t, k, k) matrices."""
    return np.asarray(np.linalg.solve(factor, matrices), float)
