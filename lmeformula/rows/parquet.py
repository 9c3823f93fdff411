"""Rows of Parquet files a few pages at a time: a block is in memory, however large a row group is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from lmeformula.rows.source import BLOCK_ROWS

# Bytes of a column that are brought in together.
BUFFER = 2**20


class _Part(NamedTuple):
    """A file of a Dataset.

    Attributes:
      fragment: as Arrow has it.
      said: what the folders it is in say of all of its rows, by column.
    """

    fragment: Any
    said: dict[str, Any]


def dataset_blocks(dataset: Any, wanted: list[str]) -> Iterator[Any]:
    """Read columns of a pyarrow Dataset, in the order of its rows.

    Arrow's own scan of a Dataset has a whole row group in memory, which may be a whole file: Parquet files are
    read one after the other instead. Datasets of other kinds, and those with filters and the like, are scanned.

    Args:
      dataset: the Dataset.
      wanted: names of its columns.
    Returns:
      Record batches or tables with these, of at most `BLOCK_ROWS` rows.
    """
    parts = _parts(dataset)
    if parts is None:
        # By default sixteen blocks are read ahead of the one that is looked at.
        yield from dataset.to_batches(
            columns=wanted, batch_size=BLOCK_ROWS, batch_readahead=2, fragment_readahead=1
        )
        return
    for part in parts:
        yield from _read(part, dataset.schema, wanted)


def _parts(dataset: Any) -> list[_Part] | None:
    """The files of a Dataset of whole and plain Parquet files; None of others."""
    import pyarrow.dataset as ds

    if not isinstance(dataset, ds.FileSystemDataset):
        return None
    kind = dataset.format
    if not isinstance(kind, ds.ParquetFileFormat) or kind != ds.ParquetFileFormat():
        return None
    try:
        fragments = list(dataset.get_fragments())
    except ValueError:  # it has a filter, or other columns
        return None
    found = []
    for fragment in fragments:
        said = ds.get_partition_keys(fragment.partition_expression)
        names = fragment.physical_schema.names
        # What is said twice, and a column of a file in several places, Arrow has its rules for.
        if len(set(names)) < len(names) or set(said) & set(names):
            return None
        found.append(_Part(fragment, said))
    return found


def _read(part: _Part, schema: Any, wanted: list[str]) -> Iterator[Any]:
    """The rows of one file, with the types that the Dataset has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (
        part.fragment.open() as opened,
        pq.ParquetFile(opened, pre_buffer=False, buffer_size=BUFFER) as file,
    ):
        there = [name for name in wanted if name in file.schema_arrow.names]
        groups = [group.id for group in part.fragment.row_groups]
        for batch in file.iter_batches(BLOCK_ROWS, row_groups=groups, columns=there):
            columns = []
            for name in wanted:
                kind = schema.field(name).type
                if name in there:
                    columns.append(batch.column(name).cast(kind))
                else:
                    value = pa.scalar(part.said.get(name)).cast(kind)
                    columns.append(pa.repeat(value, batch.num_rows))
            yield pa.record_batch(columns, names=wanted)
