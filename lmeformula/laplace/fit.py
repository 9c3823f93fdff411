"""Maximise the Laplace approximation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg as sl
from numpy.typing import NDArray

from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.factor import Factor, apply_lambda
from lmeformula.laplace.likelihood import Approximation, Problem, approximate, collect, predictor
from lmeformula.model.ascent import Point, ascend
from lmeformula.model.compile import Model
from lmeformula.model.factors import any_singular, factor_space
from lmeformula.model.params import Params, ParamSpace

Floats = NDArray[np.float64]

# Where the optimiser starts: the sd of every coefficient, on the scale of the predictor.
FIRST_SD = 0.5
# Step of the differences for the observed information: the score is good to about 1e-8.
DIFFERENCE = 1e-4


class LaplaceFit(NamedTuple):
    """The maximum of the approximation.

    Attributes:
      params: estimates on the natural scale; a variance on the boundary is exactly zero.
      approximation: the approximation there.
      problem: the model's arrays.
      gain: rise of the approximation that another step promises.
      converged: whether that is nil.
      singular: whether some covariance matrix is singular.
      num_evaluations: how often the approximation was evaluated.
    """

    params: Params
    approximation: Approximation
    problem: Problem
    gain: float
    converged: bool
    singular: bool
    num_evaluations: int


def fit_laplace(model: Model) -> LaplaceFit:
    """Maximise the Laplace approximation of a model without residual sd.

    Args:
      model: the model; its family has no parameters of its own.
    Returns:
      The maximum, whether or not the optimiser converged.
    """
    # TensorFlow is imported here, and not where Gaussian models pass by.
    from lmeformula.laplace.rows import row_derivatives

    design, space = model.design, model.space
    plan = layout(design.terms)
    # Orthogonal columns: the scale and the correlation of the user's cost no digits.
    Q, R = np.linalg.qr(design.X)
    derivatives = row_derivatives(model.family, model.family.response(design))
    problem = Problem(plan, np.asarray(Q, float), design.offset, derivatives)
    scales = tuple(_column_scale(term.values) for term in design.terms)
    elements = factor_space(space, scales)
    p = space.num_fixed
    # Searches for the mode start from the last one: it is near, and costs a step or two.
    last = np.zeros(plan.num_effects)

    def evaluate(coordinates: Floats) -> Point:
        nonlocal last
        lambdas = elements.factors(coordinates[p:])
        found = approximate(problem, coordinates[:p], lambdas, last)
        if np.isfinite(found.value):
            last = found.mode.u
        changes, slopes = elements.changes(coordinates[p:]), found.in_factors
        information = np.zeros((len(coordinates), len(coordinates)))
        information[:p, :p] = fixed_information(problem, found)
        information[p:, p:] = average_information(problem, found, changes)
        information[p:, p:] += elements.falling(coordinates[p:], slopes)
        score = np.concatenate([found.in_beta, elements.pull_back(coordinates[p:], slopes)])
        value = found.value if np.isfinite(found.value) else -np.inf
        return Point(coordinates, value, score, information, slopes, found)

    start = np.concatenate([R @ _first_beta(model), elements.start(FIRST_SD)])
    summit = ascend(evaluate, elements, start, design.n)
    coordinates = summit.point.coordinates
    lambdas = elements.factors(summit.elements)
    beta = sl.solve_triangular(R, coordinates[:p]) if p else coordinates[:p]
    return LaplaceFit(
        params=Params(beta, tuple(factor @ factor.T for factor in lambdas), None),
        approximation=summit.point.detail,
        problem=problem._replace(X=design.X),
        gain=summit.gain,
        converged=summit.converged,
        singular=any_singular(lambdas, scales),
        num_evaluations=summit.num_evaluations,
    )


def fixed_information(problem: Problem, found: Approximation) -> Floats:
    """(p, p) X'V^-1 X of the working linear model at the mode."""
    mode = found.mode
    weighted = problem.X * mode.weights[:, None]
    columns = [collect(problem.plan, column) for column in weighted.T]
    if not columns:
        return np.zeros((0, 0))
    crossed = np.column_stack(columns)
    half = mode.factor.solve_lower(
        apply_lambda(problem.plan, mode.factor.lambdas, crossed, transpose=True)
    )
    return np.asarray(problem.X.T @ weighted - half.T @ half)


