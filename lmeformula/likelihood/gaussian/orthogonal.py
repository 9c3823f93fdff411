"""Cross products of columns of random effects that are far from their origin, of orthogonal columns instead.

A slope column of years has an intercept's column nearly as a multiple: what its effects and the intercepts' do
together is a small difference of what each does, and sums of squares of such columns have half of its digits.
The covariance of the coefficients of orthogonal columns of the same span has them all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg as sl

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.meetings import find_meetings
from lmeformula.algebra.small import dense_products
from lmeformula.arrays import Floats
from lmeformula.likelihood.gaussian.sums import Sums
from lmeformula.likelihood.singular import column_root

# Columns that keep less than this share of their squares beside the others of their term are made orthogonal.
FAR = 1e-3


class Orthogonal(NamedTuple):
    """Sums of other columns of the same span.

    Attributes:
      data: cross products; those that there were where no term needs others.
      turns: (k, k) of each term, or none where the columns are the same: it times a factor of the old ones is
        one of the new ones.
    """

    data: Sums
    turns: tuple[Floats, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether no term needs other columns."""
        return not self.turns

    def factors(self, lambdas: tuple[Floats, ...]) -> tuple[Floats, ...]:
        """Factors (k, k), or their changes (t, k, k), of the new columns."""
        if self.is_same:
            return lambdas
        return tuple(turn @ factor for turn, factor in zip(self.turns, lambdas, strict=True))

    def slopes(self, slopes: tuple[Floats, ...]) -> tuple[Floats, ...]:
        """Derivatives (k, k) in the old factors from those in the new ones."""
        if self.is_same:
            return slopes
        return tuple(turn.T @ slope for turn, slope in zip(self.turns, slopes, strict=True))

    def pulls(self, pulls: tuple[Floats, ...]) -> tuple[Floats, ...]:
        """Derivatives (k, k) in the old covariances from those in the new ones."""
        if self.is_same:
            return pulls
        return tuple(turn.T @ pull @ turn for turn, pull in zip(self.turns, pulls, strict=True))

    def effects(
        self, modes: tuple[Floats, ...], covariances: tuple[Floats, ...]
    ) -> tuple[tuple[Floats, ...], tuple[Floats, ...]]:
        """Effects (l, k) of the old columns and their covariances (l, k, k), from those of the new ones."""
        if self.is_same:
            return modes, covariances
        back = [sl.solve_triangular(turn, np.eye(len(turn)), lower=True) for turn in self.turns]
        return (
            tuple(own @ turn.T for own, turn in zip(modes, back, strict=True)),
            tuple(turn @ own @ turn.T for own, turn in zip(covariances, back, strict=True)),
        )


def orthogonal(data: Sums) -> Orthogonal:
    """Take orthogonal columns where a term has some that are far from their origin.

    Args:
      data: cross products of the design.
    Returns:
      The sums to work with.
    """
    turns = tuple(_turn(products) for products in data.mean_products())
    if all(turn is None for turn in turns):
        return Orthogonal(data)
    whole = tuple(
        np.eye(k) if turn is None else turn
        for turn, (_, k) in zip(turns, data.plan.sizes, strict=True)
    )
    plan = _turned(data.plan, whole)
    root = data.rows_here.root
    weights = np.ones(data.n) if root is None else root**2
    products = find_meetings(plan).products(weights)
    rows = data.rows_here
    new = data._replace(
        plan=plan,
        products=products,
        ZQ=rows.gather(plan, rows.Q),
        Zy=rows.gather(plan, rows.residual[:, None])[:, 0],
        dense=None if data.dense is None else dense_products(plan, products),
    )
    return Orthogonal(new, whole)


def _turn(products: Floats) -> Floats | None:
    """(k, k) lower triangular, by whose inverse columns become orthogonal; None where they are well apart."""
    root = column_root(products)
    scale = np.sqrt(np.diag(products))
    is_far = bool((np.diag(root) ** 2 < FAR * scale**2).any())
    return root if is_far else None


def _turned(plan: Layout, turns: tuple[Floats, ...]) -> Layout:
    matrices = []
    for j, turn in enumerate(turns):
        solved = sl.solve_triangular(turn, plan.values(j).T, lower=True, trans="T").T
        matrices.append(plan.of_columns(j, solved))
    return plan.with_matrices(tuple(matrices))
