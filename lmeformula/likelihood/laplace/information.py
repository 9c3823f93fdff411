"""The information of the parameters at the mode: of coefficients and of covariance factors, block by block."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import covariance_directions, outer_changes
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.arrays import Floats
from lmeformula.family import Depths
from lmeformula.likelihood.laplace.likelihood import (
    Approximation,
    Mode,
    Problem,
    through,
)
from lmeformula.likelihood.laplace.row_sums import complete_block as of_rows


class Coefficients(NamedTuple):
    """What a mode says of the fixed effects and of the family's own parameters, p + f of them.

    Attributes:
      information: (p + f, p + f), unconstrained: the negative second derivative of the log joint density, its
        maximum over the effects taken: H_cc - H_cu M^-1 H_uc. For the fixed effects that is X'V^-1 X of the
        working linear model at the mode.
      slopes: (q, p + f) how the mode moves with them.
    """

    information: Floats
    slopes: Floats


def coefficients_at(problem: Problem, mode: Mode, depths: Depths) -> Coefficients:
    """The information of the coefficients at a mode, and how they move it."""
    crossed, square = problem.sums.complete(mode, depths)
    right = apply_lambda(problem.plan, mode.at.lambdas, crossed, transpose=True)
    solved = mode.factor.solve(right) if right.shape[1] else right
    return Coefficients(np.asarray(square - right.T @ solved), -solved)


def complete_block(problem: Problem, mode: Mode, depths: Depths) -> tuple[Floats, Floats]:
    """Negative second derivatives of the log joint density at the mode; see `row_sums.complete_block`."""
    return of_rows(problem.X, mode.weights, depths)


def upright(information: Floats) -> Floats:
    """A symmetric matrix with the signs of its eigenvalues, on its own scale, taken away."""
    scale = np.sqrt(np.maximum(np.abs(np.diag(information)), 1e-300))
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    if len(values) == 0 or values[0] > 0.0:
        return information
    held = (vectors * np.maximum(np.abs(values), 1e-6)) @ vectors.T
    return np.asarray(held * np.outer(scale, scale))


def average_information(
    problem: Problem, found: Approximation, changes: tuple[Floats, ...]
) -> Floats:
    """(t, t) average information of the working linear model, for changes (t_j, k, k) of each Lambda."""
    plan, mode = problem.plan, found.mode
    lambdas = mode.at.lambdas
    outer = tuple(outer_changes(*each) for each in zip(changes, lambdas, strict=True))
    directions = covariance_directions(plan, mode.pulls, outer)
    spread = through(problem, mode, directions)
    right = apply_lambda(plan, lambdas, spread, transpose=True)
    return np.asarray(0.5 * (directions.T @ spread - right.T @ mode.factor.solve(right)))
