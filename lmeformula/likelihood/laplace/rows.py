"""Row by row, the log density of the response and its derivatives in the predictor and in own parameters.

The family's own parameters are unconstrained here: what the family gives in their natural values is brought
over by the chain rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.absent import elsewhere
from lmeformula.family import ClosedForm, Depths, Family, Scores, Slopes
from lmeformula.family.counted import counted
from lmeformula.family.own import Scale
from lmeformula.likelihood.laplace.automatic import automatic
from lmeformula.likelihood.laplace.expanded import expanded
from lmeformula.likelihood.laplace.in_blocks import in_blocks
from lmeformula.model.compile import Model
from lmeformula.model.stack import Mixture


class RowDerivatives(NamedTuple):
    """The log density of rows at given responses, as functions.

    Attributes:
      slopes: (linear predictor (n,), unconstrained own parameters (f,)) -> Slopes.
      depths: the same -> Depths.
      scores: the same -> Scores.
      held: weights (n,) -> such as are nowhere negative.
    With several linear predictors all are of stacked rows (v n,); see `lmeformula.model.stack`.
    """

    slopes: Callable[[Floats, Floats], Slopes]
    depths: Callable[[Floats, Floats], Depths]
    scores: Callable[[Floats, Floats], Scores]
    held: Callable[[Floats], Floats]


def _not_here(*given: Floats) -> Any:
    """Derivatives of rows that are with workers."""
    return elsewhere(0) + 0.0


# Of rows that are with workers.
NOT_HERE = RowDerivatives(_not_here, _not_here, _not_here, _not_here)


def row_derivatives(model: Model) -> RowDerivatives:
    """The derivatives of a model's rows: as its family has them written out, or automatic.

    Args:
      model: the model.
    Returns:
      Functions of the linear predictor and of the unconstrained own parameters.
    """
    family, mixture = model.family, model.stack.mixture
    response = family.response(model.design)
    form = stacked_form(family, response, mixture, model.design.frequency)
    return derivatives_of(form, response, model.space.own.scale, mixture)


def derivatives_of(
    form: ClosedForm, response: tuple[Floats, ...], scale: Scale, mixture: Mixture
) -> RowDerivatives:
    """The derivatives of rows with given responses.

    Args:
      form: their derivatives, in natural own parameters; see `stacked_form`.
      response: the response arrays, of `mixture.num_rows` rows.
      scale: of the own parameters.
      mixture: how stacked rows read the predictors.
    """
    k = mixture.num_predictors

    def slopes(eta: Floats, free: Floats) -> Slopes:
        # Far from the mode a density may overflow: such steps are shortened, not warned about.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            return form.slopes(eta, response, scale.to_natural(free))

    def depths(eta: Floats, free: Floats) -> Depths:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            found = form.depths(eta, response, scale.to_natural(free))
            found = found._replace(third=found.third.reshape(len(mixture.readers), k, -1))
            return in_free(found, scale, free) if len(found.own_each) else found

    def scores(eta: Floats, free: Floats) -> Scores:
        if form.scores is None:
            values, first, second = slopes(eta, free)
            first = first[: k * mixture.num_rows]
            own_each = depths(eta, free).own_each if len(free) else np.zeros((0, len(values)))
            return Scores(values, first, own_each, second)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            found = form.scores(eta, response, scale.to_natural(free))
        # What is held has no derivatives.
        jacobian = scale.jacobian(free)
        moved = jacobian.any(axis=1)
        return found._replace(own_each=jacobian[moved].T @ found.own_each[moved])

    return RowDerivatives(slopes, depths, scores, mixture.held)


def in_free(found: Depths, scale: Scale, free: Floats) -> Depths:
    """Derivatives in the unconstrained own parameters from those in their natural values."""
    jacobian, bend = scale.jacobian(free), scale.bend(free, found.own)
    moved = jacobian.any(axis=1)
    if not moved.all():
        # Next to a limit, what is held has derivatives without digits, or none.
        jacobian, squares = jacobian[moved], found.own_own[np.ix_(moved, moved)]
        first, second = found.own_first[moved], found.own_second[moved]
        found = Depths(found.third, found.own_each[moved], squares, first, second)
    return Depths(
        third=found.third,
        own_each=jacobian.T @ found.own_each,
        own_own=jacobian.T @ found.own_own @ jacobian + bend,
        own_first=jacobian.T @ found.own_first,
        own_second=jacobian.T @ found.own_second,
    )


def stacked_form(
    family: Family,
    response: tuple[Floats, ...],
    mixture: Mixture,
    frequency: Floats | None = None,
) -> ClosedForm:
    """The derivatives of a family's rows, as stacked rows (v n,) take them: written out where they are.

    Args:
      family: of K predictors.
      response: its response arrays.
      mixture: how stacked rows read the predictors.
      frequency: (n,) how many observations each row stands for; None for one.
    """
    closed = family.closed if family.closed is not None and family.serves(response) else None
    if closed is not None and mixture.num_predictors == 1:
        closed = in_blocks(closed)
    if closed is not None and frequency is None:
        return closed
    way = automatic if family.series is None else expanded
    if frequency is None:
        return way(family, response, mixture)
    if closed is None:
        return way(counted(family), (*response, frequency), mixture)
    return _counted_form(
        closed, frequency, lambda: way(counted(family), (*response, frequency), mixture)
    )


def _counted_form(
    closed: ClosedForm, frequency: Floats, by_series: Callable[[], ClosedForm]
) -> ClosedForm:
    """Derivatives written out of one observation a row, times frequencies.

    Args:
      closed: of one observation.
      frequency: (n,).
      by_series: what gives all derivatives, times frequencies: second ones in own parameters are written out
        as sums over the rows.
    """

    def slopes(eta: Floats, response: tuple[Floats, ...], own: Floats) -> Slopes:
        return Slopes(*(frequency * each for each in closed.slopes(eta, response, own)))

    def depths(eta: Floats, response: tuple[Floats, ...], own: Floats) -> Depths:
        if len(own):
            found = by_series().depths(eta, response, own)
            return found._replace(third=found.third.reshape(-1))
        return Depths.of_predictor(frequency * closed.depths(eta, response, own).third)

    if closed.scores is None:
        return ClosedForm(slopes, depths)
    of_one = closed.scores

    def scores(eta: Floats, response: tuple[Floats, ...], own: Floats) -> Scores:
        values, first, own_each, second = of_one(eta, response, own)
        second = None if second is None else frequency * second
        return Scores(frequency * values, frequency * first, frequency * own_each, second)

    return ClosedForm(slopes, depths, scores)
