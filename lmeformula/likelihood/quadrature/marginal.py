"""Effects integrated out by quadrature: the log-likelihood itself, where blocks of effects are small."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import Layout, layout
from lmeformula.arrays import Floats, Ints
from lmeformula.errors import ModelError
from lmeformula.family import Depths
from lmeformula.likelihood.laplace.determinant import Determinant
from lmeformula.likelihood.laplace.directions import Directions
from lmeformula.likelihood.laplace.likelihood import (
    Beyond,
    Marginal,
    Method,
    Mode,
    Problem,
    find_mode,
    joint_slopes,
)
from lmeformula.likelihood.laplace.row_sums import At
from lmeformula.likelihood.quadrature.blocks import blocks_of
from lmeformula.likelihood.quadrature.integral import SETTLED, Integral, integrate
from lmeformula.likelihood.quadrature.integrand import Integrand, integrand
from lmeformula.likelihood.quadrature.nodes import NUMS_NODES, WIDEST
from lmeformula.model.compile import Model

# The next fewer nodes do where half of those that there are change little: the logarithm of that goes as their
# number, with room.
ROOM = 1.07
# Densities of rows that are evaluated in one go.
FEW = 50_000
# Densities of rows that an evaluation begins with, of one and of two effects a block: more take too long.
MOST_DENSITIES = {1: 22_400_000, 2: 2_000_000}
# An ascent ends where it has taken so many, or as many as so many evaluations like the first take: on the way
# to standard deviations without end blocks need ever more nodes.
MOST_WORK, MOST_EVALUATIONS = 100_000_000, 100
# Or where it has come so often to where the likelihood is not known, and not back to where so many nodes fewer
# than the most are enough.
MOST_UNKNOWN, WELL_INSIDE = 10, 2
# Parameters are the same where they differ by no more, relatively: on other scales they are rounded otherwise.
# Around modes as near as that to each other integrals are the same.
SAME, AS_NEAR = 1e-13, 1e-7
# Effects that no predictor has more of than this, next to a standard deviation of zero, have the density of
# their prior: an integral adds some fourth power of it to Laplace's approximation.
NOTHING = 1e-4


class Known(NamedTuple):
    """An integral that was worked out: around which mode, and what columns (v n, p) its slopes are of."""

    X: Floats
    mode: Mode
    integral: Integral

    def is_of(self, mode: Mode) -> bool:
        """Whether it is that around another mode: of the same parameters, and there, but for rounding."""
        if self.mode is mode:
            return True
        one, other = self.mode.at, mode.at
        pairs = zip(
            (one.beta, *one.lambdas, one.own), (other.beta, *other.lambdas, other.own), strict=True
        )
        is_there = all((np.abs(a - b) <= SAME * np.abs(b)).all() for a, b in pairs)
        return is_there and bool(np.abs(self.mode.u - mode.u).max(initial=0.0) < AS_NEAR)


class Begun(NamedTuple):
    """What an integral begins with, and what those before it took.

    Attributes:
      first: (l,) place of each block's number of nodes to begin with; None for the first integral.
      work, most_work: of all of them, and the most that there is to be.
      num_unknown: how often the likelihood was not known on end, and not back well inside.
      last: the integral that was asked for last, but for those beside it.
    """

    first: Ints | None = None
    work: float = 0.0
    most_work: float = 0.0
    num_unknown: int = 0
    last: Known | None = None


class Quadrature:
    """The integral over each block, around its mode; see `Marginal`.

    Each block begins with as many nodes as it took the last time, or the next fewer where these did too well.

    Args:
      of: what is integrated.
    """

    method: Method = "quadrature"
    is_exact = True

    def __init__(self, of: Integrand) -> None:
        self.integrand = of
        self.held = Begun(most_work=float(MOST_WORK))
        self._determinant = Determinant.of(of.model, of.plan)

    @classmethod
    def of(cls, model: Model, plan: Layout) -> Quadrature:
        """That of a model whose blocks are small."""
        found = integrand(model, plan)
        assert found is not None, "blocks of this model are too large"
        return cls(found)

    def integral(self, problem: Problem, mode: Mode, along: Directions | None = None) -> Integral:
        """The log-likelihood, from nodes around a mode; as it was, of the mode that was asked for last."""
        last = self.held.last
        if last is not None and along is None and last.X is problem.X and last.is_of(mode):
            return last.integral
        found = self._integral(problem, mode, along)
        self.held = self.held._replace(last=Known(problem.X, mode, found))
        return found

    def _integral(self, problem: Problem, mode: Mode, along: Directions | None) -> Integral:
        held = problem.rows.held(mode.weights)
        found = integrate(
            self.integrand, mode.at, problem.X, mode.u, held, first=self.held.first, along=along
        )
        before = self.held
        work = self.integrand.work(found.numbers)
        most_work = max(before.most_work, 0.0 if before.work else MOST_EVALUATIONS * work)
        fewer = len(NUMS_NODES[self.integrand.width]) - 1 - WELL_INSIDE
        is_inside = found.is_known and found.numbers.max(initial=0) < fewer
        num_unknown = 0 if is_inside else before.num_unknown + (not found.is_known)
        first = found.numbers - (found.changes < _too_good(self.integrand.width)[found.numbers])
        most = first.max(initial=0)
        # Few densities take no longer than the calls for them: all blocks go at once.
        first = np.full_like(first, most) if self.integrand.densities(most) <= FEW else first
        self.held = Begun(first, before.work + work, most_work, num_unknown, before.last)
        return found

    @property
    def is_spent(self) -> bool:
        """Whether it has taken as much work as an ascent is worth."""
        held = self.held
        return held.work > held.most_work or held.num_unknown >= MOST_UNKNOWN

    def noted(self, before: Begun) -> Begun:
        """See `Memory`: what it is about, and not what came of it."""
        return before._replace(last=None)

    def beyond(
        self, problem: Problem, mode: Mode, depths: Depths, along: Directions | None = None
    ) -> Beyond:
        """See `Marginal`."""
        if np.abs(self.integrand.loads(mode.at.lambdas)).max(initial=0.0) < NOTHING:
            return self._determinant.beyond(problem, mode, depths, along)
        return _beyond(problem, mode, depths, self.integral(problem, mode, along), along)

    def bends_along(self, num_directions: int) -> bool:
        """See `Marginal`."""
        return True

    def added(self, problem: Problem, mode: Mode) -> float:
        """See `Marginal`."""
        return self.integral(problem, mode).value - mode.value

    def near(self, problem: Problem, at: At, u: Floats) -> Beyond:
        """See `Marginal`."""
        mode = find_mode(problem, at, u)
        depths = problem.rows.depths(mode.eta, at.own)
        return _beyond(problem, mode, depths, self._integral(problem, mode, None), None)

    def effects(
        self, problem: Problem, mode: Mode
    ) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
        """See `Marginal`: their means and covariances given the data."""
        last, of = self.held.last, self.integrand
        # These do not hang on the columns of the fixed effects.
        is_known = last is not None and last.is_of(mode)
        found = last.integral if last is not None and is_known else self.integral(problem, mode)
        # An effect that blocks share is the same in each.
        block = np.empty(of.plan.num_effects, np.int64)
        for place in range(of.width):
            has = of.effects[:, place] >= 0
            block[of.effects[has, place]] = np.flatnonzero(has)
        modes, covariances = [], []
        for j, factor in enumerate(mode.at.lambdas):
            levels, k = of.plan.sizes[j]
            mine = np.arange(levels * k).reshape(levels, k) + of.plan.starts[j]
            blocks, local = block[mine], of.local[mine]
            own = found.covariances[blocks[:, :, None], local[:, :, None], local[:, None, :]]
            modes.append(found.means[blocks, local] @ factor.T)
            covariances.append(factor @ own @ factor.T)
        return tuple(modes), tuple(covariances)


def _beyond(
    problem: Problem, mode: Mode, depths: Depths, found: Integral, along: Directions | None
) -> Beyond:
    """What an integral has beyond the log joint density at the mode."""
    joint = joint_slopes(problem, mode, depths, along)
    information = None
    if found.information is not None and joint.information is not None:
        information = found.information - joint.information
    return Beyond(
        found.value - joint.value,
        found.in_beta - joint.in_beta,
        tuple(a - b for a, b in zip(found.in_factors, joint.in_factors, strict=True)),
        found.in_own - joint.in_own,
        information,
        found.is_known,
    )


@cache
def _too_good(width: int) -> Floats:
    """What half of so many nodes change at most where the next fewer do; nothing at the fewest."""
    spaces = np.array(NUMS_NODES[width], float) - 1.0
    return np.append(0.0, SETTLED ** (ROOM * spaces[1:] / spaces[:-1]))


# How effects are integrated out, by the name of the method.
MARGINALS: dict[str, type[Marginal]] = {way.method: way for way in (Determinant, Quadrature)}


def check_blocks(model: Model) -> None:
    """Refuse a model whose blocks of effects are too large for quadrature.

    Raises:
      ModelError: that says how large they are.
    """
    plan = layout(model.stack.terms)
    if integrand(model, plan) is None:
        if plan.is_general:
            raise ModelError(
                "quadrature is for effects that do not hang together, and levels that are related, or share "
                "rows, do",
                hint='Use method="laplace".',
            )
        widest = blocks_of(model, plan).widest
        raise ModelError(
            f"quadrature is for random effects of which at most {WIDEST} hang together, as those of a level "
            "of one grouping factor, or for one effect a level of two nested factors; here "
            f"{widest:,} hang together",
            hint='Use method="mcem", which crossed factors take; or method="laplace".',
        )


def reaches(model: Model) -> bool:
    """Whether quadrature integrates a model's effects in reasonable time."""
    found = integrand(model, layout(model.stack.terms))
    return found is not None and found.densities() <= MOST_DENSITIES[found.width]
