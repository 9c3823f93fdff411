"""Second stage: what the caller passes beside the formula - contrasts, offset, weights and frequency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.design.factors import coding_named
from lmeformula.design.frame import Frame, column_of, missing_column, open_frame
from lmeformula.design.labels import label
from lmeformula.design.values import Categories, Coding, Column, Numbers
from lmeformula.errors import FormulaDataError
from lmeformula.formula.ir import Expression


def read_contrasts(contrasts: Mapping[str, Any]) -> dict[str, Coding]:
    """Read the `contrasts` argument.

    Raises:
      FormulaDataError: if an entry is not a known name, a (name, base) pair or a matrix.
    """
    return {name: _coding(name, given) for name, given in contrasts.items()}


def check_contrasts_used(
    contrasts: Mapping[str, Coding], variables: Mapping[Expression, Column]
) -> None:
    """Refuse contrasts for what is no factor among the variables of the formula.

    Raises:
      FormulaDataError: that lists the factors there are.
    """
    factors = [label(e) for e, column in variables.items() if isinstance(column, Categories)]
    for name in contrasts:
        if name not in factors:
            raise FormulaDataError(
                f"contrasts are given for {name!r}, which is not a factor among the variables "
                "of the formula",
                "E_UNSUPPORTED_ARG",
                hint=f"Its factors are {', '.join(factors)}." if factors else "It has no factors.",
            )


def row_argument(name: str, given: object, frame: Frame) -> Floats | None:
    """Read the offset, the weights or the frequency: a column's name, or a number for each row of the data.

    Raises:
      FormulaDataError: if the numbers of rows differ or they are not numbers.
    """
    if given is None:
        return None
    if isinstance(given, str) and given not in frame.positions:
        raise missing_column(frame, given, what=f"{name} is")
    column = (
        column_of(frame, given)
        if isinstance(given, str)
        else column_of(open_frame({name: given}), name)
    )
    if not isinstance(column, Numbers) or column.values.ndim != 1:
        raise FormulaDataError(f"the {name} must be numbers")
    if column.values.shape[0] != frame.num_rows:
        raise FormulaDataError(
            f"the argument {name} has {column.values.shape[0]} values for {frame.num_rows} rows of data"
        )
    values = np.asarray(column.values, dtype=np.float64)
    if np.isinf(values).any():
        raise _wrong_rows(
            name, given, "infinite", np.isinf(values), "Leave these rows out, or mark them missing."
        )
    return values


def read_frequency(given: object, frame: Frame) -> Ints | None:
    """Read the frequency: how many identical rows each row of the data stands for.

    Raises:
      FormulaDataError: if the numbers of rows differ, or they are not whole numbers from 0 on; where all are 0.
    """
    values = row_argument("frequency", given, frame)
    if values is None:
        return None
    hint = (
        "Give whole numbers: how many identical rows each stands for, 0 to leave it out. Weights that say "
        "how precise a row is are weights=..."
    )
    for what, wrong in (
        ("missing", np.isnan(values)),
        ("negative", values < 0.0),
        ("not a whole number", values != np.floor(values)),
    ):
        if wrong.any():
            raise _wrong_rows("frequency", given, what, wrong, hint)
    if not values.any():
        raise FormulaDataError("the frequency of every row is 0: no row is left", hint=hint)
    return values.astype(np.int64)


def _wrong_rows(name: str, given: object, what: str, wrong: Mask, hint: str) -> FormulaDataError:
    which = f"the column {given!r} of {name}" if isinstance(given, str) else f"the argument {name}"
    count, first = int(wrong.sum()), int(np.argmax(wrong))
    rows = "row" if count == 1 else "rows"
    return FormulaDataError(
        f"{which} is {what} in {count:,} {rows}, the first at place {first}", hint=hint
    )


def _coding(name: str, given: Any) -> Coding:
    if isinstance(given, Coding):
        return given
    if isinstance(given, str):
        return coding_named(given)
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str):
        kind = coding_named(given[0]).kind
        if kind in ("treatment", "sas") and isinstance(given[1], str | int):
            return Coding(kind, given[1])
    elif isinstance(given, np.ndarray) and given.ndim == 2 and given.dtype.kind in "iuf":
        return Coding("custom", matrix=np.asarray(given, dtype=np.float64))
    raise FormulaDataError(
        f'the contrasts of {name!r} must be a name, ("treatment", base level) or a matrix, not '
        f"{given!r}",
        "E_UNSUPPORTED_ARG",
        hint='For example contrasts={"a": "sum"}.',
    )
