"""Identical rows of a source are merged before a formula meets them."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any, NamedTuple

from lmeformula.design.used import columns_used
from lmeformula.errors import FormulaDataError
from lmeformula.formula.formula import Formula
from lmeformula.rows import merged, source_of


class Counted(NamedTuple):
    """Rows of data, and their `frequency` as an argument of `design`."""

    data: Any
    frequency: Any


def merged_rows(
    formula: Formula, data: Any, *, weights: Any, offset: Any, frequency: Any
) -> Counted:
    """Merge the rows that agree in all that a formula and its arguments use.

    Args:
      formula: with "." or without.
      data: what `lmeformula.rows.source_of` takes.
      weights, offset, frequency: of `design`: names of columns, or None.
    Returns:
      The distinct rows and how often each is there; all rows, where they are hardly alike.
    Raises:
      FormulaDataError: if the data are a table in memory, or an argument is not the name of a column.
    """
    source = source_of(data)
    if source is None:
        raise FormulaDataError(
            "merge=True is for rows that are elsewhere, and these are in memory",
            hint="Give them as a source, pyarrow.dataset.dataset(table) or frame.lazy(); or count them, and "
            "say frequency=.",
        )
    given = {"weights": weights, "offset": offset, "frequency": frequency}
    for name, argument in given.items():
        if not (argument is None or isinstance(argument, str)):
            raise FormulaDataError(
                f"{name} must be the name of a column where rows are merged, not an array",
                hint="Rows that differ in it are not identical.",
            )
    columns = {unicodedata.normalize("NFC", name): name for name in source.columns}
    named = [*columns_used(formula, tuple(columns)), *filter(None, (weights, offset))]
    used = [columns[name] for name in dict.fromkeys(named) if name in columns and name != frequency]
    # A name that is no column is refused with all others.
    is_known = frequency is None or frequency in columns
    found = merged(source, used, frequency and columns[frequency]) if used and is_known else None
    if found is None:
        return Counted(replace(source, name=f"{source.name}, not merged"), frequency)
    return Counted(found.source, found.times)
