"""Rows in parts, with whoever has them: what the Laplace approximation asks of them; see `RowSums`.

Vectors of effects go to the parts, each the lead term's levels that are its own, and sums come back. What has a
number for each row stays there, under these names, each worked out from those before it:

    stack, plan, Q, rows    the model's arrays, their orthogonal columns, derivatives of the log density
    look                    predictors at some effects, with the derivatives there
    products                Z'WZ there, and the weights W beside it
    depths                  further derivatives
    fixed, leverages        see `SharedProducts`

Here are stand-ins for them, which know where they were looked at: what was looked at elsewhere since is looked
at again. So any number of models may ask the same parts in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.orthogonal import orthogonal
from lmeformula.algebra.shared import (
    SharedProducts,
    added,
    lay_out,
    lead_places,
)
from lmeformula.arrays import Floats
from lmeformula.design.absent import WITH_WORKERS, AbsentRows, elsewhere
from lmeformula.family import Depths, Family
from lmeformula.family.own import Scale
from lmeformula.likelihood.laplace import asked_rows as asked
from lmeformula.likelihood.laplace.likelihood import Mode, Problem
from lmeformula.likelihood.laplace.row_sums import (
    At,
    Deeper,
    Look,
    Seen,
    Weighted,
)
from lmeformula.model.compile import Model
from lmeformula.rows.parts import Parts, Shards

# What is held at a look, and has to be made again with it.
OF_A_LOOK = ("products", "depths", "fixed", "leverages")


class Rule(NamedTuple):
    """How rows have log densities: the family, and the scale of its own parameters."""

    family: Family
    scale: Scale


class Place(AbsentRows):
    """Stands for the predictors of rows that were looked at.

    Attributes:
      of: who looked.
      at, u: where.
      value: the log density of all rows.
      pulls: (q,) Z' of the first derivatives.
    """

    __slots__ = ("at", "of", "pulls", "u", "value")

    def __init__(self, of: SharedRows, at: At, u: Floats) -> None:
        super().__init__((of.num_rows,), WITH_WORKERS)
        self.of, self.at, self.u = of, at, u
        self.value, self.pulls = np.nan, np.empty(0)


class Weights(AbsentRows):
    """Stands for the weights of rows at a place, or for such as are nowhere negative."""

    __slots__ = ("is_held", "place")

    def __init__(self, place: Place, is_held: bool) -> None:
        super().__init__(place.shape, WITH_WORKERS)
        self.place, self.is_held = place, is_held


class SharedRows(NamedTuple):
    """See the module, and `RowSums`.

    Attributes:
      shards: the rows.
      plan: layout of all effects.
      rule: of their densities.
      num_rows: of the stack.
      columns: "X" for the model's own fixed columns, or "Q".
    """

    shards: Shards
    plan: Layout
    rule: Rule
    num_rows: int
    columns: str = "X"

    def look(self, at: At, u: Floats) -> Look:
        """See `RowSums`."""
        place: Any = Place(self, at, u)
        self._go_to(place)
        nothing = elsewhere(self.num_rows)
        return Look(place, nothing, nothing, place.value)

    def ahead(self, look: Look, at: At, step: Floats) -> Callable[[float, Floats], Look]:
        """See `RowSums`: nothing is added up there, and a part that is lost is made from one look."""
        return lambda share, u: self.look(at, u)

    def pulls(self, there: Seen) -> Floats:
        """See `RowSums`."""
        return _place(there).pulls

    def weights(self, look: Look) -> Floats:
        """See `RowSums`."""
        return _typed(Weights(_place(look), False))

    def held(self, weights: Floats) -> Floats:
        """See `RowSums`."""
        return _typed(Weights(_weights(weights).place, True))

    def in_beta(self, there: Seen) -> Floats:
        """See `RowSums`."""
        self._go_to(_place(there))
        return added(self.shards.parts.ask(asked.in_beta, self.columns))

    def depths(self, there: Seen, own: Floats) -> Depths:
        """See `RowSums`; derivatives in own parameters are sums (f, 1) already."""
        own_each, own_own = self._deep(_place(there))
        rows = elsewhere(len(own_own), self.num_rows)
        return Depths(elsewhere(self.num_rows), own_each[:, None], own_own, rows, rows)

    def products(self, weights: Floats) -> SharedProducts:
        """Z'WZ."""
        given = _weights(weights)
        told = self._weigh(given)
        return SharedProducts(self.shards, self.plan, told, lambda: self._weighed(given))

    def through(self, there: Weighted, effects: Floats) -> Floats:
        """See `RowSums`."""
        self._weighed(_weights(there.weights))
        rest, lead = self._cut(effects)
        return self._gathered(self.shards.parts.ask(asked.through, rest, each=[lead]))

    def complete(self, there: Weighted, depths: Depths) -> tuple[Floats, Floats]:
        """See `RowSums`."""
        self.ready(there)
        found = self.shards.parts.ask(asked.complete, self.columns)
        return self._gathered([each for each, _ in found]), added(own for _, own in found)

    def deeper(self, there: Weighted, depths: Depths, leverages: Floats) -> Deeper:
        """See `RowSums`."""
        self.ready(there)
        assert self.shards.held.get("leverages") is leverages
        return self._together(self.shards.parts.ask(asked.deeper, self.columns))

    def along(self, there: Weighted, depths: Depths, effects: Floats) -> Deeper:
        """See `RowSums`."""
        self.ready(there)
        rest, lead = self._cut(effects)
        return self._together(self.shards.parts.ask(asked.along, self.columns, rest, each=[lead]))

    def bent(
        self, there: Weighted, depths: Depths, own: Floats, effects: Floats
    ) -> tuple[Floats, Floats]:
        """See `RowSums`."""
        self.ready(there)
        rest, lead = self._cut(effects)
        found = self.shards.parts.ask(asked.bent, self.columns, own, rest, each=[lead])
        return added(squares for squares, _ in found), added(by_own for _, by_own in found)

    def with_rows(self) -> SharedRows:
        """The same, whose parts know the density."""
        held = self.shards.held
        known = held.get("rows")
        if known is None or known.family is not self.rule.family or known.scale != self.rule.scale:
            self.shards.parts.keep("rows", asked.rows, *self.rule)
            held["rows"] = self.rule
            _forget(held, ("look", *OF_A_LOOK))
        return self

    def _go_to(self, place: Place) -> None:
        """Let the parts hold the rows at a place."""
        held = self.shards.held
        if held.get("look") is place:
            return
        place.of.with_rows()
        effects = apply_lambda(self.plan, place.at.lambdas, place.u)
        rest, lead = self._cut(effects)
        found = self.shards.parts.keep(
            "look", asked.look, place.of.columns, place.at.beta, place.at.own, rest, each=[lead]
        )
        held["look"] = place
        _forget(held, OF_A_LOOK)
        place.value = sum(value for value, _ in found)
        place.pulls = self._gathered([pulls for _, pulls in found])

    def _weigh(self, weights: Weights) -> list[tuple[Floats, tuple[Floats, ...]]]:
        self._go_to(weights.place)
        told = self.shards.parts.keep("products", asked.weigh, weights.is_held)
        self.shards.held["products"] = weights
        _forget(self.shards.held, ("fixed", "leverages"))
        return told

    def _weighed(self, weights: Weights) -> None:
        """Let the parts hold products by these weights."""
        held: Any = self.shards.held.get("products")
        is_there = held is not None and held.place is weights.place
        if not is_there or held.is_held != weights.is_held:
            self._weigh(weights)

    def _deep(self, place: Place) -> tuple[Floats, Floats]:
        """Let the parts hold the further derivatives at a place; what is summed of them comes back."""
        self._go_to(place)
        known = self.shards.held.get("depths")
        if known is None:
            found = self.shards.parts.keep("depths", asked.depths, place.at.own)
            known = added(own for own, _ in found), added(square for _, square in found)
            self.shards.held["depths"] = known
        own_each, own_own = known
        return own_each, own_own

    def ready(self, there: Weighted) -> None:
        """Let the parts hold all of a mode."""
        weights = _weights(there.weights)
        self._weighed(weights)
        self._deep(weights.place)

    def _cut(self, effects: Floats) -> tuple[Floats, list[Floats]]:
        """Effects (q,) or (q, m) of the rest, and the lead term's of each part."""
        return effects[self.plan.lead_size :], [
            effects[place] for place in lead_places(self.shards, self.plan)
        ]

    def _together(self, answers: list[Deeper]) -> Deeper:
        """What all parts say of moving predictors, from what each does."""
        return Deeper(
            self._gathered([each.pulls for each in answers]),
            added(each.in_beta for each in answers),
            added(each.in_own for each in answers),
        )

    def _gathered(self, answers: list[Floats]) -> Floats:
        """(q,) or (q, m) of all parts' effects, from each part's, whose lead term is its own."""
        size = self.plan.lead_size
        tops = []
        for place, each in zip(lead_places(self.shards, self.plan), answers, strict=True):
            tops.append(each[: place.stop - place.start])
        rest = [each[len(top) :] for each, top in zip(answers, tops, strict=True)]
        found = np.empty((self.plan.num_effects, *answers[0].shape[1:]))
        found[:size], found[size:] = np.concatenate(tops), added(rest)
        return found


