"""Directions of the parameters in which a likelihood is looked at, with effects that move along."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.arrays import Floats
from lmeformula.likelihood.laplace.row_sums import RowsHere


class Directions(NamedTuple):
    """Directions of the parameters, with effects that move along.

    Attributes:
      predictors: (v n, m) how the rows' predictors move with the fixed effects, and with effects that do; none
        where sums over the rows are all that is asked for.
      at_mode: (v n, m) how they move in all, with each Lambda as well, where the effects are the mode; or
        none.
      effects: (q, m) how effects move in all, on the predictors' scale.
      changes: (m, k, k) how each term's Lambda moves.
      own: (f, m) how the family's own parameters do.
      beta: (p, m) how the fixed effects do.
      moves: (q, m) how the spherical effects do.
      is_rough: whether an information along them is for the way to a maximum, and not for errors there.
    """

    predictors: Floats
    at_mode: Floats
    effects: Floats
    changes: tuple[Floats, ...]
    own: Floats
    beta: Floats
    moves: Floats
    is_rough: bool = False

    @property
    def size(self) -> int:
        """m, the number of directions."""
        return int(self.moves.shape[1])


class Places(NamedTuple):
    """Where parameters stand in a vector that begins with the fixed effects.

    Attributes:
      own: the family's own parameters.
      factors: those of each term's factor.
    """

    own: slice
    factors: tuple[slice, ...]


def directions(
    rows: RowsHere | None,
    plan: Layout,
    lambdas: tuple[Floats, ...],
    u: Floats,
    changes: tuple[Floats, ...],
    moves: Floats,
    places: Places,
) -> Directions:
    """The directions of single parameters, in which modes move along.

    Args:
      rows: whose predictors are asked for, each by itself; None where sums over them will do.
      plan: layout of the effects.
      lambdas: (k, k) factor of each term.
      u: (q,) the mode.
      changes: (t, k, k) derivatives of each Lambda in its parameters.
      moves: (d, q) derivatives of the mode in all parameters.
      places: where which parameters stand.
    """
    d = len(moves)
    turned, effects = [], []
    for change, where, own in zip(changes, places.factors, plan.split(u), strict=True):
        turned.append(np.zeros((d, *change.shape[1:])))
        turned[-1][where] = change
        effects.append(np.einsum("dab,lb->lad", turned[-1], own))
    along = apply_lambda(plan, lambdas, moves.T)
    whole = along + plan.join(tuple(effects))
    predictors = at_mode = np.empty((0, d))
    if rows is not None:
        predictors, at_mode = rows.directed(along), rows.directed(whole)
    unit, count = np.eye(d), sum(map(len, changes)) + places.own.stop - places.own.start
    return Directions(
        predictors, at_mode, whole, tuple(turned), unit[places.own], unit[: d - count], moves.T
    )
