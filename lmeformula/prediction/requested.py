"""The rows that are to be predicted, fitted or new ones, in blocks; and where their answers go."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd

from lmeformula.arrays import Floats, Places
from lmeformula.design.design import Design, NewRows, row_labels
from lmeformula.design.frame import open_frame
from lmeformula.design.given import in_order, index_of
from lmeformula.design.rebuild import rebuild
from lmeformula.design.select import select_rows
from lmeformula.design.used import columns_of_new_rows, looks_at_other_rows
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.fit import FittedModel
from lmeformula.prediction.predictor import check_levels_are_known
from lmeformula.rows import Source, in_blocks, source_of, table_of

NEW_LEVELS = ("error", "population", "sample")
# Rows that are answered for at a time. What is drawn for them is drawn block by block: another number gives
# other draws.
BLOCK = 2**18


class Requested(NamedTuple):
    """A block of the rows that are asked for.

    Attributes:
      rows: the complete ones, of the fit or new.
      places: (n,) where these are among all of the block.
      index: labels of all.
      number: of the block, from 0.
      total: rows of all blocks, where that is known; else those of this one.
      has_labels: whether the labels are more than a count of the rows.
      table: all rows with all columns, where these were asked for: in pandas for tables in memory, else in
        pyarrow.
    """

    rows: Design | NewRows
    places: Places
    index: pd.Index
    number: int = 0
    total: int = 0
    has_labels: bool = False
    table: Any = None

    def spread_out(self, values: Floats) -> Floats:
        """Numbers of the complete rows (n, ...) in the places of all, with nan for the others."""
        whole = np.full((len(self.index), *values.shape[1:]), np.nan)
        whole[self.places] = values
        return whole

    def check_size(self, count: int, most: int, name: str, what: str) -> None:
        """Refuse more numbers than there is room for.

        Args:
          count: how many are asked for each row.
          most: numbers in all.
          name: of the argument that says how many.
          what: they are.
        Raises:
          ModelError: that says how many there may be.
        """
        if self.total * count > most:
            raise ModelError(
                f"{self.total:,} rows times {count:,} {what} are too many numbers",
                hint=f"Take {name}={max(1, most // self.total)} or fewer, or some rows at a time.",
            )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is needed of the rows.

    Attributes:
      kept: whether each random-effects term takes part with the effects of the fit.
      new_levels: one of NEW_LEVELS.
      groups: as in `rebuild`: which terms are built; those that are kept by default.
      response, sizes, offset, weights: as in `rebuild`.
      columns: whether all columns of new rows are asked for.
    """

    kept: tuple[bool, ...]
    new_levels: str
    groups: bool | None = None
    response: bool = False
    sizes: bool = False
    offset: object = None
    weights: object = None
    columns: bool = False


def requested(fit: FittedModel, newdata: object, wanted: Wanted) -> Iterator[Requested]:
    """The rows of a fit, or new ones, a block at a time.

    Blocks have `BLOCK` rows, wherever the rows are: those of a source are read so, in one pass, and never are
    all in memory, unless the formula looks at other rows than the one that it is of.

    Args:
      fit: a fitted model.
      newdata: a table with the columns that the formula uses, or a source of such rows; None for the fitted
        rows.
      wanted: what is needed of them.
    Raises:
      FormulaDataError: if `newdata` lacks a column, or has new levels in kept terms that are an "error".
    """
    design = fit.model.design
    if newdata is None:
        labels = row_labels(design)
        has_labels = not labels.equals(pd.RangeIndex(design.n))
        for number, part in enumerate(parts(design.n)):
            some: Design | NewRows = design if design.n <= BLOCK else select_rows(design, part)
            index = labels[part]
            yield Requested(some, np.arange(len(index)), index, number, design.n, has_labels)
        return
    source = source_of(newdata)
    if source is not None:
        offset = _by_place("offset", wanted.offset, source)
        wanted = replace(
            wanted, offset=offset, weights=_by_place("weights", wanted.weights, source)
        )
    if source is not None and not looks_at_other_rows(design):
        yield from _elsewhere(design, source, wanted)
        return
    table = None
    if source is not None and wanted.columns:
        newdata = next(in_blocks(source, source.columns, sys.maxsize), source)
        table = table_of(newdata)
    elif wanted.columns:
        table = in_pandas(newdata)
    rows = _rebuilt(design, newdata, wanted, (wanted.offset, wanted.weights))
    labels = newdata.index if isinstance(newdata, pd.DataFrame) else pd.RangeIndex(rows.num_rows)
    has_labels = index_of(newdata) is not None
    for number, part in enumerate(parts(rows.num_rows)):
        index, few = labels[part], rows
        if rows.num_rows > BLOCK:
            ends = np.searchsorted(rows.rows, [part.start, part.stop])
            few = select_rows(rows, slice(*ends))
            few = replace(few, rows=few.rows - part.start, num_rows=len(index))
        each = None if table is None else some_rows(table, part)
        yield Requested(few, few.rows, index, number, rows.num_rows, has_labels, each)


