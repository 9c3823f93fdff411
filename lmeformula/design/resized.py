"""A design of another size: of more or fewer groups, or rows within them, made of the rows that there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.design.design import Design, LinearPredictor, ResponseBlock, TermBlock
from lmeformula.design.given import NOTHING
from lmeformula.design.observations import by_observation
from lmeformula.design.select import some_rows
from lmeformula.design.side_by_side import joined
from lmeformula.errors import FormulaDataError


def resized(
    design: Design, along: str, num_groups: int | None = None, num_rows: int | None = None
) -> Design:
    """Repeat the rows of a design, or leave some out, until it has so many groups and rows within each.

    Groups beyond those that there are repeat them in turn, as new levels: of the grouping factor, and of those
    nested in it. Levels of crossed factors stay what they are. Rows beyond those of a group repeat these in
    turn. Of fewer groups, or rows, the first ones stay.

    Args:
      design: of a model.
      along: the grouping factor, as the formula has it.
      num_groups: how many levels it has then; as many as it had by default.
      num_rows: how many rows each has; as many as it had by default.
    Returns:
      The design; its responses are those of the rows that were repeated.
    Raises:
      FormulaDataError: if there is no such grouping factor, or the columns of the fixed effects no longer
        determine all coefficients.
    Example:
      >>> import lmeformula as lf
      >>> made = lf.design("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
      >>> larger = resized(made, "Batch", num_groups=20, num_rows=8)
      >>> larger.n, len(larger.terms[0].levels)
      (160, 20)
    """
    design = by_observation(design)
    if num_groups is not None and any(term.meets for term in design.terms):
        raise FormulaDataError(
            "levels that are related, or share rows, have no further ones",
            hint="Take other numbers of rows; or a covariance with more levels, and data with them.",
        )
    index = level_of_rows(design, along)
    source, group = _sources(index, num_groups, num_rows)
    copy = group // (int(index.max()) + 1)
    predictors = tuple(
        replace(each, design=_taken(each.design, source, copy, index)) for each in design.predictors
    )
    block, weights = design.response, design.weights
    made = replace(
        joined(design.formula, predictors),
        response=None if block is None else _response(block, source),
        weights=None if weights is None else weights[source],
    )
    if not all(map(_determines, predictors)):
        raise FormulaDataError(
            f"{made.n:,} rows of {len(np.unique(group)):,} {along} do not determine all coefficients",
            hint="Take more groups, or rows within them.",
        )
    return made


def level_of_rows(design: Design, along: str) -> Ints:
    """(n,) the level of each row of a grouping factor.

    Raises:
      FormulaDataError: if there is none of that name.
    """
    for term in design.terms:
        if term.group == along and term.shares is None:
            return np.asarray(term.index, np.int64)
    for term in design.terms:
        if along in (term.group, *term.factors) and term.shares is not None:
            raise FormulaDataError(
                f"rows have several levels of {term.group}, and none for each number of them",
                hint="Take along another grouping factor.",
            )
    groups = dict.fromkeys(term.group for term in design.terms)
    raise FormulaDataError(
        f"there is no grouping factor {along!r}", hint=f"There are: {', '.join(groups)}."
    )


def _determines(predictor: LinearPredictor) -> bool:
    X = predictor.design.X
    return bool(np.linalg.matrix_rank(X) == X.shape[1]) if X.size else True


def _sources(index: Ints, num_groups: int | None, num_rows: int | None) -> tuple[Ints, Ints]:
    """(n,) which row each of the new ones is, and the group it is of then."""
    num_levels = int(index.max()) + 1
    own = [np.flatnonzero(index == level) for level in range(num_levels)]
    rows, groups = [], []
    for group in range(num_levels if num_groups is None else num_groups):
        mine = own[group % num_levels]
        count = len(mine) if num_rows is None else num_rows
        rows.append(mine[np.arange(count) % len(mine)])
        groups.append(np.full(count, group))
    return np.concatenate(rows), np.concatenate(groups)


def _taken(design: Design, source: Ints, copy: Ints, index: Ints) -> Design:
    """The design of one predictor, of other rows (n,) that are the copies of groups."""
    return replace(
        design,
        X=np.ascontiguousarray(design.X[source]),
        terms=tuple(_term(term, source, copy, index) for term in design.terms),
        offsets=tuple(offset[source] for offset in design.offsets),
        rows=np.arange(len(source)),
        num_missing=0,
        recipe=None,
        given=NOTHING,
    )


def _term(term: TermBlock, source: Ints, copy: Ints, index: Ints) -> TermBlock:
    if term.meets:
        # All levels of a known covariance stay, and those of members.
        return some_rows(term, source)
    pairs = np.unique(np.stack([np.asarray(term.index, np.int64), index]), axis=1)
    # Each of its levels is of one group: copies of the group have levels of their own.
    is_nested = pairs.shape[1] == len(term.levels)
    number = copy if is_nested else np.zeros_like(copy)
    levels, place = np.unique(
        np.stack([number, np.asarray(term.index, np.int64)[source]]), axis=1, return_inverse=True
    )
    names = tuple(
        term.levels[level] if not times else f"{term.levels[level]}.{times + 1}"
        for times, level in levels.T
    )
    return replace(
        term,
        values=np.ascontiguousarray(term.values[source]),
        levels=names,
        index=place.reshape(-1).astype(np.int32),
        part_of=None if term.part_of is None else term.part_of[levels[1]],
    )


def _response(block: ResponseBlock, source: Ints) -> ResponseBlock:
    trials: Floats | None = None if block.trials is None else block.trials[source]
    return replace(block, values=block.values[source], trials=trials)