def shared_rows(model: Model, shards: Shards) -> SharedRows:
    """What is asked of a model's rows in parts."""
    held, units = shards.held, tuple(map(float, model.units))
    if held.get("stack") != units:
        sizes = shards.parts.keep("stack", asked.stacked, units)
        held["stack"], held["size"] = units, sum(sizes)
        held["plan"] = lay_out(shards, asked.terms)
        _forget(held, ("Q", "rows", "look", *OF_A_LOOK))
    rule = Rule(model.family, model.space.own.scale)
    return SharedRows(shards, held["plan"], rule, held["size"])


def in_orthogonal_columns(rows: SharedRows) -> tuple[SharedRows, Floats]:
    """The same with the orthogonal columns Q of X = Q R, and R; see `Stack.orthogonal`."""
    shards, held = rows.shards, rows.shards.held
    if "Q" not in held:
        corners = shards.parts.keep("Q", asked.own_columns)
        mixed: list[Floats | None] = [None] * len(corners)
        R = corners[0]
        if len(corners) > 1:
            Q, R = orthogonal(np.concatenate(corners))
            mixed = list(np.split(Q, np.cumsum([len(corner) for corner in corners])[:-1]))
        shards.parts.keep("mixed", asked.mixed, R, each=[mixed])
        held["Q"] = R
    return rows._replace(columns="Q"), held["Q"]


def of_parts(problem: Problem, mode: Mode) -> Parts:
    """The parts of a problem's rows, which hold all of a mode, with the names above and "weights"."""
    rows = problem.elsewhere
    assert isinstance(rows, SharedRows)
    rows.ready(mode)
    return rows.shards.parts


def _forget(held: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        held.pop(name, None)


def _typed(rows: Any) -> Floats:
    """What stands for an array of rows, where one is asked for."""
    found: Floats = rows
    return found


def _place(there: Seen) -> Place:
    place: Any = there.eta
    assert isinstance(place, Place)
    return place


def _weights(weights: Any) -> Weights:
    assert isinstance(weights, Weights)
    return weights
