"""Before an exact fit: numbers that are too large, too small or too much alike to be squared are refused."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.design import Design
from lmeformula.errors import FormulaDataError

# Squares, summed over rows, must be numbers, and so must their inverses.
LARGEST, SMALLEST = 1e140, 1e-130
# Columns of a term that differ by less than this share of their size, but by more than rounding, cannot be
# fitted: the likelihood has them squared. Exact copies are another matter; they are named by the fit.
ALIKE, COPIES = 1e-6, 1e-13


def check_numbers(design: Design) -> None:
    """Check the sizes of a design's columns and response.

    Raises:
      FormulaDataError: for numbers whose squares overflow or vanish, and for columns of a random-effects term
        that are hard to tell apart.
    """
    check_response_size(design)
    for name, column in zip(design.names, design.X.T, strict=True):
        _check_size(f"the column {name!r}", column)
    for term in design.terms:
        for name, column in zip(term.columns, term.values.T, strict=True):
            _check_size(f"the column {name!r} of {term.name!r}", column)
        if len(term.columns) > 1:
            _check_alike(term.name, term.columns, term.values)


def check_response_size(design: Design) -> None:
    """Check the size of a design's response alone.

    Raises:
      FormulaDataError: for numbers whose squares overflow or vanish.
    """
    assert design.response is not None
    _check_size(f"the response {design.response.name!r}", design.response.values - design.offset)


def _check_size(what: str, values: Floats) -> None:
    size = float(np.abs(values).max(initial=0.0))
    if size == 0.0 or SMALLEST <= size <= LARGEST:
        return
    where = "divide" if size > LARGEST else "multiply"
    raise FormulaDataError(
        f"{what} is as large as {size:.1e}: the squares of such numbers cannot be computed with",
        hint=f"Take another unit: {where} it by a power of ten.",
    )


def _check_alike(term: str, columns: tuple[str, ...], values: Floats) -> None:
    sizes = np.linalg.norm(values, axis=0)
    used = sizes > 0.0
    unit = values[:, used] / sizes[used]
    singular = np.linalg.svd(np.linalg.qr(unit, mode="r"))[1]
    share = singular / singular.max(initial=1.0)
    if not ((share > COPIES) & (share < ALIKE)).any():
        return
    raise FormulaDataError(
        f"the columns {', '.join(columns)} of {term!r} are hardly to be told apart: they differ by "
        f"{share[share > COPIES].min():.0e} of their size",
        hint="Take a column's mean off before the fit: only the intercept's sd and its correlation change.",
    )
