"""Laplace's way to integrate effects out: the determinant at the mode, with its first and second derivatives.

Reference: Kristensen, Nielsen, Berg, Skaug, Bell (2016), J. Stat. Softw. 70(5), section 2, for the adjoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.cells import Cells, cells_of
from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.determinant import determinant_bend, is_small
from lmeformula.algebra.factor import Factor
from lmeformula.algebra.inverse import leverages
from lmeformula.algebra.lambdas import apply_lambda, triangular_solved
from lmeformula.arrays import Floats
from lmeformula.checkpoint.memory import Nothing
from lmeformula.family import Depths
from lmeformula.likelihood.laplace.directions import Directions
from lmeformula.likelihood.laplace.likelihood import (
    Beyond,
    Method,
    Mode,
    Problem,
    paired,
    through,
)
from lmeformula.likelihood.laplace.row_sums import At, Deeper, deepened, spread_out
from lmeformula.model.compile import Model

# Steps of differences of the rows' third derivatives, in units of the predictor: two-sided ones, whose square
# is left out, and one-sided ones, which are enough on the way.
STEP, ROUGH_STEP = 1e-4, 1e-6


class Determinant(Nothing):
    """Laplace's way to integrate effects out: as if their density were normal about the mode.

    Args:
      units: (K,) what each linear predictor is measured in.
      plan: layout of the effects.
    """

    method: Method = "laplace"
    is_exact = False
    is_spent = False

    def __init__(self, units: Floats, plan: Layout) -> None:
        self._units, self._plan = units, plan
        self._cells: Cells | None = None

    @classmethod
    def of(cls, model: Model, plan: Layout) -> Determinant:
        """See `Marginal`."""
        return cls(model.units, plan)

    def beyond(
        self, problem: Problem, mode: Mode, depths: Depths, along: Directions | None = None
    ) -> Beyond:
        """See `Marginal`."""
        factor = mode.factor
        is_wanted = along is not None and self.bends_along(along.size)
        if along is None or not is_wanted or not isinstance(factor, Factor):
            return by_determinant(
                problem, mode, depths, factor.leverages(), factor.inverse_traces()
            )
        if self._cells is None:
            self._cells = cells_of(self._plan)
        met = tuple(factor.met())
        each = leverages(self._plan, factor.lambdas, met)
        pull = _pulled(problem, mode, depths, each)
        second = spread_out(depths.third, along.at_mode) + depths.own_second.T @ along.own
        bent = determinant_bend(factor, self._cells, met, mode.weights, along.changes, -second)
        aside = self._plan.spread(apply_lambda(self._plan, mode.at.lambdas, pull.adjoint))
        bent += _bent_rows(problem, mode, depths, along, (0.5 * each, aside), self._units)
        bent += _bent_mode(problem, mode, depths, along, pull)
        found = slopes_of(problem, mode, pull, factor.inverse_traces())
        return found._replace(information=-0.5 * (bent + bent.T))

    def bends_along(self, num_directions: int) -> bool:
        """See `Marginal`: where differences of first ones take longer, and M is factored."""
        return is_small(self._plan, num_directions)

    def added(self, problem: Problem, mode: Mode) -> float:
        """See `Marginal`."""
        return -0.5 * mode.factor.log_det

    def near(self, problem: Problem, at: At, u: Floats) -> Beyond:
        """See `Marginal`."""
        mode = _look(problem, at, u)
        return self.beyond(problem, mode, problem.sums.depths(mode, at.own))

    def effects(
        self, problem: Problem, mode: Mode
    ) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
        """See `Marginal`: the modes, and covariances by the curvature there."""
        return mode.factor.effects(mode.u, mode.u), mode.factor.effect_blocks()


class Exactly(Determinant):
    """The same of a Gaussian model, whose effects have a normal density about the mode indeed."""

    method: Method = "exact"


class Pull(NamedTuple):
    """How -log |M| / 2 pulls at what moves the rows' predictors, each as of `Deeper`.

    Attributes:
      held: with the mode held.
      adjoint: (q,) M^-1 Lambda' of what pulls at the effects then.
      moving: with the mode moving along.
    """

    held: Deeper
    adjoint: Floats
    moving: Deeper


def _pulled(problem: Problem, mode: Mode, depths: Depths, leverages: Floats) -> Pull:
    plan, lambdas, sums = problem.plan, mode.at.lambdas, problem.sums
    held = sums.deeper(mode, depths, leverages)
    adjoint = mode.factor.solve(apply_lambda(plan, lambdas, held.pulls, transpose=True))
    along = sums.along(mode, depths, apply_lambda(plan, lambdas, adjoint))
    return Pull(held, adjoint, Deeper(*(a - b for a, b in zip(held, along, strict=True))))


def by_determinant(
    problem: Problem, mode: Mode, depths: Depths, leverages: Floats, traces: tuple[Floats, ...]
) -> Beyond:
    """-log |M| / 2, and its derivatives from what they need of M^-1.

    Effects that are not at the mode are moved as the mode would be, by the same derivatives.

    Args:
      problem: the arrays.
      mode: the mode.
      depths: the rows' further derivatives there.
      leverages: (n,) diagonal of Z Lambda M^-1 Lambda' Z'.
      traces: (k, k) sum over the levels of the diagonal blocks of M^-1, for each term.
    Returns:
      What is beyond the mode; its derivatives are linear in leverages and traces.
    """
    return slopes_of(problem, mode, _pulled(problem, mode, depths, leverages), traces)


def pulls_together(
    problem: Problem, mode: Mode, depths: Depths, each: list[Deeper]
) -> Iterator[Pull]:
    """The pulls of several sets of leverages, from what each is with the mode held.

    They are solved for side by side. How the slopes move with effects is in sums that are there once.
    """
    plan, lambdas, p = problem.plan, mode.at.lambdas, len(each[0].in_beta)
    held = np.column_stack([one.pulls for one in each])
    adjoints = mode.factor.solve(apply_lambda(plan, lambdas, held, transpose=True))
    effects = apply_lambda(plan, lambdas, adjoints)
    moved = held - through(problem, mode, effects)
    crossed = problem.sums.complete(mode, depths)[0].T @ effects
    for number, one in enumerate(each):
        in_beta, in_own = one.in_beta - crossed[:p, number], one.in_own - crossed[p:, number]
        yield Pull(one, adjoints[:, number], Deeper(moved[:, number], in_beta, in_own))


def slopes_of(problem: Problem, mode: Mode, pull: Pull, traces: tuple[Floats, ...]) -> Beyond:
    """See `by_determinant`."""
    plan, lambdas = problem.plan, mode.at.lambdas
    by_slope, by_first = plan.split(pull.moving.pulls), plan.split(mode.pulls)
    u, a = plan.split(mode.u), plan.split(pull.adjoint)
    in_factors = []
    for j, (levels, k) in enumerate(plan.sizes):
        missing = levels * np.eye(k) - traces[j]
        if not np.isfinite(missing).all():
            raise np.linalg.LinAlgError("the density has no finite curvature here")
        spread = triangular_solved(lambdas[j], missing, transpose=True)
        in_factors.append(by_slope[j].T @ u[j] + by_first[j].T @ a[j] - spread)
    return Beyond(
        value=-0.5 * mode.factor.log_det,
        in_beta=pull.moving.in_beta,
        in_factors=tuple(in_factors),
        in_own=pull.moving.in_own,
    )


def _bent_rows(
    problem: Problem,
    mode: Mode,
    depths: Depths,
    along: Directions,
    at: tuple[Floats, Floats],
    units: Floats,
) -> Floats:
    """(m, m) second derivatives of the rows' weights, and of what pulls at the mode.

    The fourth derivatives are differences of the third ones, each row's by itself.

    Args:
      problem, mode, depths, along: as of `Marginal.beyond`.
      at: (v n,) half the leverages, and what the rows read of the adjoint.
      units: (K,).
    """
    own, predictors = along.own, along.at_mode
    leverages, aside = at
    third = spread_out(depths.third, aside[:, None])
    found = predictors.T @ (third * predictors)

    def slopes(there: Depths) -> tuple[Floats, Floats]:
        in_own = there.own_second @ leverages + there.own_first @ aside
        return deepened(there.third, leverages), in_own

    def moved(eta: Floats, free: Floats) -> tuple[Floats, Floats]:
        step = ROUGH_STEP if along.is_rough else STEP
        ahead = problem.rows.depths(mode.eta + step * eta, mode.at.own + step * free)
        back, length = depths, step
        if not along.is_rough:
            back = problem.rows.depths(mode.eta - step * eta, mode.at.own - step * free)
            length = 2.0 * step
        (deeper, in_own), (before, own_before) = slopes(ahead), slopes(back)
        return (deeper - before) / length, (in_own - own_before) / length

    n, nothing = depths.third.shape[-1], np.zeros(len(own))
    for number, unit in enumerate(units):
        rows = slice(number * n, (number + 1) * n)
        eta = np.zeros_like(mode.eta)
        eta[rows] = unit
        deeper, _ = moved(eta, nothing)
        by_row = (predictors * deeper[:, None]).reshape(-1, n, along.size).sum(axis=0)
        found += by_row.T @ predictors[rows] / unit
    for number, each in enumerate(own):
        free = nothing.copy()
        free[number] = 1.0
        deeper, in_own = moved(np.zeros_like(mode.eta), free)
        crossed = predictors.T @ (deeper + depths.own_second[number] * aside)
        found += np.outer(crossed, each) + np.outer(each, crossed) + np.outer(in_own @ own, each)
    return found


def _bent_mode(
    problem: Problem, mode: Mode, depths: Depths, along: Directions, pull: Pull
) -> Floats:
    """(m, m) what the mode has of second derivatives, by its adjoint, but for those of the rows."""
    plan = problem.plan
    first = depths.own_first.T @ along.own - mode.weights[:, None] * along.at_mode
    found = paired(problem, along, pull.moving.pulls)
    for a, change, slopes in zip(
        plan.split(pull.adjoint), along.changes, plan.split(plan.gather(first)), strict=True
    ):
        sums = np.einsum("lb,lae->abe", a, slopes)
        found += change.reshape(along.size, -1) @ sums.reshape(-1, along.size)
    return found + found.T


def _look(problem: Problem, at: At, u: Floats) -> Mode:
    """The derivatives of the rows at effects u, as of a mode."""
    sums = problem.sums
    look = sums.look(at, u)
    weights = sums.weights(look)
    factor = problem.factorize(weights, at.lambdas)
    value, pulls = look.value - 0.5 * float(u @ u), sums.pulls(look)
    return Mode(at, u, look.eta, look.first, weights, factor, value, 0, pulls)
