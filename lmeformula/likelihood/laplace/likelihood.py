"""The Laplace approximation to the marginal log-likelihood, and its gradient.

With u_hat the mode of log p(y | u) - |u|^2 / 2 and M = Lambda' Z'WZ Lambda + I its negative Hessian there,
W the negative second derivatives of the rows, it is log p(y | u_hat) - |u_hat|^2 / 2 - log |M| / 2. The
gradient takes along that the mode and W move with the parameters.

References: Tierney, Kadane (1986), JASA 81, 82-86; Bates (2014), Computational methods for mixed models, for
penalised iteratively reweighted least squares; the adjoint form of the implicit derivative is as in
Kristensen, Nielsen, Berg, Skaug, Bell (2016), J. Stat. Softw. 70(5), section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.meetings import Factored
from lmeformula.algebra.probed import ProbedFactor
from lmeformula.arrays import Floats, as_rows
from lmeformula.checkpoint.memory import Memory
from lmeformula.design.absent import AbsentRows, Why
from lmeformula.family import Depths
from lmeformula.likelihood.laplace.directions import Directions
from lmeformula.likelihood.laplace.row_sums import At, Look, RowsHere, RowSums, bent_products
from lmeformula.likelihood.laplace.rows import RowDerivatives
from lmeformula.model.compile import Model

MAX_NEWTON_STEPS = 60
PASSED = Why(
    "this is a step on the way to a maximum, of which only sums over the rows were kept",
    "Work the approximation out again at its parameters.",
)
# The mode is found when Newton's next step would raise the log joint density by less than this: by its root the
# determinant is off, and an ascent tells rises of 1e-9 of that.
MODE_GAIN = 1e-20
# The same of a score by probes, whose root is off by less than its errors then, and which is followed alone.
PROBED_GAIN = 1e-14
# Next to the mode Newton's whole step is right, whatever rounding makes of the density of large counts.
NEXT_TO = 1e-7
# Newton's method converges quadratically: a small gain that falls no faster than this is rounding.
SMALL_GAIN, STALLED = 1e-13, 0.1
# Rounding of a log joint density, relative to it: with a count of 1e18 a gain below this is none.
ROUNDING = 2e-16


# row weights (n,), covariance factors -> M, factored or otherwise made solvable
# How fits are called whose effects are integrated out, and where their errors are from.
Method = Literal["exact", "laplace", "quadrature"]
Factorize: TypeAlias = Callable[[Floats, tuple[Floats, ...]], Factored | ProbedFactor]


class Beyond(NamedTuple):
    """What a log-likelihood has beyond the log joint density at the mode, and how that moves.

    Attributes:
      value: what is added.
      in_beta, in_factors, in_own: its derivatives as in `Approximation`, the mode moving along.
      information: (m, m) its negative second derivative along the directions that were asked for, but for what
        Lambda has by its own second derivative; None where it was not worked out.
      is_known: whether all this is worked out as well as it is asked to be.
    """

    value: float
    in_beta: Floats
    in_factors: tuple[Floats, ...]
    in_own: Floats
    information: Floats | None = None
    is_known: bool = True


class Marginal(Memory, Protocol):
    """How effects are integrated out, around their mode.

    Attributes:
      method: how fits that do so are called.
      is_exact: whether that is the likelihood itself, but for a numerical error.
    """

    method: Method
    is_exact: bool

    @property
    def is_spent(self) -> bool:
        """Whether it has taken as much work as an ascent is worth."""

    @classmethod
    def of(cls, model: Model, plan: Layout) -> Marginal:
        """That of a model."""

    def beyond(
        self, problem: Problem, mode: Mode, depths: Depths, along: Directions | None = None
    ) -> Beyond:
        """What is added at a mode, and its derivatives; the second ones along directions, where it has them."""

    def bends_along(self, num_directions: int) -> bool:
        """Whether there are second derivatives along so many directions."""

    def added(self, problem: Problem, mode: Mode) -> float:
        """What is added alone, also where covariances are singular."""

    def near(self, problem: Problem, at: At, u: Floats) -> Beyond:
        """The same at other parameters, given effects (q,) that are as near to the mode as its slope tells."""

    def effects(
        self, problem: Problem, mode: Mode
    ) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
        """(l, k) what stands for the effects, and their (l, k, k) covariances, of each term."""


class Problem(NamedTuple):
    """A model's arrays, as the approximation needs them.

    Attributes:
      plan: layout of the random effects.
      X: (n, p) fixed-effects model matrix.
      offset: (n,).
      rows: derivatives of the rows' log density.
      factorize: how M is made solvable.
      marginal: how effects are integrated out.
      triangle: (p, p) R where X is Q of the model's own columns, Q R, and fixed effects are R times theirs.
      elsewhere: what is asked of rows that are with workers; None where they are here, in these arrays.
    """

    plan: Layout
    X: Floats
    offset: Floats
    rows: RowDerivatives
    factorize: Factorize
    marginal: Marginal
    triangle: Floats | None = None
    elsewhere: RowSums | None = None

    @property
    def sums(self) -> RowSums:
        """What is asked of rows, wherever they are."""
        return self.rows_here if self.elsewhere is None else self.elsewhere

    @property
    def rows_here(self) -> RowsHere:
        """The same, of rows that are here."""
        return RowsHere(self.plan, self.X, self.offset, self.rows)


class Mode(NamedTuple):
    """The conditional mode of the random effects at given parameters.

    Attributes:
      at: the parameters.
      u: (q,) spherical effects.
      eta: (n,) linear predictor there.
      first: (n,) the rows' first derivatives there.
      weights: (n,) W, the negative second derivatives.
      factor: of M.
      value: log joint density there, without the constant of the effects' density.
      num_steps: Newton steps taken.
      pulls: (q,) Z' of the rows' first derivatives.
    """

    at: At
    u: Floats
    eta: Floats
    first: Floats
    weights: Floats
    factor: Factored | ProbedFactor
    value: float
    num_steps: int
    pulls: Floats


class Approximation(NamedTuple):
    """The approximate log-likelihood at given parameters.

    Attributes:
      value: the approximation.
      in_beta: (p,) its derivative in the fixed effects.
      in_factors: (k, k) its derivative in Lambda, one for each term.
      in_own: (f,) its derivative in the family's own parameters, unconstrained.
      mode: what it was worked out at.
      depths: the rows' further derivatives there.
      information, is_known: as in `Beyond`.
    """

    value: float
    in_beta: Floats
    in_factors: tuple[Floats, ...]
    in_own: Floats
    mode: Mode
    depths: Depths
    information: Floats | None = None
    is_known: bool = True


def without_rows(found: Approximation) -> Approximation:
    """An approximation on the way, of which all is kept but what rows and pairs of levels have."""
    passed: Any = AbsentRows(found.mode.eta.shape, PASSED)
    mode = found.mode._replace(eta=passed, first=passed, weights=passed, factor=passed)
    nothing = np.empty((0, 0))
    depths = Depths(passed, passed, nothing, passed, passed)
    return found._replace(mode=mode, depths=depths)


def find_mode(problem: Problem, at: At, start: Floats) -> Mode:
    """Newton's method for the conditional mode, each step halved until the density rises.

    Args:
      problem: the arrays.
      at: the parameters.
      start: (q,) spherical effects to start from.
    Returns:
      The mode; its rows hold nan where the density is not finite.
    Raises:
      numpy.linalg.LinAlgError: if the density is not finite at the start.
    """
    plan, lambdas = problem.plan, at.lambdas
    sums, u = problem.sums, start
    look = sums.look(at, u)
    value = look.value - 0.5 * float(u @ u)
    before = np.inf
    for number in range(MAX_NEWTON_STEPS + 1):
        pulls = sums.pulls(look)
        gradient = apply_lambda(plan, lambdas, pulls, transpose=True) - u
        weights, factor, step = _newton_step(problem, look, lambdas, gradient)
        gain = float(gradient @ step)
        least = PROBED_GAIN if isinstance(factor, ProbedFactor) else MODE_GAIN
        is_rounding = gain < max(SMALL_GAIN, ROUNDING * abs(value)) and gain > STALLED * before
        if not gain > least or is_rounding or number == MAX_NEWTON_STEPS:
            break
        before = gain
        ahead = sums.ahead(look, at, step)
        share = 1.0
        while share > 1e-6:
            moved = u + share * step
            following = ahead(share, moved)
            reached = following.value - 0.5 * float(moved @ moved)
            rises = reached >= value + 1e-4 * share * gain - 1e-13 * abs(value)
            if rises or (gain < NEXT_TO and np.isfinite(reached)):
                break
            share *= 0.5
        else:
            break
        u, look, value = moved, following, reached
    return Mode(at, u, look.eta, look.first, weights, factor, value, number, pulls)


def _newton_step(
    problem: Problem, look: Look, lambdas: tuple[Floats, ...], gradient: Floats
) -> tuple[Floats, Factored | ProbedFactor, Floats]:
    """M^-1 times the gradient; where M is indefinite, the density not log-concave, with the weights cut off.

    At a mode M is positive definite. Elsewhere Newton's step still rises with the weights cut off at zero.
    """
    weights = problem.sums.weights(look)
    try:
        factor = problem.factorize(weights, lambdas)
        # Nothing is factored by the iterative solver: that M is indefinite is seen when it is solved with.
        return weights, factor, factor.solve(gradient)
    except np.linalg.LinAlgError:
        held = problem.sums.held(weights)
        factor = problem.factorize(held, lambdas)
        return held, factor, factor.solve(gradient)


def through(problem: Problem, mode: Mode, effects: Floats) -> Floats:
    """Z'WZ effects (q, m) at a mode: by the pairs of levels that meet, where these were summed up."""
    if isinstance(mode.factor, ProbedFactor):
        return mode.factor.eliminated.products.times(effects)
    return problem.sums.through(mode, effects)


