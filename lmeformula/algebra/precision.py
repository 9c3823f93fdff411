"""M = Lambda' Z'WZ Lambda + I, the precision of the spherical effects: what is asked of it, whoever holds it.

It is held in three ways: `small.SmallFactor` as one matrix, `factor.Factor` in blocks, `probed.ProbedFactor` by
products alone, with traces and the determinant from random signs. Who asks does not ask which it is.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, Self

import numpy as np

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.arrays import Floats


class Columns(NamedTuple):
    """Columns c (q, m), and what M^-1 makes of them, such that c'M^-1 c = left'right of the same places.

    Attributes:
      left, right: (q, m) both L^-1 c where M = L L' was factored; c and M^-1 c where it was not.
      solved: (q, m) M^-1 c.
    """

    left: Floats
    right: Floats
    solved: Floats

    def form(self, a: slice | int, b: slice | int) -> Floats:
        """c_a' M^-1 c_b."""
        return np.asarray(self.left[:, a].T @ self.right[:, b])

    def less(self, coefficients: Floats) -> Columns:
        """The last column less the others times coefficients (m - 1,), as vectors (q,)."""
        return Columns(*(part[:, -1] - part[:, :-1] @ coefficients for part in self))


class Precision(Protocol):
    """M, whoever holds it. Q below is Z'V^-1 Z sigma^2 = Z'WZ - Z'WZ Lambda M^-1 Lambda' Z'WZ."""

    @property
    def plan(self) -> Layout:
        """Layout of the effects."""

    @property
    def lambdas(self) -> tuple[Floats, ...]:
        """The factor Lambda (k, k) of each term, in formula order."""

    @property
    def log_det(self) -> float:
        """log |M|."""

    def solve_columns(self, right: Floats) -> tuple[Self, Columns]:
        """Solve for right (q, m); with M, which may know more afterwards."""

    def inverse_blocks(self) -> tuple[Floats, ...]:
        """(l, k, k) diagonal blocks of M^-1 of each term, in formula order."""

    def log_det_slopes(self) -> tuple[Floats, ...]:
        """d log |M| / 2 d Lambda: (k, k) of each term."""

    def fit_slopes(self, u: Floats, w: Floats) -> tuple[Floats, ...]:
        """w'u (k, k) of each term, of the modes u = Lambda'w, from the one that has more digits."""

    def effects(self, u: Floats, w: Floats) -> tuple[Floats, ...]:
        """(l, k) of each term, Lambda u, from the one of u and w that has more digits."""

    def effect_blocks(self) -> tuple[Floats, ...]:
        """(l, k, k) diagonal blocks of Lambda M^-1 Lambda' of each term."""

    def outer_form(self, directions: Floats) -> Floats:
        """(t, t) a'Q a for a (q, t)."""


class ByModes:
    """What is read off the modes u, where these have as many digits as w."""

    def fit_slopes(self: Precision, u: Floats, w: Floats) -> tuple[Floats, ...]:
        """w'u (k, k) of each term."""
        return tuple(a.T @ b for a, b in zip(self.plan.split(w), self.plan.split(u), strict=True))

    def effects(self: Precision, u: Floats, w: Floats) -> tuple[Floats, ...]:
        """(l, k) Lambda u of each term."""
        return self.plan.split(apply_lambda(self.plan, self.lambdas, u))

    def effect_blocks(self: Precision) -> tuple[Floats, ...]:
        """(l, k, k) diagonal blocks of Lambda M^-1 Lambda' of each term."""
        return tuple(
            factor @ block @ factor.T
            for factor, block in zip(self.lambdas, self.inverse_blocks(), strict=True)
        )


class OuterTraces(NamedTuple):
    """tr(Q T_i Q T_j) (t in all, t in all); (k, k) sums of Q's diagonal blocks over each term's levels."""

    traces: Floats
    sums: tuple[Floats, ...]


class Exact(Precision, Protocol):
    """M where nothing of it is an estimate."""

    def outer_traces(self, changes: tuple[Floats, ...]) -> OuterTraces:
        """For symmetric changes T (t, k, k) of each term; the sums come along."""

    def outer_sums(self) -> tuple[Floats, ...]:
        """(k, k) sums of the diagonal blocks of Q over each term's levels."""
