"""What is said of rows, block by block: put together in memory, or written to a file as it is worked out.

The rule for every statistic of rows: what comes back is a pandas object with the index of the rows, wherever
they are; of rows in polars it is one of polars. With `to` the answer is written to that Parquet file, in the
order of the rows, while they are read, and what comes back is the file as a source of the kind that the rows
came from.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd

from lmeformula.design.design import row_labels
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.fit import FittedModel
from lmeformula.prediction.requested import Requested, parts
from lmeformula.rows import like, parquet_file, parquet_target, source_of
from lmeformula.rows.files import is_read_from
from lmeformula.rows.machine import GIB, machine_memory
from lmeformula.rows.written import check_replaced
from lmeformula.watch import watched

# In pandas, or a pyarrow table.
Answer: TypeAlias = Any
# Where an answer is written; None for memory.
Target: TypeAlias = "str | os.PathLike[str] | None"


def answered(
    blocks: Iterable[Requested],
    work: Callable[[Requested], Answer],
    newdata: object,
    to: Target,
) -> Any:
    """Work an answer out, block by block.

    Args:
      blocks: the rows.
      work: what is said of a block, with its index.
      newdata: where the rows came from; None for the fitted ones.
      to: the Parquet file, which is there whole or not at all; None for an answer in memory.
    Returns:
      answer: as `work` has it, of all blocks, in polars where `newdata` is; or a source of the kind of
        `newdata` that reads the file, which is its path where `newdata` is a path, a table in memory, or None.
    Raises:
      FormulaDataError: if the name of the file does not end in .parquet, or it is one that the rows are read
        from, or that holds something else than an earlier answer.
      ModelError: if an answer in memory does not fit there.
      OSError: if the file cannot be written.
    """
    with watched("answers", _num_rows(newdata), "rows") as watch:

        def worked(asked: Requested) -> Answer:
            found = work(asked)
            watch.step(len(asked.index))
            return found

        if to is None:
            whole = _together((worked(asked), asked.index) for asked in blocks)
            return in_polars(whole) if is_of_polars(newdata) else whole
        target = parquet_target(to)
        _check_is_other(target, newdata)
        check_replaced(target)
        with parquet_file(target) as write:
            for asked in blocks:
                write(_as_table(worked(asked), asked.has_labels))
    return like(newdata, target)


def is_of_polars(table: object) -> bool:
    """Whether a table is one of polars, which need not be installed."""
    return nw.dependencies.is_polars_dataframe(table) or nw.dependencies.is_polars_lazyframe(table)


def in_polars(found: pd.Series | pd.DataFrame) -> Any:
    """A pandas object as one of polars, which has no index."""
    import polars

    return polars.from_pandas(found.reset_index(drop=True))


def _num_rows(newdata: object) -> int | None:
    """How many rows there are, where that is known before they are read."""
    if isinstance(newdata, str | os.PathLike):
        source = source_of(newdata)
        return None if source is None else source.num_rows
    return len(newdata) if isinstance(newdata, pd.DataFrame) else None


def laid_out(fit: FittedModel, columns: Mapping[str, Any], to: Target) -> Any:
    """Columns (n,) over the fitted rows, as `answered` has them.

    Args:
      fit: a fitted model with its rows.
      columns: by name.
      to: as there.
    """
    design = fit.model.design
    labels = row_labels(design)
    has_labels = not labels.equals(pd.RangeIndex(design.n))
    blocks = (
        Requested(design, np.arange(design.n)[part], labels[part], number, design.n, has_labels)
        for number, part in enumerate(parts(design.n))
    )

    def work(asked: Requested) -> pd.DataFrame:
        some = {name: values[asked.places] for name, values in columns.items()}
        return pd.DataFrame(some, index=asked.index)

    return answered(blocks, work, None, to)


def _together(parts: Iterable[tuple[Answer, pd.Index]]) -> Answer:
    held: list[Answer] = []
    labels: list[pd.Index] = []
    num_bytes, memory = 0.0, machine_memory()
    for part, index in parts:
        held.append(part)
        labels.append(index)
        num_bytes += _size(part)
        # Blocks are there twice when they are put together.
        if len(held) > 1 and 2.0 * num_bytes > memory:
            raise ModelError(
                f"the answer for the first {sum(map(len, held)):,} rows takes {num_bytes / GIB:,.1f} GiB, "
                f"and this machine has {memory / GIB:,.1f} GiB",
                hint='Write it to a file as it is worked out: to="answer.parquet".',
            )
    if not isinstance(held[0], pd.Series | pd.DataFrame):
        import pyarrow as pa

        whole = pa.concat_tables(held, promote_options="permissive").to_pandas()
        return whole.set_axis(labels[0].append(labels[1:]))
    return held[0] if len(held) == 1 else pd.concat(held)


def _size(part: Answer) -> float:
    if isinstance(part, pd.Series | pd.DataFrame):
        return float(np.sum(part.memory_usage(index=False)))
    return float(part.nbytes)


def _as_table(answer: Answer, has_labels: bool) -> Any:
    import pyarrow as pa

    if isinstance(answer, pa.Table):
        return answer
    frame = answer.to_frame() if isinstance(answer, pd.Series) else answer
    return pa.Table.from_pandas(frame, preserve_index=has_labels)


def _check_is_other(target: Path, newdata: object) -> None:
    """Refuse to replace a file that the rows are read from, and to write one more of them."""
    if not isinstance(newdata, str | os.PathLike):
        return
    if is_read_from(os.fsdecode(newdata), target):
        raise FormulaDataError(
            f"{target} is a file that the rows are read from, or would be the next time",
            hint="Write to another one.",
        )
