"""A design whose rows stand for several observations each, with a row for each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmeformula.design.design import Design
from lmeformula.design.given import NOTHING
from lmeformula.design.select import select_rows
from lmeformula.design.sizes import MOST_NUMBERS
from lmeformula.errors import FormulaDataError

# Rows that rough values of parameters are worked out from.
MOST_ROUGHLY = 1_000_000


def by_observation(design: Design) -> Design:
    """Repeat each row as often as its frequency says; a design without frequencies stays as it is.

    Args:
      design: with its rows.
    Returns:
      The design of the repeated rows, which are one observation each. Its rows have the places and the labels
      of those that they repeat.
    Raises:
      FormulaDataError: if they would not fit into memory.
    Example:
      >>> from lmeformula.design import design
      >>> data = {"y": [1.0, 2.0, 4.0], "g": [1, 1, 2], "n": [2, 1, 0]}
      >>> made = design("y ~ 1 + (1 | g)", data, frequency="n")
      >>> made.n, made.num_observations, by_observation(made).y.tolist()
      (2, 3, [1.0, 1.0, 2.0])
    """
    if design.frequency is None:
        return design
    columns = design.X.shape[1] + sum(term.values.shape[1] + 1 for term in design.terms)
    if design.num_observations * columns > MOST_NUMBERS:
        raise FormulaDataError(
            f"{design.num_observations:,} observations are too many for a row each",
            hint="What draws single observations, or asks them, takes them one by one; the fit, its errors, "
            "tests, intervals, means and predictions do without.",
        )
    each = np.repeat(np.arange(design.n), design.frequency.astype(np.int64))
    repeated = select_rows(design, each)
    parts = tuple(replace(part, design=_one_each(part.design)) for part in repeated.side_by_side)
    return replace(_one_each(repeated), side_by_side=parts)


def roughly_by_observation(design: Design) -> Design:
    """As `by_observation`, of about so many rows at most, in proportion: for what starts a fit."""
    total = design.num_observations
    if design.frequency is None or total <= MOST_ROUGHLY:
        return by_observation(design)
    fewer = np.ceil(design.frequency * (MOST_ROUGHLY / total))
    return by_observation(replace(design, frequency=fewer))


def _one_each(design: Design) -> Design:
    given = NOTHING._replace(labels=design.given.labels)
    # What the frequency of other data is, must be said again.
    recipe = None if design.recipe is None else replace(design.recipe, frequency=None)
    # There is no table of which these are all rows.
    return replace(design, frequency=None, num_missing=0, given=given, recipe=recipe)
