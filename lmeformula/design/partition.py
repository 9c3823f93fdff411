"""What a worker does with a partition of a frame: which rows tell what a design learns, and arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.design.arguments import row_argument
from lmeformula.design.build import without_reserved
from lmeformula.design.design import Design, NewRows
from lmeformula.design.evaluate import Memory, Scope
from lmeformula.design.frame import Frame, column_of, open_frame
from lmeformula.design.observed import Observed, cells_of
from lmeformula.design.rebuild import rebuild
from lmeformula.design.select import select_rows, stacked_terms
from lmeformula.design.shards import of_levels
from lmeformula.design.values import Categories, Column, Numbers, sorted_codes, take
from lmeformula.design.variables import complete_rows, evaluate_formula, group_columns
from lmeformula.formula.formula import Formula
from lmeformula.rows.parts import Part
from lmeformula.rows.source import Source

# Rows, at even distances, that are kept beside those that tell something.
SOME_ROWS = 20


class Asked(NamedTuple):
    """What is read of a partition.

    Attributes:
      formula: of one linear predictor, with "." expanded.
      columns: names of those of the frame that are used.
      weights: name of their column, or None.
      offset: the same.
    """

    formula: Formula
    columns: tuple[str, ...]
    weights: str | None
    offset: str | None

    @property
    def named(self) -> tuple[str, ...]:
        """The columns that were named beside the formula."""
        return tuple(name for name in (self.weights, self.offset) if name is not None)


class Learned(NamedTuple):
    """What a partition tells a design, and how many rows it has."""

    table: Any
    num_rows: int


class Piece(NamedTuple):
    """The arrays of a partition.

    Attributes:
      rows: without the names of levels.
      told: what the host needs to know of them.
    """

    rows: NewRows
    told: Told


class Told(NamedTuple):
    """What the host knows of a partition.

    Attributes:
      corner: R of the fixed columns, all of them.
      counts: (l,) rows of each level of the lead term.
      num_rows: complete ones or not.
      num_complete: rows used.
      sums: of the numbers of each observed column, and of the offset.
      present: how many numbers those are.
      cells: (f codes...) -> rows, of the combinations of factor levels.
    """

    corner: Floats
    counts: Ints
    num_rows: int
    num_complete: int
    sums: Floats
    present: Ints
    cells: dict[tuple[int, ...], int]


def opened(part: Any, asked: Asked) -> Source:
    """A partition, a pandas data frame, as a source of its own."""
    given = {str(name): name for name in part.columns}

    def blocks(names: list[str]) -> Iterator[Any]:
        import pyarrow as pa

        yield pa.Table.from_pandas(part[[given[name] for name in names]], preserve_index=False)

    return Source("a Dask data frame", tuple(given), blocks)


def learn(part: Any, asked: Asked) -> Learned:
    """Keep the rows that tell levels, the kinds of columns, their largest and their smallest numbers.

    Args:
      part: the partition.
      asked: what is read of it.
    Returns:
      A pyarrow table of complete rows.
    """
    source = opened(part, asked)
    table = next(source.blocks(list(asked.columns)))
    if not len(part):
        return Learned(table, 0)
    frame = open_frame(source, lambda _: asked.columns)
    scope = Scope(frame, {}, Memory(), False)
    model, _ = without_reserved(asked.formula, scope)
    values = evaluate_formula(model, scope, with_response=True, with_groups=True)
    given = [Numbers(array) for array in map(_argument(frame), asked.named) if array is not None]
    complete = complete_rows([*values.columns(), *given], frame.num_rows)
    variables = [*values.predictors.values(), *values.response.values()]
    columns = [take(column, complete) for column in (*variables, *frame.read.values(), *given)]
    groups = []
    for names in dict.fromkeys(term.group.names for term in model.random):
        term = next(term for term in model.random if term.group.names == names)
        parts = [values.groups[name] for name in group_columns(names, term.group.reserved)]
        groups.append(_combined([take(each, complete) for each in parts]))  # type: ignore[misc]
    num_complete = frame.num_rows if complete is None else len(complete)
    kept = np.unique(np.concatenate([_telling(columns, num_complete), *_of_groups(groups)]))
    rows = kept if complete is None else complete[kept]
    return Learned(table.take(rows), frame.num_rows)


def piece_of(part: Any, asked: Asked, known: Design, lead: int) -> Piece:
    """The arrays of a partition, and what the host needs to know of them.

    Args:
      part: the partition.
      asked: what is read of it.
      known: the design that was learned, with all fixed columns.
      lead: place of the lead term.
    """
    assert known.recipe is not None
    observed = known.recipe.observed
    assert observed is not None
    if len(part):
        source = opened(part, asked)
        rows = rebuild(known, source, response=True)
        frame = open_frame(source, lambda _: asked.columns)
        sums, present, cells = _observe(observed, frame, rows)
    else:
        rows = replace(select_rows(known.as_rows(), slice(0)), num_rows=0)
        sums = np.zeros(len(observed.columns) + 1)
        present, cells = sums.astype(np.int64), {}
    terms = tuple(replace(term, levels=()) for term in rows.terms)
    told = Told(
        corner=np.asarray(np.linalg.qr(rows.X, mode="r")),
        counts=np.bincount(rows.terms[lead].index, minlength=len(known.terms[lead].levels)),
        num_rows=rows.num_rows,
        num_complete=len(rows.X),
        sums=sums,
        present=present,
        cells=cells,
    )
    return Piece(replace(rows, terms=terms), told)


def told_of(piece: Piece) -> Told:
    """What the host needs to know."""
    return piece.told


def cut(piece: Piece, lead: int, levels: slice) -> NewRows:
    """The rows of some levels of the lead term."""
    index = piece.rows.terms[lead].index
    places = np.flatnonzero((index >= levels.start) & (index < levels.stop))
    return select_rows(piece.rows, places)


def cut_again(part: Any, asked: Asked, known: Design, lead: int, levels: slice) -> NewRows:
    """The same from the partition itself."""
    return cut(piece_of(part, asked, known, lead), lead, levels)


def put_together(design: Design, kept: Ints, lead: int, levels: slice, *rows: NewRows) -> Part:
    """A part of a design's rows, from those of all partitions.

    Args:
      design: without rows.
      kept: places of its fixed columns among all.
      lead: place of the lead term.
      levels: of that term, which are the part's.
      rows: of each partition.
    """

    def joined(arrays: Sequence[Any]) -> Any:
        return np.concatenate(arrays)

    assert design.response is not None
    responses = [each.response for each in rows if each.response is not None]
    trials = [each.trials for each in responses if each.trials is not None]
    weights = [each.weights for each in rows if each.weights is not None]
    response = replace(
        design.response,
        values=joined([each.values for each in responses]),
        trials=joined(trials) if trials else None,
    )
    terms = stacked_terms(design.terms, [each.terms for each in rows])
    X = joined([each.X for each in rows])[:, kept]
    whole = replace(
        design,
        response=response,
        X=np.ascontiguousarray(X),
        terms=terms,
        offsets=(joined([each.offset for each in rows]),),
        weights=joined(weights) if weights else None,
        rows=np.arange(len(X)),
    )
    return Part(of_levels(whole, lead, levels))


def _argument(frame: Frame) -> Any:
    return lambda name: row_argument("argument", name, frame)


def _combined(factors: list[Categories]) -> Ints:
    """(n,) numbers of the combinations of factors."""
    codes = factors[0].codes
    for factor in factors[1:]:
        codes, _ = sorted_codes(codes * (len(factor.levels) + 1) + factor.codes)
    return codes


def _telling(columns: list[Column], num_rows: int) -> Ints:
    """Rows with the first of each level, and with numbers that differ as far as any."""
    found = [np.unique(np.linspace(0, max(num_rows - 1, 0), min(num_rows, SOME_ROWS)).astype(int))]
    for column in columns if num_rows else ():
        if isinstance(column, Categories):
            codes, first = np.unique(column.codes, return_index=True)
            found.append(first[codes >= 0])
            continue
        values = np.asarray(column.values, np.float64)
        if values.ndim > 1 or np.isnan(values).all():
            continue
        low, high = int(np.nanargmin(values)), int(np.nanargmax(values))
        others = np.flatnonzero((values > values[low]) & (values < values[high]))[:1]
        found += [np.array([low, high]), others]
    return np.concatenate(found).astype(np.int64)


def _of_groups(groups: list[Ints]) -> Iterator[Ints]:
    """Rows with the first of each level of grouping factors, and one where a level of one meets two."""
    for codes in groups:
        yield np.unique(codes, return_index=True)[1]
    for one, other in permutations(groups, 2):
        levels, first, place = np.unique(one, return_index=True, return_inverse=True)
        yield np.flatnonzero(other != other[first][place])[:1] if len(levels) else first


def _observe(
    observed: Observed, frame: Frame, rows: NewRows
) -> tuple[Floats, Ints, dict[tuple[int, ...], int]]:
    """Sums and counts of the numbers of each observed column and of the offset; rows of each cell."""
    sums, present, codes = [], [], []
    for known in observed.columns:
        column = take(column_of(frame, known.name), rows.rows)
        if isinstance(column, Categories):
            place = {name: i for i, name in enumerate(known.levels)}
            names = np.array([*(place.get(name, -1) for name in column.levels), -1])
            codes.append(names[column.codes])
            sums.append(0.0)
            present.append(0)
            continue
        values = np.asarray(column.values, np.float64)
        is_there = ~np.isnan(values)
        sums.append(float(values[is_there].sum()))
        present.append(int(is_there.sum()))
        if known.levels:
            levels = np.asarray(known.levels, np.float64)
            found = np.minimum(np.searchsorted(levels, values), len(levels) - 1)
            codes.append(np.where(is_there & (levels[found] == values), found, -1))
    sums.append(float(rows.offset.sum()))
    present.append(len(rows.X))
    cells, counts = cells_of(codes, np.ones(len(rows.X), np.int64))
    table = zip(map(tuple, cells.tolist()), counts.tolist(), strict=True)
    return np.array(sums), np.array(present), dict(table)
