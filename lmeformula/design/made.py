"""Second stage: what a design knows of its making: how, and of which rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmeformula.design.design import Design
from lmeformula.design.recipe import Recipe
from lmeformula.errors import FormulaDataError

if TYPE_CHECKING:
    import pandas as pd


def recipe_of(design: Design) -> Recipe:
    """How a design was made.

    Raises:
      FormulaDataError: if it was put together by hand.
    """
    if design.recipe is None:
        raise FormulaDataError(
            "this design was put together by hand, and does not know how its columns were made",
            hint="Make it with lf.design(formula, data).",
        )
    return design.recipe


def row_labels(design: Design) -> pd.Index:
    """The labels of the rows that a design uses: those of its data frame, or else their places.

    Args:
      design: of a fit.
    """
    import pandas as pd

    if design.given.labels is None:
        return pd.Index(design.rows)
    return design.given.labels[design.rows]
