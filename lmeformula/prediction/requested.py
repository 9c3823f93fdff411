"""The rows that are to be predicted, fitted or new ones, and where their answers go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from lmeformula.arrays import Floats, Places
from lmeformula.design.design import Design, NewRows, row_labels
from lmeformula.design.rebuild import rebuild
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.prediction.predictor import check_levels_are_known

NEW_LEVELS = ("error", "population", "sample")


class Requested(NamedTuple):
    """Rows that are asked for.

    Attributes:
      rows: the complete ones, of the fit or new.
      places: (n,) where these are among all that were given.
      index: labels of all.
    """

    rows: Design | NewRows
    places: Places
    index: pd.Index

    def spread_out(self, values: Floats) -> Floats:
        """Numbers of the complete rows (n, ...) in the places of all, with nan for the others."""
        whole = np.full((len(self.index), *values.shape[1:]), np.nan)
        whole[self.places] = values
        return whole

    def check_size(self, count: int, most: int, name: str, what: str) -> None:
        """Refuse more numbers than there is room for.

        Args:
          count: how many are asked for each row.
          most: numbers in all.
          name: of the argument that says how many.
          what: they are.
        Raises:
          ModelError: that says how many there may be.
        """
        num_rows = len(self.index)
        if num_rows * count > most:
            raise ModelError(
                f"{num_rows:,} rows times {count:,} {what} are too many numbers",
                hint=f"Take {name}={max(1, most // num_rows)} or fewer, or some rows at a time.",
            )


def requested(
    fit: FittedModel,
    newdata: object,
    kept: Sequence[bool],
    new_levels: str,
    *,
    groups: bool | tuple[bool, ...] | None = None,
    sizes: bool = False,
    offset: object = None,
    weights: object = None,
) -> Requested:
    """The rows of a fit, or new ones.

    Args:
      fit: a fitted model.
      newdata: a table with the columns that the formula uses; None for the fitted rows.
      kept: whether each random-effects term takes part with the effects of the fit.
      new_levels: one of NEW_LEVELS.
      groups: as in `rebuild`: which terms are built; those that are kept by default.
      sizes, offset, weights: as in `rebuild`.
    Raises:
      FormulaDataError: if `newdata` lacks a column, or has new levels in kept terms that are an "error".
    """
    design = fit.model.design
    if newdata is None:
        return Requested(design, np.arange(design.n), row_labels(design))
    built = tuple(kept) if groups is None else groups
    rows = rebuild(design, newdata, groups=built, sizes=sizes, offset=offset, weights=weights)
    if new_levels == "error":
        check_levels_are_known(rows, kept)
    index = newdata.index if isinstance(newdata, pd.DataFrame) else pd.RangeIndex(rows.num_rows)
    return Requested(rows, rows.rows, index)
