"""Directions of the parameters in which a likelihood is looked at, with effects that move along."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.arrays import Floats


class Directions(NamedTuple):
    """Directions of the parameters, with effects that move along.

    Attributes:
      predictors: (v n, m) how the rows' predictors move with the fixed effects, and with effects that do.
      changes: (m, k, k) how each term's Lambda moves.
      own: (f, m) how the family's own parameters do.
      moves: (q, m) how the spherical effects do.
      is_rough: whether an information along them is for the way to a maximum, and not for errors there.
    """

    predictors: Floats
    changes: tuple[Floats, ...]
    own: Floats
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
    plan: Layout,
    X: Floats,
    lambdas: tuple[Floats, ...],
    changes: tuple[Floats, ...],
    moves: Floats,
    places: Places,
    ways: Floats | None = None,
) -> Directions:
    """Directions of the parameters in which modes move along.

    Args:
      plan: layout of the effects.
      X: (v n, p) columns of the fixed effects.
      lambdas: (k, k) factor of each term.
      changes: (t, k, k) derivatives of each Lambda in its parameters.
      moves: (d, q) derivatives of the mode in all parameters.
      places: where which parameters stand.
      ways: (d, m) combinations of parameters; each by itself by default.
    """
    d, p = len(moves), X.shape[1]
    predictors = plan.spread(apply_lambda(plan, lambdas, moves.T))
    predictors[:, :p] += X
    turned = []
    for change, where in zip(changes, places.factors, strict=True):
        turned.append(np.zeros((d, *change.shape[1:])))
        turned[-1][where] = change
    own = np.eye(d)[places.own]
    if ways is None:
        return Directions(predictors, tuple(turned), own, moves.T)
    return Directions(
        predictors @ ways,
        tuple(np.tensordot(ways.T, change, 1) for change in turned),
        own @ ways,
        moves.T @ ways,
    )
