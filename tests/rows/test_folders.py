"""Names of folders are columns of the rows in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from lmeformula.design.frame import column_of, open_frame
from lmeformula.design.values import Categories


def values(data: Any, name: str) -> Any:
    column = column_of(open_frame(data), name)
    if isinstance(column, Categories):
        return np.array([*column.levels, None], dtype=object)[column.codes].tolist()
    return str(column.values.tolist())


def write(frame: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_folders_are_columns(kind: str, tmp_path: Path) -> None:
    top = tmp_path / "run=3"
    for year, land in ((2021, "NA"), (2020, "a%20b"), (2020, "__HIVE_DEFAULT_PARTITION__")):
        write(pd.DataFrame({"x": [year + 0.5]}), top / f"year={year}/land={land}/a.{kind}")
    data = top / "**" / f"*.{kind}"
    assert open_frame(data).columns == ("x", "year", "land")
    assert values(data, "x") == "[2020.5, 2020.5, 2021.5]"
    assert values(data, "year") == "[2020, 2020, 2021]"
    assert values(data, "land") == [None, "a b", "NA"]
    if kind == "parquet":
        assert values(top, "land") == [None, "a b", "NA"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_folder_does_not_replace_a_column(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"x=5/a.{kind}"
    write(pd.DataFrame({"x": [1, 3]}), path)
    assert values(path, "x") == values(tmp_path / f"*/*.{kind}", "x") == "[1, 3]"
    write(pd.DataFrame({"y": [1, 3]}), path)
    assert values(tmp_path / f"*/*.{kind}", "x") == "[5, 5]"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_folders_of_other_columns_are_none(kind: str, tmp_path: Path) -> None:
    write(pd.DataFrame({"y": [1]}), tmp_path / f"a=5/a.{kind}")
    write(pd.DataFrame({"y": [2]}), tmp_path / f"b=5/a.{kind}")
    assert open_frame(tmp_path / f"*/*.{kind}").columns == ("y",)


def test_a_dataset_whose_first_file_has_no_values_in_a_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"g": pa.nulls(2), "x": [1, 2]}), tmp_path / "a.parquet")
    codes = pa.DictionaryArray.from_arrays(pa.array([0, 1]), ["u", "v"])
    pq.write_table(pa.table({"g": codes, "x": [3, 4]}), tmp_path / "b.parquet")
    for data in (tmp_path, ds.dataset(tmp_path)):
        assert values(data, "g") == [None, None, "u", "v"]
