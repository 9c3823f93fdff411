"""Several linear predictors: their designs side by side, terms with a common label as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.design.design import Design, LinearPredictor, NewRows, TermBlock
from lmeformula.design.random import unique_name
from lmeformula.design.select import select_rows
from lmeformula.errors import FormulaDataError
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import RandomTerm, Span
from lmeformula.formula.smooths import effect_terms


def joined(formula: Formula, predictors: tuple[LinearPredictor, ...]) -> Design:
    """Put the designs of linear predictors side by side; that of one stays as it is.

    Args:
      formula: of all of them.
      predictors: on the same rows; the first has the response.
    Returns:
      The design, whose columns are called as the predictors' patterns say; terms with one label (e |ID| g) are
      one term, whose coefficients belong to several predictors.
    """
    first = predictors[0].design
    if len(predictors) == 1:
        return replace(first, formula=formula)
    names = tuple(name for each in predictors for name in each.named(each.design.names))
    terms = joined_terms(predictors, [each.design.terms for each in predictors])
    for columns in (names, *(term.columns for term in terms)):
        _check_distinct(columns)
    return replace(
        first,
        formula=formula,
        X=_beside([each.design.X for each in predictors]),
        names=names,
        terms=terms,
        dropped=tuple(name for each in predictors for name in each.named(each.design.dropped)),
        reserved=tuple(dict.fromkeys(r for each in predictors for r in each.design.reserved)),
        offsets=tuple(each.design.offset for each in predictors),
        side_by_side=predictors,
    )


def joined_again(design: Design, predictors: tuple[LinearPredictor, ...]) -> Design:
    """Put changed designs of a design's linear predictors side by side, on its rows."""
    return replace(
        joined(design.formula, predictors),
        response=design.response,
        weights=design.weights,
        frequency=design.frequency,
        given=design.given,
    )


def joined_rows(design: Design, rows: Sequence[NewRows]) -> NewRows:
    """Put new rows of several predictors side by side, each on those that are complete in all.

    Args:
      design: of several predictors.
      rows: of each of its predictors, from the same table.
    """
    common = rows[0].rows
    for each in rows[1:]:
        common = np.intersect1d(common, each.rows)
    rows = [_only(each, common) for each in rows]
    unseen: dict[str, tuple[str, ...]] = {}
    for each in rows:
        unseen |= each.unseen
    has_groups = any(each.terms for each in rows)
    return replace(
        rows[0],
        X=np.hstack([each.X for each in rows]),
        names=design.names,
        terms=joined_terms(design.predictors, [each.terms for each in rows]) if has_groups else (),
        offsets=tuple(each.offset for each in rows),
        column_predictors=design.column_predictors,
        unseen=unseen,
    )


def _only(rows: NewRows, places: Ints) -> NewRows:
    """Some of the complete rows, by their places in the table; levels not seen keep their numbers."""
    if len(places) == len(rows.rows):
        return rows
    return select_rows(rows, np.flatnonzero(np.isin(rows.rows, places)))


def joined_terms(
    predictors: Sequence[LinearPredictor], terms: Sequence[tuple[TermBlock, ...]]
) -> tuple[TermBlock, ...]:
    """The terms of several predictors, one after the other; of the same label as one."""
    linked: dict[int, list[tuple[int, TermBlock]]] = {}
    for number, (of_one, places) in enumerate(zip(terms, term_places(terms), strict=True)):
        for place, term in zip(places, of_one, strict=True):
            linked.setdefault(place, []).append((number, term))
    taken = {term.group for of_one in terms for term in of_one}
    seen: Counter[str] = Counter()
    found = []
    for members in linked.values():
        number, first = members[0]
        _check_alike([term for _, term in members])
        if first.role == "population":
            # A curve is called as the columns of its predictor are.
            (group,) = predictors[number].named((first.group,))
            first = replace(first, group=group)
        found.append(
            replace(
                first,
                name=unique_name(first.group, seen, taken),
                columns=tuple(
                    name
                    for number, term in members
                    for name in predictors[number].named(term.columns)
                ),
                values=_beside([term.values for _, term in members]),
                predictors=tuple(number for number, term in members for _ in term.columns),
            )
        )
    return tuple(found)


def term_places(terms: Sequence[Sequence[TermBlock]]) -> tuple[tuple[int, ...], ...]:
    """Which of the terms side by side each term of each predictor is in: those of one label are one.

    Args:
      terms: of each predictor.
    """
    numbers: dict[object, int] = {}
    return tuple(
        tuple(
            numbers.setdefault(term.block or (number, place), len(numbers))
            for place, term in enumerate(of_one)
        )
        for number, of_one in enumerate(terms)
    )


def columns_of_terms(design: Design) -> tuple[tuple[tuple[int, slice], ...], ...]:
    """Of each term of each predictor: which of the design's terms it is in, and its columns there."""
    predictors = [each.design for each in design.predictors]
    used = [0] * len(design.terms)
    found = []
    for each, places in zip(
        predictors, term_places([each.terms for each in predictors]), strict=True
    ):
        of_one = []
        for term, place in zip(each.terms, places, strict=True):
            start, used[place] = used[place], used[place] + len(term.columns)
            of_one.append((place, slice(start, used[place])))
        found.append(tuple(of_one))
    return tuple(found)


def _check_distinct(columns: tuple[str, ...]) -> None:
    repeated = [name for name, count in Counter(columns).items() if count > 1]
    if repeated:
        raise FormulaDataError(
            f"the coefficients of two predictors are both called {repeated[0]!r}",
            hint="Rename the column of the data: those of further predictors are called by the predictor's "
            "name, an underscore, and the column.",
        )


def _beside(arrays: Sequence[Floats]) -> Floats:
    if all(isinstance(array, np.ndarray) for array in arrays):
        return np.hstack(arrays)
    # Rows that are not here: all that is known of them is how many there are.
    width, absent = sum(array.shape[1] for array in arrays), _first_absent(arrays)
    found: Floats = type(absent)((absent.shape[0], width), absent.why)
    return found


def _first_absent(arrays: Sequence[Any]) -> Any:
    return next(array for array in arrays if not isinstance(array, np.ndarray))


def _check_alike(members: Sequence[TermBlock]) -> None:
    first = members[0]
    for term in members[1:]:
        if term.covariance != first.covariance or term.homogeneous != first.homogeneous:
            raise FormulaDataError(
                f"the terms linked by the label '{first.block}' have different covariance structures, "
                f"{first.covariance} and {term.covariance}",
                hint="They are one block of coefficients: give them one structure.",
            )


def written_terms(design: Design) -> tuple[tuple[tuple[str, RandomTerm], ...], ...]:
    """The terms of the formulas behind each term of a design, in its order, with their formulas' texts."""
    designs = [each.design for each in design.predictors]
    found: dict[int, list[tuple[str, RandomTerm]]] = {}
    for each, places in zip(designs, term_places([one.terms for one in designs]), strict=True):
        written = each.formula
        for place, linked in zip(places, effect_terms(written), strict=True):
            found.setdefault(place, []).extend((written.text, term) for term in linked)
    return tuple(map(tuple, found.values()))


def places_of(design: Design) -> list[tuple[str, Span | None]]:
    """Where each term of a design is written: a formula's text, and its place there if it has one."""
    written = [(linked[0][0], linked[0][1].span) for linked in written_terms(design)]
    by_hand = len(design.terms) - len(written)
    return [*written[: len(design.terms)], *[(design.formula.text, None)] * by_hand]