def average_information(
    problem: Problem, found: Approximation, changes: tuple[Floats, ...]
) -> Floats:
    """(t, t) average information of the working linear model, for changes (t_j, k, k) of each Lambda."""
    plan, mode = problem.plan, found.mode
    w = plan.split(collect(plan, mode.rows.first))
    columns = []
    for j, (change, factor) in enumerate(zip(changes, mode.factor.lambdas, strict=True)):
        for matrix in change:
            outer = matrix @ factor.T
            parts = [np.zeros_like(part) for part in w]
            parts[j] = w[j] @ (outer + outer.T)
            columns.append(plan.join(tuple(parts)))
    directions = np.column_stack(columns)
    spread = np.column_stack(
        [collect(plan, mode.weights * predictor(plan, column)) for column in directions.T]
    )
    half = mode.factor.solve_lower(apply_lambda(plan, mode.factor.lambdas, spread, transpose=True))
    return np.asarray(0.5 * (directions.T @ spread - half.T @ half))


def score(model: Model, problem: Problem, psi: Floats, start: Floats) -> tuple[Floats, Floats]:
    """The gradient of the approximation in psi (d,), and the mode (q,) there."""
    space = model.space
    factors = term_factors(space, psi)
    found = approximate(problem, psi[: space.num_fixed], factors, start)
    gradient = np.empty(space.size)
    gradient[: space.num_fixed] = found.in_beta
    for term, place, slope in zip(space.terms, space.theta_slices, found.in_factors, strict=True):
        changes = term.structure.cholesky_jacobian(psi[place], len(term.columns))
        gradient[place] = np.einsum("tab,ab->t", changes, slope)
    return gradient, found.mode.u


def observed_information(
    model: Model, problem: Problem, psi: Floats, free: NDArray[np.bool_], start: Floats
) -> Floats:
    """(d, d) negative second derivative of the approximation, by central differences of its gradient.

    Args:
      model: the model.
      problem: its arrays, with X as it is in the model.
      psi: (d,) the maximum; boundary parameters hold a finite stand-in.
      free: (d,) parameters inside their boundary; the others get zero rows and columns.
      start: (q,) the mode there.
    """
    d = len(psi)
    information = np.zeros((d, d))
    # The fixed effects move in units of their conditional standard error.
    lengths = np.ones(d)
    p = model.space.num_fixed
    found = approximate(problem, psi[:p], term_factors(model.space, psi), start)
    if p:
        lengths[:p] = 1.0 / np.sqrt(np.diag(fixed_information(problem, found)))
    for j in np.flatnonzero(free):
        step = np.zeros(d)
        step[j] = DIFFERENCE * lengths[j]
        above, below = (score(model, problem, psi + s * step, start)[0] for s in (1.0, -1.0))
        information[j] = (below - above) / (2.0 * step[j])
    information[:, ~free] = 0.0
    return 0.5 * (information + information.T)


def term_factors(space: ParamSpace, psi: Floats) -> tuple[Floats, ...]:
    """The Cholesky factor (k, k) of each term's covariance."""
    return tuple(
        term.structure.cholesky(psi[place], len(term.columns))
        for term, place in zip(space.terms, space.theta_slices, strict=True)
    )


def conditional(factor: Factor, u: Floats) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
    """Modes (l, k) and approximate covariances (l, k, k) of the random effects, for each term."""
    lambdas = factor.lambdas
    modes = factor.plan.split(apply_lambda(factor.plan, lambdas, u))
    covariances = tuple(
        matrix @ block @ matrix.T
        for matrix, block in zip(lambdas, factor.inverse_blocks(), strict=True)
    )
    return modes, covariances


def _column_scale(values: Floats) -> Floats:
    root = np.sqrt(np.mean(values**2, axis=0))
    return np.asarray(np.where(root > 0, root, 1.0))


def _first_beta(model: Model) -> Floats:
    return np.asarray(model.start.beta, float)
