"""Blocks of a source have one size, whatever the source reads at a time; files of blocks are whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmeformula.errors import FormulaDataError
from lmeformula.rows import Source, gather, in_blocks, parquet_file, table_of


def source_of_pieces(sizes: list[int]) -> Source:
    whole = pa.table({"a": np.arange(sum(sizes)), "b": [str(i % 3) for i in range(sum(sizes))]})
    starts = np.cumsum([0, *sizes])

    def blocks(names: list[str]):
        yield from (
            whole.select(names).slice(start, size)
            for start, size in zip(starts, sizes, strict=False)
        )

    return Source("pieces", ("a", "b"), blocks)


@pytest.mark.parametrize("sizes", [[10], [1] * 10, [3, 0, 7], [4, 4, 2], [9, 1], []])
@pytest.mark.parametrize("size", [1, 4, 10, 99])
def test_blocks_are_the_rows_in_order(sizes: list[int], size: int) -> None:
    blocks = list(in_blocks(source_of_pieces(sizes), ("b", "a"), size))
    total = sum(sizes)
    assert [block.num_rows for block in blocks] == [
        min(size, total - start) for start in range(0, total, size)
    ]
    read = [gather(block, ["a"]).columns["a"].to_pylist() for block in blocks]
    assert [row for each in read for row in each] == list(range(total))
    tables = [
        table_of(block).column("b").to_pylist()
        for block in in_blocks(source_of_pieces(sizes), ("a", "b"), size)
    ]
    assert [row for each in tables for row in each] == [str(i % 3) for i in range(total)]


def test_later_tables_are_cast_and_what_does_not_fit_leaves_no_file(tmp_path: Path) -> None:
    target = tmp_path / "all.parquet"
    with parquet_file(target) as write:
        write(pa.table({"x": pa.array([1.0]), "k": pa.array(["a"]).dictionary_encode()}))
        write(pa.table({"x": pa.array([2]), "k": pa.array(["b"]).dictionary_encode()}))
    assert pq.read_table(target).to_pydict() == {"x": [1.0, 2.0], "k": ["a", "b"]}
    other = tmp_path / "other.parquet"

    def both() -> None:
        with parquet_file(other) as write:
            write(pa.table({"x": [1.0]}))
            write(pa.table({"x": ["text"]}))

    with pytest.raises(FormulaDataError, match="does not fit"):
        both()
    assert [each.name for each in tmp_path.iterdir()] == ["all.parquet"]
