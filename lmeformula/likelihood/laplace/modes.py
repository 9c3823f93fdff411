"""Conditional modes of a model's effects, how they move with the parameters, and psi in the terms of `At`."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from lmeformula.algebra.crossproducts import Layout, layout
from lmeformula.algebra.lambdas import apply_lambda, without_lambda
from lmeformula.algebra.meetings import Factored, find_meetings
from lmeformula.algebra.probed import ProbedFactor
from lmeformula.arrays import Floats
from lmeformula.design.absent import elsewhere
from lmeformula.family import Depths
from lmeformula.likelihood.laplace.determinant import Determinant
from lmeformula.likelihood.laplace.information import Coefficients, coefficients_at
from lmeformula.likelihood.laplace.likelihood import (
    Factorize,
    Marginal,
    Mode,
    Problem,
    find_mode,
    through,
)
from lmeformula.likelihood.laplace.penalised import penalised, unpenalised
from lmeformula.likelihood.laplace.row_sums import At
from lmeformula.likelihood.laplace.rows import NOT_HERE, row_derivatives
from lmeformula.likelihood.laplace.shared_rows import (
    SharedRows,
    in_orthogonal_columns,
    shared_rows,
)
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace


class Sloped(Protocol):
    """What has derivatives in the parameters, as `Approximation` has them."""

    @property
    def in_beta(self) -> Floats:
        """(p,)."""

    @property
    def in_factors(self) -> tuple[Floats, ...]:
        """(k, k) of each term."""

    @property
    def in_own(self) -> Floats:
        """(f,)."""


class KnownMode(NamedTuple):
    """A mode (q,) at some coordinates (d,), and its derivatives (d, q) in them."""

    coordinates: Floats
    u: Floats
    slopes: Floats

    def mode_at(self, coordinates: Floats) -> Floats:
        """Where the mode is expected at other coordinates, by a step that can be trusted."""
        move = (coordinates - self.coordinates) @ self.slopes
        return self.u + move / max(1.0, float(np.abs(move).max()))

    def reaches(self, coordinates: Floats) -> bool:
        """Whether that step is the whole one."""
        return bool(np.abs((coordinates - self.coordinates) @ self.slopes).max() <= 1.0)


def effects_held(
    plan: Layout, at: tuple[Floats, ...], u: Floats, lambdas: tuple[Floats, ...]
) -> Floats:
    """(q,) spherical effects that are those of a mode u, at some factors, in units of others.

    To start from where a step goes too far for derivatives: of factors many times as large the same spherical
    effects would be as far from the data.
    """
    return without_lambda(plan, lambdas, apply_lambda(plan, at, u))


def layout_of(model: Model) -> Layout:
    """The layout of a model's effects; without rows, where these are with workers."""
    if model.design.shards is not None:
        return shared_rows(model, model.design.shards).plan
    return layout(model.stack.terms)


def arrays_of(
    model: Model,
    plan: Layout,
    factorize: Factorize | None = None,
    marginal: type[Marginal] = Determinant,
) -> Problem:
    """A model's arrays.

    Args:
      model: the model.
      plan: layout of its random effects.
      factorize: how M is made solvable; factored by default, with the meetings of the terms found once.
      marginal: how effects are integrated out; by default as Laplace did.
    """
    way, shards = penalised(marginal.of(model, plan), model), model.design.shards
    if shards is not None:
        assert factorize is not None
        rows, nothing = shared_rows(model, shards), elsewhere(model.design.n)
        return Problem(rows.plan, nothing, nothing, NOT_HERE, factorize, way, elsewhere=rows)
    if factorize is None:
        factorize = find_meetings(plan).factorize
    stack = model.stack
    return Problem(plan, stack.X, stack.offset, row_derivatives(model), factorize, way)


def in_orthogonal(problem: Problem, model: Model) -> tuple[Problem, Floats]:
    """A model's arrays with orthogonal columns Q in place of X = Q R; and R."""
    if problem.elsewhere is None:
        Q, R = model.stack.orthogonal()
        return problem._replace(X=Q, triangle=R), R
    assert isinstance(problem.elsewhere, SharedRows)
    rows, R = in_orthogonal_columns(problem.elsewhere)
    return problem._replace(elsewhere=rows, triangle=R), R


def in_own_columns(problem: Problem, model: Model) -> Problem:
    """The same with the columns that the model has."""
    if problem.elsewhere is None:
        return problem._replace(X=model.stack.X, triangle=None)
    assert isinstance(problem.elsewhere, SharedRows)
    rows = problem.elsewhere._replace(columns="X")
    return problem._replace(elsewhere=rows, triangle=None)


def again(problem: Problem, model: Model) -> Problem:
    """The arrays of another model with the same effects, made solvable and integrated out the same way."""
    way = type(unpenalised(problem.marginal))
    return arrays_of(model, problem.plan, problem.factorize, way)


def mode_slopes(
    problem: Problem, mode: Mode, coefficients: Coefficients, changes: tuple[Floats, ...]
) -> Floats:
    """How the mode moves with the parameters, by the implicit function theorem.

    Args:
      problem: the arrays.
      mode: the mode.
      coefficients: what the mode says of them.
      changes: (t, k, k) derivatives of each Lambda in its parameters.
    Returns:
      (p + f + t, q) derivatives of the mode in the fixed effects, the family's own parameters and those of
      the factors.
    """
    plan, lambdas = problem.plan, mode.at.lambdas
    u, first = plan.split(mode.u), plan.split(mode.pulls)
    effects, own = np.zeros((2, plan.num_effects, sum(map(len, changes))))
    number = 0
    for j, change in enumerate(changes):
        for matrix in change:
            effects[plan.place(j), number] = (u[j] @ matrix.T).ravel()
            own[plan.place(j), number] = (first[j] @ matrix).ravel()
            number += 1
    own -= apply_lambda(plan, lambdas, through(problem, mode, effects), transpose=True)
    by_factors = mode.factor.solve(own)
    return np.vstack([coefficients.slopes.T, by_factors.T])


def slopes_in_psi(
    space: ParamSpace, problem: Problem, psi: Floats, mode: Mode, depths: Depths
) -> Floats:
    """(d, q) derivatives of the mode in psi (d,); see `mode_slopes`."""
    coefficients = coefficients_at(problem, mode, depths)
    by_block = mode_slopes(problem, mode, coefficients, space.factor_changes(psi))
    p, f = space.num_fixed, space.own.size
    slopes = np.empty((space.size, len(mode.u)))
    slopes[:p] = by_block[:p]
    slopes[space.own_slice] = by_block[p : p + f]
    slopes[p : space.size - f] = by_block[p + f :]
    return slopes


def gradient(space: ParamSpace, psi: Floats, found: Sloped) -> Floats:
    """The gradient in psi (d,) of what moves with the parameters there."""
    in_psi = space.pull_back(psi, found.in_factors)
    in_psi[: space.num_fixed] = found.in_beta
    in_psi[space.own_slice] = found.in_own
    return in_psi


def place(space: ParamSpace, psi: Floats) -> At:
    """The parameters as the approximation takes them."""
    return At(psi[: space.num_fixed], space.factors(psi), psi[space.own_slice])


def mode_at(model: Model, problem: Problem, psi: Floats, start: Floats) -> Mode:
    """The conditional mode at psi (d,)."""
    return find_mode(problem, place(model.space, psi), start)


def conditional(
    factor: Factored | ProbedFactor, u: Floats
) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
    """Modes (l, k) and approximate covariances (l, k, k) of the random effects, for each term."""
    return factor.effects(u, u), factor.effect_blocks()
