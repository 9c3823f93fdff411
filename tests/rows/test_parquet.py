"""Parquet files are read a block at a time to what Arrow's own scan gives, whatever their row groups are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from lmeformula.rows import parquet
from lmeformula.rows.parquet import dataset_blocks


def _categories(*names: str | None, ordered: bool = False) -> pa.Array:
    found = pa.array(names).dictionary_encode()
    return pa.DictionaryArray.from_arrays(found.indices, found.dictionary, ordered=ordered)


# The columns of a first file and of a second one.
PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "whole and not": ({"x": [1, 2, 3]}, {"x": [1.5, None, 2.0]}),
    "nothing at first": ({"x": pa.nulls(3)}, {"x": ["a", None, "b"]}),
    "nothing then": ({"x": ["a", None, "b"]}, {"x": pa.nulls(3)}),
    "another column": ({"x": ["a", None, "b"]}, {"z": [1, 2, 3]}),
    "categories": ({"x": _categories("a", "b", None)}, {"x": _categories("c", "b", "c")}),
    "ordered": ({"x": _categories("a", "b", ordered=True)}, {"x": _categories("a", ordered=True)}),
    "two widths": ({"x": pa.array([1, 2], pa.int8())}, {"x": pa.array([300], pa.uint16())}),
    "a point in a name": ({"a.b": [1, 2], "a": [3, 4]}, {"a": [5], "a.b": [6]}),
    "no rows": ({"x": pa.array([], pa.int64())}, {"x": [1, 2, 3]}),
    "text": ({"x": pa.array(["a"], pa.large_string())}, {"x": pa.array(["b"], pa.large_string())}),
}


def _dataset(folder: Path, pair: tuple[dict[str, Any], dict[str, Any]]) -> ds.Dataset:
    for number, columns in enumerate(pair):
        (folder / f"k={number}").mkdir()
        pq.write_table(pa.table(columns), folder / f"k={number}" / "all.parquet", row_group_size=2)
    names = sorted(map(str, folder.rglob("*.parquet")))
    said = pa.schema([("k", pa.int64())])
    schema = pa.unify_schemas(
        [*map(pq.read_schema, names), said], promote_options="permissive"
    ).remove_metadata()
    partitioning = ds.partitioning(said, flavor="hive")
    return ds.dataset(names, schema=schema, format="parquet", partitioning=partitioning)


@pytest.mark.parametrize("pair", PAIRS)
def test_blocks_are_what_arrow_scans(pair: str, tmp_path: Path) -> None:
    dataset = _dataset(tmp_path, PAIRS[pair])
    for wanted in (dataset.schema.names, ["k"]):
        schema = pa.schema([dataset.schema.field(name) for name in wanted])
        found = pa.Table.from_batches(list(dataset_blocks(dataset, wanted)), schema)
        assert found.to_pylist() == dataset.to_table(columns=wanted).to_pylist()


def _filtered(dataset: ds.Dataset) -> ds.Dataset:
    return dataset.filter(ds.field("x") > 5)


def _of_row_groups(dataset: ds.Dataset) -> ds.Dataset:
    (fragment,) = dataset.get_fragments()
    chosen = [fragment.subset(row_group_ids=[1])]
    return ds.FileSystemDataset(chosen, dataset.schema, dataset.format, dataset.filesystem)


@pytest.mark.parametrize("change", [_filtered, _of_row_groups])
def test_parts_of_a_dataset_are_those_parts(change: Any, tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": range(12)}), tmp_path / "x.parquet", row_group_size=4)
    dataset = change(ds.dataset(tmp_path / "x.parquet"))
    found = pa.Table.from_batches(list(dataset_blocks(dataset, ["x"])))
    assert found.equals(dataset.to_table())
    assert 0 < found.num_rows < 12


def test_blocks_are_smaller_than_a_row_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({"x": range(10)}), tmp_path / "x.parquet")
    monkeypatch.setattr(parquet, "BLOCK_ROWS", 4)
    blocks = dataset_blocks(ds.dataset(tmp_path / "x.parquet"), ["x"])
    assert [block.num_rows for block in blocks] == [4, 4, 2]
