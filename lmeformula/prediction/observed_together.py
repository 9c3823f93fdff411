"""What is known of the data that one linear predictor is of, or several together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lmeformula.design.design import Design
from lmeformula.design.observed import Observed, ObservedColumn
from lmeformula.errors import ModelError
from lmeformula.formula.ir import Term, TermSum


def observed_of(design: Design) -> Observed:
    """The summary of the data that a design kept.

    Args:
      design: of one linear predictor.
    Raises:
      ModelError: if there is none, as in a design that was put together by hand.
    """
    recipe = design.recipe
    if recipe is None or recipe.observed is None:
        raise ModelError(
            "the design has no summary of its data, which reference grids are made from",
            hint="Make the design with lf.design(formula, data), and fit that.",
        )
    return recipe.observed


def observed_together(designs: Sequence[Design], *, needs_counts: bool = False) -> Observed:
    """The summary of the data of several designs on the same rows, of all their columns.

    A column is a factor where it is one to any of them. Combinations of levels that occur are those of the
    design that has all factors; where none has, all that none of the designs rules out, without frequencies.

    Args:
      designs: each of one linear predictor.
      needs_counts: whether the frequencies of all combinations are needed.
    Returns:
      The summary; of one design its own. It says nothing of offsets, nor of columns that were left out.
    Raises:
      ModelError: if frequencies are needed that are not known.
    """
    each = [observed_of(design) for design in designs]
    if len(each) == 1:
        return each[0]
    columns: dict[str, ObservedColumn] = {}
    for column in (c for one in each for c in one.columns):
        if column.name not in columns or (column.is_factor and not columns[column.name].is_factor):
            columns[column.name] = column
    names = [column.name for column in columns.values() if column.is_factor]
    whole = next((one for one in each if {c.name for c in one.factors} == set(names)), None)
    if whole is None and needs_counts:
        raise ModelError(
            f"no predictor has all of {', '.join(names)}: how often their combinations occur is not known",
            hint="Use weights='equal', or ask for the means of one predictor.",
        )
    tables = [
        pd.DataFrame(one.cells, columns=[c.name for c in one.factors])
        for one in (each if whole is None else [whole])
    ]
    cells = _consistent(tables)[names].to_numpy(np.int64)
    counts = np.ones(len(cells), np.int64) if whole is None else whole.counts
    return Observed(tuple(columns.values()), cells, counts, offset=0.0)


def _consistent(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The combinations whose parts are rows of all tables."""
    found = tables[0]
    for table in tables[1:]:
        common = [name for name in table.columns if name in found.columns]
        found = found.merge(table, on=common) if common else found.merge(table, how="cross")
    return found


def terms_together(designs: Sequence[Design]) -> TermSum:
    """The terms of the fixed parts of several designs, each once."""
    sums = [design.formula.fixed.sum for design in designs]
    if len(sums) == 1:
        return sums[0]
    terms: list[Term] = []
    for term in (t for each in sums for t in each.terms):
        if term not in terms:
            terms.append(term)
    return TermSum(any(each.intercept for each in sums), tuple(terms))
