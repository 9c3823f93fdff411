"""The rows of a design that has lost them, from its data again; and what tells that these are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.design.arguments import read_frequency
from lmeformula.design.design import Design, NewRows, recipe_of
from lmeformula.design.frame import Frame, open_frame
from lmeformula.design.given import given_beside
from lmeformula.design.merging import merged_rows
from lmeformula.design.rebuild import rebuild
from lmeformula.design.select import select_rows
from lmeformula.design.side_by_side import joined
from lmeformula.design.used import columns_of_new_rows
from lmeformula.errors import FormulaDataError

# Sums of the same rows in another order differ by rounding.
ROUNDING = 1e-9
_HINT = "Give the data that it was fitted to."


def with_rows(
    design: Design,
    data: object,
    *,
    offset: object = None,
    weights: object = None,
    frequency: object = None,
    merge: bool = False,
) -> Design:
    """Take the rows of a design again.

    Args:
      design: as it was loaded, without rows.
      data: the table that it was made of, or the source of its rows, in any order.
      offset, weights, frequency: as they were given, where they were arrays; columns are found by themselves.
      merge: put identical rows of a source together, as it was done for the fit; a column of frequencies is
        then named again.
    Returns:
      The design with its rows.
    Raises:
      FormulaDataError: if these are not the data: they lack a column, have other levels or another number of
        rows, or their sums are others.
    Example:
      >>> from lmeformula.design import design
      >>> data = {"y": [1.0, 2.0, 4.0, 3.0], "g": [1, 1, 2, 2]}
      >>> made = design("y ~ 1 + (1 | g)", data)
      >>> with_rows(made, data).y.tolist()
      [1.0, 2.0, 4.0, 3.0]
    """
    remembered = recipe_of(design.predictors[0].design)
    if merge:
        data, frequency = merged_rows(
            design.formula,
            data,
            weights=(remembered.weights or None) if weights is None else weights,
            offset=(remembered.offset or None) if offset is None else offset,
            frequency=frequency,
        )
    if frequency is None and remembered.frequency != "":
        frequency = remembered.frequency
        if frequency is None:
            raise FormulaDataError(
                "the fit was given the frequency as an array",
                hint="Pass frequency=..., one number for each row; or merge=True, where its rows were merged.",
            )
    named = (offset, weights, frequency)
    frame = open_frame(data, lambda columns: columns_of_new_rows(design, columns, named))
    given, (offset, weights, frequency) = given_beside(
        data,
        frame.labels,
        frame.num_rows,
        frame.origin,
        offset=offset,
        weights=weights,
        frequency=frequency,
    )
    times = read_frequency(frequency, frame)
    each = _each(design, frame, offset, weights)
    rows = each[0].rows
    for other in each[1:]:
        rows = np.intersect1d(rows, other.rows)
    if times is not None:
        rows = rows[times[rows] > 0]
    _check_number(design, rows.size, frame.num_rows)
    made: dict[int, Design] = {}
    parts = []
    for part, found in zip(design.predictors, each, strict=True):
        if id(part.design) not in made:
            made[id(part.design)] = _filled(part.design, found, rows, times, frame.num_rows)
        parts.append(replace(part, design=made[id(part.design)]))
    whole = replace(joined(design.formula, tuple(parts)), given=given)
    _check_sums(design.given.sums, whole)
    return whole


def sums_of(design: Design, of: Callable[[Floats], Floats] = np.asarray) -> Floats | None:
    """Some sums over the rows, which other rows do not have, in whatever order; None without rows.

    Args:
      design: with its rows or without.
      of: what is summed up is products of these of the numbers: of their sizes with `numpy.abs`.
    """
    X: object = design.X
    if not isinstance(X, np.ndarray):
        # Of a fit that was loaded without them what it brought along.
        known: Floats | None = design.given.sums
        return known
    n = np.ones(design.n)
    columns = [*design.X.T, *design.offsets, design.frequencies]
    columns += [n if design.weights is None else design.weights]
    for term in design.terms:
        shares = () if term.shares is None else term.shares.T
        columns += [*np.cos(term.index.reshape(design.n, -1).T), *term.values.T, *shares]
    against = [n]
    if design.y is not None:
        against += [*design.y.reshape(design.n, -1).T]
    sums = [[of(one) @ of(other) for other in against] for one in [*columns, *against]]
    return np.array(sums).ravel()


def _each(design: Design, frame: Frame, offset: object, weights: object) -> list[NewRows]:
    """New rows of each predictor; response, offset and weights are the first one's."""
    found: dict[int, NewRows] = {}
    first = design.predictors[0].design
    for part in design.predictors:
        if id(part.design) not in found:
            is_first = part.design is first
            given: dict[str, Any] = {"offset": offset, "weights": weights} if is_first else {}
            found[id(part.design)] = rebuild(part.design, frame, response=is_first, **given)
    for rows in found.values():
        for group, levels in rows.unseen.items():
            raise FormulaDataError(
                f"the data have {len(levels):,} levels of {group} that the fit has not seen, such as "
                f"{levels[0]!r}",
                hint=_HINT,
            )
    return [found[id(part.design)] for part in design.predictors]


def _check_number(design: Design, count: int, total: int) -> None:
    expected = design.n + design.num_missing
    if (count, total) != (design.n, expected):
        raise FormulaDataError(
            f"the data have {total:,} rows, {count:,} of them complete, and the fit was made from "
            f"{expected:,}, {design.n:,} of them complete",
            hint=_HINT,
        )


def _filled(
    design: Design, found: NewRows, rows: Ints, times: Ints | None, num_rows: int
) -> Design:
    if len(rows) < len(found.rows):
        found = select_rows(found, np.searchsorted(found.rows, rows))
    return replace(
        design,
        X=found.X,
        terms=found.terms,
        offsets=found.offsets,
        weights=found.weights,
        response=found.response,
        rows=found.rows,
        num_missing=num_rows - len(rows),
        frequency=None if times is None else times[rows].astype(np.float64),
    )


def _check_sums(saved: Floats | None, design: Design) -> None:
    found = sums_of(design)
    # What rounding leaves of a sum depends on its terms, whose signs may let them cancel.
    sizes = sums_of(design, np.abs)
    if saved is None or found is None or sizes is None:
        return
    if saved.shape != found.shape or not (np.abs(saved - found) <= ROUNDING * sizes).all():
        raise FormulaDataError(
            "the data have the columns of the fit, as many rows, and other values", hint=_HINT
        )
