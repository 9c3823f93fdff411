"""A design's arrays with another response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats, Ints
from lmeformula.design.design import Design, ResponseBlock, row_labels
from lmeformula.design.frame import column_of, open_frame
from lmeformula.design.given import in_order
from lmeformula.design.response import response_block, response_parts
from lmeformula.design.values import Column, Numbers, categories, missing, num_rows, take
from lmeformula.errors import FormulaDataError, placed
from lmeformula.formula.ir import Expression


def with_response(design: Design, y: Any) -> Design:
    """The same rows, predictors and groups with a new response.

    Args:
      design: with a response.
      y: a value of the response for each row that the design uses, or for each row of its data: numbers, truth
        values or categories as the first response's were. For a response that the formula transforms, such as
        log(y), the transformed values; for one of two columns, (n, 2), or the first of them, such as successes,
        where the sums of the two stay.
    Returns:
      The design; only its response differs.
    Raises:
      FormulaDataError: if the number of rows is neither, values are missing or infinite, are of another kind,
        or are categories that the first response did not have.
    Example:
      >>> from lmeformula.design import design
      >>> made = design("y ~ 1 + (1 | g)", {"y": [1.0, 2.0, 4.0, 3.0], "g": [1, 1, 2, 2]})
      >>> with_response(made, [5, 6, 7, 8]).y
      array([5., 6., 7., 8.])
    """
    old = design.response
    if old is None:
        raise FormulaDataError(
            "a one-sided formula has no response to replace", hint="Write y ~ terms."
        )
    y = _by_label(design, _with_gaps(y))
    if old.kind in ("numeric", "matrix") and old.trials is None:
        values = _numbers(design, y)
        if values is not None and values.ndim == 1 and old.values.shape[1:] == (2,):
            values = np.column_stack([values, old.values.sum(axis=1) - values])
            _check_numbers(values, old)
        if values is not None and values.ndim == old.values.ndim:
            _check_numbers(values, old)
            return replace(design, response=replace(old, values=values))
    return replace(design, response=_read(design, old, y))


def _with_gaps(y: Any) -> Any:
    """A masked array with missing values where it is masked, as a column of the data has them."""
    if not isinstance(y, np.ma.MaskedArray):
        return y
    import pandas as pd

    return (pd.Series(y) if y.ndim == 1 else pd.DataFrame(y)).to_numpy()


def _by_label(design: Design, y: Any) -> Any:
    """A Series in the order of the rows used, where its index has their labels; anything else as it is."""
    import pandas as pd

    if not isinstance(y, pd.Series):
        return y
    labels = row_labels(design)
    is_places = isinstance(y.index, pd.RangeIndex) and len(y) in (
        design.n,
        design.n + design.num_missing,
    )
    if y.index.equals(labels) or (design.given.labels is None and is_places):
        return y
    return in_order("new response", y, labels, design.n)


def _numbers(design: Design, y: Any) -> Floats | None:
    """The used rows of numbers; None for anything that has to be read as a column is."""
    array = _array(y)
    if array is None or array.dtype.kind not in "fiu":
        return None
    if not array.ndim:
        raise FormulaDataError(
            f"the new response is {kinds.shown(y)}",
            hint=f"Give {design.n:,} values, one for each row that was used.",
        )
    rows = _used(design, len(array))
    return np.ascontiguousarray(array if rows is None else array[rows], dtype=np.float64)


def _array(y: Any) -> NDArray[Any] | None:
    """Values as an array, or None where they make none, as lists of several lengths do."""
    try:
        return np.asarray(y)
    except ValueError:
        return None


def _used(design: Design, given: int) -> Ints | None:
    """Which of the given rows the design uses; None for all."""
    n = design.n
    if given == n:
        return None
    if given == n + design.num_missing:
        return design.rows
    every = f", or {n + design.num_missing:,} for all rows" if design.num_missing else ""
    raise FormulaDataError(
        f"the new response has {given:,} values, and the fit used {n:,} rows",
        hint=f"Give {n:,} values, one for each row that was used{every}.",
    )


def _check_numbers(values: Floats, old: ResponseBlock) -> None:
    if values.shape[1:] != old.values.shape[1:]:
        raise FormulaDataError(
            f"the response '{old.name}' has {old.values.shape[1]} columns, the new one "
            f"{values.shape[1]}"
        )
    wrong = int((~np.isfinite(values)).sum())
    if wrong:
        raise FormulaDataError(
            f"the new response is missing or infinite in {wrong:,} of the rows used",
            hint="The predictors of these rows stay in the model: give each a finite value.",
        )


def _read(design: Design, old: ResponseBlock, y: Any) -> ResponseBlock:
    response = design.formula.response
    assert response is not None
    name = old.name
    array = _array(y)
    if array is not None and array.ndim == 2:
        raise FormulaDataError(f"the response '{name}' has one column")
    column = column_of(open_frame(y if isinstance(y, Mapping) else {name: y}), name)
    column = take(column, _used(design, num_rows(column)))
    if missing(column).any():
        raise FormulaDataError(
            f"the new response is missing in {int(missing(column).sum()):,} of the rows used",
            hint="The predictors of these rows stay in the model: give each a value.",
        )
    parts = response_parts(response)
    columns: dict[Expression, Column] = {parts.values: column}
    if parts.trials is not None:
        assert old.trials is not None
        columns[parts.trials] = Numbers(old.trials)
    if old.levels and isinstance(column, Numbers):
        # Numbers name categories where the first response's were numbers, too.
        columns[parts.values] = categories(column)
    with placed(design.formula.text):
        block = response_block(response, columns, old.levels or None)
    # Text is read as unordered categories, truth values as numbers, where the first response was that.
    kinds_alike = ({block.kind}, {"categorical", "ordered"}, {"numeric", "logical"})
    if not any({block.kind, old.kind} <= alike for alike in kinds_alike):
        raise FormulaDataError(
            f"the response '{old.name}' is {old.kind}, the new one {block.kind}",
            hint="Give values of the same kind.",
        )
    return replace(block, kind=old.kind, levels=old.levels)