def approximate(problem: Problem, at: At, start: Floats) -> Approximation:
    """The Laplace approximation and its gradient.

    Args:
      problem: the arrays.
      at: the parameters.
      start: (q,) where to start the search for the mode.
    Returns:
      The approximation.
    """
    mode = find_mode(problem, at, start)
    depths = problem.sums.depths(mode, at.own)
    return assemble(problem, mode, depths, problem.marginal.beyond(problem, mode, depths))


def joint_slopes(
    problem: Problem, mode: Mode, depths: Depths, along: Directions | None = None
) -> Beyond:
    """The log joint density at a mode, and its derivatives there, where its slope in the effects is none.

    The second ones are along directions that take the mode along, where an error of that counts by its square.
    """
    u = problem.plan.split(mode.u)
    by_first = problem.plan.split(mode.pulls)
    in_factors = tuple(pull.T @ effects for pull, effects in zip(by_first, u, strict=True))
    information = None
    if along is not None:
        if not len(along.at_mode):
            information, by_own = problem.sums.bent(mode, depths, along.own, along.effects)
        else:
            given = mode.weights, depths.own_first, along.own, along.at_mode
            information, by_own = bent_products(*given)
        across = paired(problem, along, mode.pulls) + by_own
        information += along.moves.T @ along.moves
        information -= across + across.T + along.own.T @ depths.own_own @ along.own
    return Beyond(mode.value, problem.sums.in_beta(mode), in_factors, depths.own, information)