def in_pandas(table: Any) -> pd.DataFrame:
    """A table in memory as pandas has it; a pandas one as it is.

    Raises:
      FormulaDataError: if it is no table.
    """
    open_frame(table)  # which says what is no table
    if isinstance(table, Mapping):
        return pd.DataFrame(table)
    found: pd.DataFrame = nw.from_native(table, eager_only=True).to_pandas()
    return found


def some_rows(table: Any, part: slice) -> Any:
    """Successive rows of a table of pandas or pyarrow."""
    if isinstance(table, pd.DataFrame):
        return table.iloc[part]
    return table.slice(part.start, part.stop - part.start)


def parts(num_rows: int) -> Iterator[slice]:
    """Where the blocks of so many rows are."""
    return (slice(start, min(start + BLOCK, num_rows)) for start in range(0, num_rows, BLOCK))


def blocks_of(source: Source, names: Sequence[str]) -> Iterator[tuple[slice, Source]]:
    """The blocks of a source: where each is, and its columns of these names."""
    start = 0
    for block in in_blocks(source, names, BLOCK):
        assert block.num_rows is not None
        stop = start + block.num_rows
        yield slice(start, stop), block
        start = stop


def _rebuilt(
    design: Design, newdata: object, wanted: Wanted, given: tuple[object, object], where: str = ""
) -> NewRows:
    offset, weights = given
    rows = rebuild(
        design,
        newdata,
        groups=wanted.kept if wanted.groups is None else wanted.groups,
        response=wanted.response,
        sizes=wanted.sizes,
        offset=offset,
        weights=weights,
    )
    if wanted.new_levels == "error":
        check_levels_are_known(rows, wanted.kept, where)
    return rows


def _elsewhere(design: Design, source: Source, wanted: Wanted) -> Iterator[Requested]:
    given = {"offset": wanted.offset, "weights": wanted.weights}
    names: Sequence[str] = source.columns
    if not wanted.columns:
        names = columns_of_new_rows(design, source.columns, tuple(given.values()))
    seen, stop = _Seen(), 0
    for number, (part, block) in enumerate(blocks_of(source, names or source.columns[:1])):
        stop = part.stop
        for name, each in given.items():
            if _length(each, stop) < stop:
                raise FormulaDataError(
                    f"the argument {name} has {_length(each, stop):,} values, and the data have more rows"
                )
        offset, weights = (_between(each, part) for each in given.values())
        where = f" of rows {part.start:,} to {stop - 1:,}"
        rows = seen.numbered(_rebuilt(design, block, wanted, (offset, weights), where))
        table = table_of(block) if wanted.columns else None
        index = pd.RangeIndex(part.start, stop)
        yield Requested(rows, rows.rows, index, number, len(index), table=table)
    if stop == 0:
        # Which says that there are no rows.
        _rebuilt(design, source, wanted, (wanted.offset, wanted.weights))
    for name, each in given.items():
        if _length(each, stop) > stop:
            raise FormulaDataError(
                f"the argument {name} has {_length(each, stop):,} values for {stop:,} rows of data"
            )


def _by_place(name: str, given: Any, source: Source) -> Any:
    """Offset or weights of a source: a pandas Series in the order of the rows, as the fit takes it."""
    if not nw.dependencies.is_pandas_series(given):
        return given
    # Blocks do not know the labels of their rows.
    labels = open_frame(source, lambda _: ()).labels if source.labels else None
    return in_order(name, given, labels, len(given)).to_numpy()


def _length(given: Any, otherwise: int) -> int:
    """How many rows offset or weights are of, where they are no column."""
    is_given = hasattr(given, "__len__") and not isinstance(given, str)
    return len(given) if is_given else otherwise


def _between(given: Any, part: slice) -> Any:
    """Offset or weights of some rows; a column's name stays one."""
    if given is None or isinstance(given, str) or not hasattr(given, "__len__"):
        return given
    return given.iloc[part] if hasattr(given, "iloc") else given[part]


@dataclass(frozen=True, slots=True)
class _Seen:
    """Levels that the fit has not seen, numbered through all blocks: each has the same draws in all of them.

    Attributes:
      numbers: of each grouping factor, by level, in the order of appearance.
    """

    numbers: dict[str, dict[str, int]] = field(default_factory=dict)

    def numbered(self, rows: NewRows) -> NewRows:
        """A block's rows, whose unseen levels are -1 less their number among all."""
        if not rows.unseen:
            return rows
        among = {group: self._among(group, rows.unseen) for group in rows.unseen}
        terms = []
        for block in rows.terms:
            numbers = among.get(block.group)
            if numbers is not None:
                is_unseen = block.index < 0
                index = block.index.copy()
                index[is_unseen] = -1 - numbers[-1 - block.index[is_unseen]]
                block = replace(block, index=index)
            terms.append(block)
        return replace(rows, terms=tuple(terms))

    def _among(self, group: str, unseen: Mapping[str, tuple[str, ...]]) -> Any:
        known = self.numbers.setdefault(group, {})
        return np.array([known.setdefault(level, len(known)) for level in unseen[group]])
