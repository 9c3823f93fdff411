"""Before an exact fit: numbers that are too large, too small or too much alike to be squared are refused."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.design import Design
from lmeformula.design.shards import shards_of, triangle_of
from lmeformula.errors import FormulaDataError
from lmeformula.rows.parts import Part

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
    told = shards_of(design).parts.ask(_told)
    _check_size(f"the response {design.response_name!r}", max(each.response for each in told))
    for name, size in zip(design.names, _largest(told), strict=True):
        _check_size(f"the column {name!r}", size)
    for place, term in enumerate(design.terms):
        sizes = np.max([each.terms[place] for each in told], axis=0)
        for name, size in zip(term.columns, sizes, strict=True):
            _check_size(f"the column {name!r} of {term.name!r}", size)
        if len(term.columns) > 1:
            _check_alike(term.name, term.columns, triangle_of(design, place))


class _Told(NamedTuple):
    """The largest absolute numbers of some rows: of the response, of columns (p,), of those of terms (k,)."""

    response: float
    columns: Floats
    terms: tuple[Floats, ...]


def _told(part: Part) -> _Told:
    design: Design = part.rows
    return _Told(
        _size_of_response(design),
        _sizes(design.X),
        tuple(_sizes(term.values) for term in design.terms),
    )


def _largest(told: list[_Told]) -> Floats:
    return np.asarray(np.max([each.columns for each in told], axis=0))


def _sizes(columns: Floats) -> Floats:
    return np.asarray(np.abs(columns).max(axis=0, initial=0.0))


def _size_of_response(design: Design) -> float:
    assert design.y is not None
    return float(np.abs(design.y - design.offset).max(initial=0.0))


def check_response_size(design: Design) -> None:
    """Check the size of a design's response alone.

    Raises:
      FormulaDataError: for numbers whose squares overflow or vanish.
    """
    _check_size(f"the response {design.response_name!r}", _size_of_response(design))


def _check_size(what: str, size: float) -> None:
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