def paired(problem: Problem, along: Directions, pulls: Floats) -> Floats:
    """(m, m) what (q,) pulls say of effects whose Lambda moves along one direction, and that along another."""
    plan, found = problem.plan, np.zeros((along.size, along.size))
    for pull, change, moves in zip(
        plan.split(pulls), along.changes, plan.split(along.moves), strict=True
    ):
        sums = pull.T @ moves.reshape(len(moves), -1)
        found += as_rows(change) @ sums.reshape(-1, along.size)
    return found


def assemble(
    problem: Problem,
    mode: Mode,
    depths: Depths,
    beyond: Beyond,
    along: Directions | None = None,
) -> Approximation:
    """The approximation at a mode, from what it has beyond the log joint density there."""
    has_information = beyond.information is not None
    joint = joint_slopes(problem, mode, depths, along if has_information else None)
    information = None
    if joint.information is not None and beyond.information is not None:
        information = joint.information + beyond.information
    return Approximation(
        value=joint.value + beyond.value,
        in_beta=joint.in_beta + beyond.in_beta,
        in_factors=tuple(
            slope + more for slope, more in zip(joint.in_factors, beyond.in_factors, strict=True)
        ),
        in_own=joint.in_own + beyond.in_own,
        mode=mode,
        depths=depths,
        information=information,
        is_known=beyond.is_known,
    )
