"""Rows of a Gaussian model in parts: sums over them, and columns that stay with them.

A part holds, by these names: "plan", its layout; "regression", its `Rows`; "left", what effects leave of both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.shared import added
from lmeformula.arrays import Floats
from lmeformula.likelihood.gaussian.from_residuals import Rows
from lmeformula.rows.parts import Part, Shards


class SharedRows(NamedTuple):
    """What rows in parts have, beyond their cross products; see `Rows`.

    Attributes:
      shards: the rows.
      plan: layout of the effects.
      size: root sum of squares of the responses.
      yy: sum of squares of the residuals of the regression.
    """

    shards: Shards
    plan: Layout
    size: float
    yy: float

    def columns(self, plan: Layout) -> SharedColumns:
        """Q and the residuals, side by side."""
        self.shards.parts.keep("left", _both)
        return SharedColumns(self.shards, plan)


class SharedColumns:
    """Columns that stay with the rows; see `Columns`. Of one set of rows the last made is there."""

    def __init__(self, shards: Shards, plan: Layout) -> None:
        self._shards, self._plan = shards, plan

    def gather(self) -> Floats:
        """See `Columns`."""
        return gathered(self._shards, self._plan, self._shards.parts.ask(_gathered))

    def less(self, effects: Floats) -> SharedColumns:
        """See `Columns`."""
        lead, rest = self._plan.lead, [self._plan.split(effects)[j] for j in self._plan.rest]
        own = self._plan.split(effects)[lead]
        self._shards.parts.keep(
            "left", _less, rest, each=[[own[place] for place in self._shards.places]]
        )
        return self

    def gram(self) -> Floats:
        """See `Columns`."""
        return added(self._shards.parts.ask(_gram))

    def along(self, combination: Floats) -> tuple[float, Floats]:
        """See `Columns`."""
        found = self._shards.parts.ask(_along, combination)
        return sum(square for square, _ in found), added([own for _, own in found])


def gathered(shards: Shards, plan: Layout, answers: list[tuple[Floats, ...]]) -> Floats:
    """(q, m) of all parts' effects, from (l, k, m) arrays of each part's terms, in formula order."""
    found = []
    for j, own in enumerate(zip(*answers, strict=True)):
        found.append(np.concatenate(own) if j == shards.lead else added(list(own)))
    return plan.join(tuple(found))


def _both(part: Part) -> tuple[Floats, None]:
    """Q and the residuals of a part, side by side, to be held as "left"."""
    rows: Rows = part.held["regression"]
    return np.column_stack([rows.Q, rows.residual]), None


def _gathered(part: Part) -> tuple[Floats, ...]:
    """(l, k, m) Z' times what is left, of each term of a part."""
    rows: Rows = part.held["regression"]
    plan: Layout = part.held["plan"]
    return plan.split(rows.gather(plan, part.held["left"]))


def _less(part: Part, rest: list[Floats], lead: Floats) -> tuple[Floats, None]:
    rows: Rows = part.held["regression"]
    plan: Layout = part.held["plan"]
    own = dict(zip(plan.rest, rest, strict=True)) | {plan.lead: lead}
    effects = plan.join(tuple(own[j] for j in range(len(own))))
    return _both(part)[0] - rows.spread(plan, effects), None


def _gram(part: Part) -> Floats:
    left: Floats = part.held["left"]
    return left.T @ left


def _along(part: Part, combination: Floats) -> tuple[float, Floats]:
    left: Floats = part.held["left"]
    found = left @ combination
    return float(found @ found), left.T @ found
