"""What is read from a source is what the same table in memory gives: columns, designs, messages."""

from __future__ import annotations

import json
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import dask.dataframe as dd
import duckdb
import ibis
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import lmeformula as lf
from lmeformula.design import Design, design
from lmeformula.design.frame import column_of, open_frame
from lmeformula.design.values import Categories
from lmeformula.errors import FormulaDataError, LmeFormulaError, MissingLibraryError
from lmeformula.rows import gather, source_of

LME4 = Path(__file__).parents[1] / "design" / "lme4"


class Pair(NamedTuple):
    """A source, and what its own library makes of it in memory."""

    source: Any
    table: Any


class Spark:
    """A data frame of the two methods that are asked of PySpark's."""

    def __init__(self, table: pa.Table) -> None:
        self._table, self.columns = table, table.column_names

    def select(self, *names: str) -> Spark:
        return Spark(self._table.select([name.strip("`") for name in names]))

    def toArrow(self) -> pa.Table:
        return self._table


def parquet(table: pa.Table, folder: Path) -> Pair:
    path = folder / "all.parquet"
    pq.write_table(table, path)
    return Pair(str(path), pd.read_parquet(path))


def parts(table: pa.Table, folder: Path) -> Pair:
    inside = folder / "parts"
    inside.mkdir()
    third = max(table.num_rows // 3, 1)
    for place in range(0, table.num_rows, third):
        pq.write_table(table.slice(place, third), inside / f"{place:09}.parquet")
    return Pair(inside / "*.parquet", table)


def text(table: pa.Table, folder: Path) -> Pair:
    path = folder / "all.csv.gz"
    table.to_pandas().to_csv(path, index=False)
    return Pair(path, pd.read_csv(path))


def relation(table: pa.Table, _: Path) -> Pair:
    connection = duckdb.connect()
    connection.register("given", table)
    connection.execute("create table t as select * from given")
    found = connection.table("t")
    return Pair(found, found.to_arrow_table())


def polars(table: pa.Table, _: Path) -> Pair:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return Pair(frame.lazy(), frame)


def ibis_table(table: pa.Table, _: Path) -> Pair:
    found = ibis.polars.connect().create_table("t", table)
    return Pair(found, found.to_pyarrow())


def dataset(table: pa.Table, folder: Path) -> Pair:
    ds.write_dataset(table, folder / "set", format="feather")
    found = ds.dataset(folder / "set", format="feather")
    return Pair(found, found.to_table())


def dask(table: pa.Table, _: Path) -> Pair:
    found = dd.from_pandas(table.to_pandas(), npartitions=3, sort=False)
    return Pair(found, found.compute())


def spark(table: pa.Table, _: Path) -> Pair:
    return Pair(Spark(table), table)


KINDS: dict[str, Callable[[pa.Table, Path], Pair]] = {
    "one Parquet file": parquet,
    "several Parquet files": parts,
    "a compressed text file": text,
    "a DuckDB relation": relation,
    "a polars LazyFrame": polars,
    "an Ibis table": ibis_table,
    "a pyarrow Dataset": dataset,
    "a Dask frame": dask,
    "a Spark frame": spark,
}


@pytest.fixture(autouse=True)
def _spark_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("pyspark.sql")
    module.DataFrame = Spark  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyspark.sql", module)


# ---- columns --------------------------------------------------------------------------------------------

NA = None
TEXTS = ["b", NA, "a", "é", "b", "NAN", ""]
COLUMNS: dict[str, pa.Array] = {
    "numbers": pa.array([1.5, NA, -2.0, float("nan"), 1e300, 0.0, 3.0]),
    "float32": pa.array([1.5, NA, -2.0, 0.1, 1e30, 0.0, 3.0], pa.float32()),
    "whole": pa.array([3, 1, 2, 2, 3, 1, 1]),
    "small": pa.array([3, 1, 2, 2, 3, 1, 1], pa.int8()),
    "unsigned": pa.array([3, 1, 2, 2, 3, 1, 2**32 - 1], pa.uint32()),
    "missing whole": pa.array([3, NA, 2, 2, 3, 1, 1]),
    "long ids": pa.array([2**60, 2**60 + 1, NA, 2**60, 1, 2, 3]),
    "truth": pa.array([True, False, NA, True, True, False, False]),
    "text": pa.array(TEXTS),
    "large text": pa.array(TEXTS, pa.large_string()),
    "categories": pa.DictionaryArray.from_arrays(
        pa.array([2, 0, NA, 1, 2, 0, 0]), ["lo", "mid", "hi", "none"]
    ),
    "days": pa.array(np.array(["2020-01-02", "2020-01-01"] * 3 + ["NaT"], "M8[D]")),
    "nothing": pa.array([NA] * 7, pa.float64()),
}


def summary(column: Any) -> tuple[Any, ...]:
    if isinstance(column, Categories):
        labels = np.array([*column.levels, None], dtype=object)[column.codes].tolist()
        return type(column), labels, column.levels, column.ordered, column.is_text, column.is_time
    return type(column), str(column.values.tolist()), column.values.dtype.kind


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_column_is_what_it_is_in_memory(kind: str, column: str, tmp_path: Path) -> None:
    source, table = KINDS[kind](pa.table({column: COLUMNS[column], "row": range(7)}), tmp_path)
    found = column_of(open_frame(source, lambda _: [column]), column)
    assert summary(found) == summary(column_of(open_frame(table), column))


# ---- designs --------------------------------------------------------------------------------------------


def read(name: str) -> pa.Table:
    frame = pd.read_csv(LME4 / name)
    for column in json.loads((LME4 / "schema.json").read_text())["columns"]:
        if column["dtype"] in ("factor", "ordered"):
            is_ordered = column["dtype"] == "ordered"
            key = column["name"]
            frame[key] = pd.Categorical(frame[key], column["levels"], ordered=is_ordered)
    return pa.Table.from_pandas(frame, preserve_index=False)


TABLES = {"": read("data.csv"), "na": read("data_na.csv")}
CASES = [
    case
    for case in json.loads((LME4 / "cases.json").read_text())["cases"]
    if "select" not in case and case["policy"] != "optional"
]


def same(a: Design, b: Design) -> None:
    assert a.names == b.names
    assert a.num_missing == b.num_missing
    np.testing.assert_array_equal(a.X, b.X)
    np.testing.assert_array_equal(a.rows, b.rows)
    np.testing.assert_array_equal(a.offset, b.offset)
    if a.response is not None:
        assert b.response is not None
        np.testing.assert_array_equal(a.response.values, b.response.values)
    for p, q in zip(a.terms, b.terms, strict=True):
        np.testing.assert_array_equal(p.values, q.values)
        np.testing.assert_array_equal(p.index, q.index)
        assert (p.name, p.columns, p.levels) == (q.name, q.columns, q.levels)


def check_design(kind: str, case: dict[str, Any], pairs: dict[str, Pair]) -> None:
    source, table = pairs[case.get("data", "")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = made(case["formula"], table)
        found = made(case["formula"], source)
    if isinstance(expected, Design):
        assert isinstance(found, Design)
        same(found, expected)
    else:
        # What a library reads as another type, such as text for categories, may not fit the formula.
        assert found == expected


def made(formula: str, data: Any) -> Design | str:
    """The design, or the message of its refusal."""
    try:
        return design(formula, data)
    except LmeFormulaError as error:
        return str(error)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Pair]]:
    made: dict[str, dict[str, Pair]] = {}
    for kind, make in KINDS.items():
        made[kind] = {
            name: make(table, tmp_path_factory.mktemp("rows")) for name, table in TABLES.items()
        }
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_designs_are_those_of_the_table_in_memory(
    kind: str, pairs: dict[str, dict[str, Pair]]
) -> None:
    # Each formula by one source; by all of them in the slow test.
    for case in CASES[list(KINDS).index(kind) :: len(KINDS)]:
        check_design(kind, case, pairs[kind])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_all_designs_by_all_sources(kind: str, pairs: dict[str, dict[str, Pair]]) -> None:
    for case in CASES:
        check_design(kind, case, pairs[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_new_rows_come_from_a_source(kind: str, pairs: dict[str, dict[str, Pair]]) -> None:
    source, table = pairs[kind][""]
    made = design("y ~ x + scale(z) + a + (x | g)", source)
    found, expected = made.rebuild(source), made.rebuild(table)
    np.testing.assert_array_equal(found.X, expected.X)
    np.testing.assert_array_equal(found.terms[0].index, expected.terms[0].index)


def test_weights_and_offsets_are_columns_of_the_source(tmp_path: Path) -> None:
    table = TABLES[""]
    source, _ = parquet(table, tmp_path)
    made = design("y ~ x + (1 | g)", source, weights="w", offset="z")
    expected = design("y ~ x + (1 | g)", table, weights="w", offset="z")
    assert made.weights is not None
    assert expected.weights is not None
    np.testing.assert_array_equal(made.weights, expected.weights)
    np.testing.assert_array_equal(made.offset, expected.offset)


# ---- odd columns ------------------------------------------------------------------------------------------


def test_names_that_are_patterns_are_names() -> None:
    frame = pl.DataFrame({"^a.*$": [1], "ab": [2], "*": [3]})
    found = open_frame(frame.lazy())
    assert [column_of(found, name).values.tolist() for name in frame.columns] == [[1], [2], [3]]


def test_names_that_are_numbers() -> None:
    found = open_frame(dd.from_pandas(pd.DataFrame({0: [1], 1: [2]}), npartitions=1))
    assert column_of(found, "1").values.tolist() == [2]


def test_labels_of_rows_are_no_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"y": [1.0, 2.0, 4.0], "x": [0.0, 1.0, 3.0]}, index=[5, 9, 2])
    frame.to_parquet(tmp_path / "a.parquet")
    assert design("y ~ .", tmp_path / "a.parquet").names == ("Intercept", "x")


