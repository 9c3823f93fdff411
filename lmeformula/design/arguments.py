"""Second stage: what the caller passes beside the formula - contrasts, offset and weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lmeformula.arrays import Floats
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
    """Read the offset or the weights: a column's name, or one number for each row of the data.

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
        which = (
            f"the column {given!r} of {name}" if isinstance(given, str) else f"the argument {name}"
        )
        count, first = int(np.isinf(values).sum()), int(np.argmax(np.isinf(values)))
        raise FormulaDataError(
            f"{which} is infinite in {count:,} {'row' if count == 1 else 'rows'}, the first at place {first}",
            hint="Leave these rows out, or mark them missing.",
        )
    return values


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