def test_categories_all_missing() -> None:
    frame = pl.DataFrame({"c": pl.Series([NA, NA], dtype=pl.Categorical)})
    assert summary(column_of(open_frame(frame.lazy()), "c")) == summary(
        column_of(open_frame(frame), "c")
    )


def test_missing_values_among_the_categories_of_several_blocks() -> None:
    codes = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), pa.array(["b", NA, "a"]))
    table = pa.table({"c": codes})
    blocks = [table.slice(0, 1), table.slice(1, 2)]
    for data in (ds.dataset(blocks), pa.concat_tables(blocks)):
        assert summary(column_of(open_frame(data), "c"))[1] == ["b", None, "a"]


# ---- how it is read -------------------------------------------------------------------------------------


def test_only_the_columns_of_the_formula_are_read_and_once() -> None:
    asked: list[list[str]] = []

    class Counting(ds.InMemoryDataset):
        def to_batches(self, columns: Any = None, **kwargs: Any) -> Any:
            asked.append(columns)
            return super().to_batches(columns=columns, **kwargs)

    table = TABLES[""].append_column("unused", pa.array(["t"] * TABLES[""].num_rows))
    formulas = {"mu": "y ~ x + exp(w) + (x | g) + offset(z)", "sigma": "~ b + (1 | h)"}
    design(formulas, Counting(table))
    assert [sorted(names) for names in asked] == [["b", "g", "h", "w", "x", "y", "z"]]


def test_text_is_held_as_codes() -> None:
    n = 300_000
    names = np.char.add("a level with a long name ", (np.arange(n) % 7).astype(str))
    found = gather(source_of(pl.LazyFrame({"g": names})), ["g"])  # type: ignore[arg-type]
    assert found.num_rows == n
    assert found.num_bytes < 5 * n


def test_blocks_with_other_names_are_one_factor() -> None:
    # More blocks than dictionaries are kept of, each with names of its own.
    n, rows = 50, 20
    parts = [pd.DataFrame({"g": [f"{(7 * i + j) % 90}" for j in range(rows)]}) for i in range(n)]
    frame = pd.concat(parts, ignore_index=True)
    tables = [pa.Table.from_pandas(part, preserve_index=False) for part in parts]
    found = column_of(open_frame(ds.dataset(tables)), "g")
    assert summary(found) == summary(column_of(open_frame(frame), "g"))


def test_ordered_categories_may_lack_the_last_ones(tmp_path: Path) -> None:
    for name, levels in {"a": ["low"], "b": ["low", "high"], "c": ["low"]}.items():
        column = pd.Categorical(levels, levels, ordered=True)
        pd.DataFrame({"x": column}).to_parquet(tmp_path / f"{name}.parquet")
    found = column_of(open_frame(tmp_path), "x")
    assert isinstance(found, Categories)
    assert (found.levels, found.ordered) == (("low", "high"), True)
    assert found.codes.tolist() == [0, 0, 1, 0]


def test_a_column_of_several_number_types_is_of_the_widest(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": pa.array([1, 2], pa.int32())}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": pa.array([0.5, NA])}), tmp_path / "b.parquet")
    found = column_of(open_frame(tmp_path / "*.parquet"), "x")
    assert summary(found)[1] == "[1.0, 2.0, 0.5, nan]"


# ---- what cannot be read --------------------------------------------------------------------------------


def write(folder: Path, **files: bytes) -> Path:
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return folder


def of_two_types(folder: Path) -> Path:
    pq.write_table(pa.table({"x": [1, 2]}), folder / "a.parquet")
    pq.write_table(pa.table({"x": ["u"]}), folder / "b.parquet")
    return folder


def of_two_orders(folder: Path) -> Path:
    for name, levels in {"a": ["low", "high"], "b": ["low", "mid", "high"]}.items():
        column = pd.Categorical(["low", "high"], levels, ordered=True)
        pd.DataFrame({"x": column}).to_parquet(folder / f"{name}.parquet")
    return folder


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no file": (lambda folder: folder / "none.parquet", "there is no file"),
    "no match": (lambda folder: folder / "*.csv", "there is no file"),
    "an empty folder": (lambda folder: folder, "has no Parquet files"),
    "a damaged file": (lambda folder: write(folder, a_parquet=b"PAR1....") / "a.parquet", "cannot be read"),
    "both kinds": (lambda folder: write(folder, a_csv=b"x\n1\n", b_csv=b"PAR1") / "*.csv", "and others"),
    "types that do not fit": (of_two_types, "cannot be read"),
    "orders that differ": (of_two_orders, "to the next: low < high; and low < mid < high"),
    "an empty file": (lambda folder: write(folder, a_csv=b"") / "a.csv", "the data has no columns"),
    "a name with a zero": (lambda _: "a\0b", "there is no file"),
    "an empty name": (lambda _: "", "there is no file"),
    "a name too long": (lambda _: "x,y\n" * 999, "this is not the path of a file"),
    "the home of nobody": (lambda _: "~nobody-at-all/a.csv", "there is no file"),
    "a lazy frame of no file": (lambda folder: pl.scan_parquet(folder / "none"), "LazyFrame cannot be read"),
    "a failing relation": (
        lambda _: duckdb.sql("select cast(x as integer) as x from (values ('u')) t(x)"),
        "a DuckDB relation cannot be read: Conversion Error",
    ),
    "a failing lazy frame": (
        lambda _: pl.LazyFrame({"x": ["u"]}).select(pl.col("x").cast(pl.Int64)),
        "a polars LazyFrame cannot be read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_our_words(name: str, tmp_path: Path) -> None:
    make, problem = REFUSED[name]
    with pytest.raises(FormulaDataError) as error:
        design("~ x", make(tmp_path))
    assert problem in error.value.problem


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_missing_library_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path, a_csv=b"x\n1\n", a_parquet=b"PAR1")
    for module in [module for module in sys.modules if module.split(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingLibraryError, match=r"lmeformula\[big\]"):
        design("~ x", folder / name)


def test_what_memory_does_not_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = parquet(TABLES[""], tmp_path)
    module = sys.modules["lmeformula.rows.gather"]
    monkeypatch.setattr(module, "machine_memory", lambda: 100.0)
    with pytest.raises(FormulaDataError, match=r"a fit of .* rows of .*all.parquet takes about"):
        design("y ~ x + (1 | g) + (1 | h)", source)


def test_names_that_blocks_share_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a" * 10_000, "b" * 10_000]
    block = pa.table({"g": names})
    monkeypatch.setattr(sys.modules["lmeformula.rows.gather"], "machine_memory", lambda: 1e6)
    found = gather(source_of(ds.dataset([block] * 200)), ["g"])  # type: ignore[arg-type]
    assert found.num_rows == 400
    assert found.num_bytes < 50_000
    assert not found.in_files


def test_a_fit_says_where_its_rows_were(tmp_path: Path) -> None:
    source, table = parts(TABLES[""], tmp_path)
    fit = lf.fit("y ~ x + (1 | g)", source)
    again = lf.fit("y ~ x + (1 | g)", table)
    assert fit.loglik == again.loglik
    pd.testing.assert_series_equal(fit.fixef, again.fixef)
    assert f"{table.num_rows:,} of {source} (4 files), 3 columns" in fit.diagnostics.origin
    assert "\n  rows  " in repr(fit.diagnostics)
    assert fit.diagnostics.origin.endswith("MiB")
    assert not again.diagnostics.origin
