from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from lmeformula.design.frame import column_of, open_frame
from lmeformula.design.values import Categories, Logicals, Numbers
from lmeformula.errors import ColumnNotFoundError, FormulaDataError, placed

NAN = float("nan")
DAY = dt.date(2020, 1, 2)
ARROW_CATEGORY = pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))


def summary(column: Any) -> tuple[Any, ...]:
    """A column as plain values: kind, values or labels (None where missing), levels, ordered."""
    if isinstance(column, Categories):
        labels = [None if code < 0 else column.levels[code] for code in column.codes.tolist()]
        return "factor", labels, list(column.levels), column.ordered
    kind = "logical" if isinstance(column, Logicals) else "numbers"
    return kind, [None if value != value else value for value in column.values.tolist()], [], False


def numbers(*values: float | None) -> tuple[Any, ...]:
    return "numbers", list(values), [], False


def logical(*values: float | None) -> tuple[Any, ...]:
    return "logical", list(values), [], False


def factor(labels: list[Any], levels: list[str], ordered: bool = False) -> tuple[Any, ...]:
    return "factor", labels, levels, ordered


BA_ = factor(["b", None, "a"], ["a", "b"])
PANDAS = {
    "int64": ([3, 1, 2], "int64", numbers(3, 1, 2)),
    "uint8": ([3, 1, 2], "uint8", numbers(3, 1, 2)),
    "float32": ([1.5, NAN, 2], "float32", numbers(1.5, None, 2)),
    "Int64": ([3, None, 2], "Int64", numbers(3, None, 2)),
    "Float64": ([1.5, None, 2], "Float64", numbers(1.5, None, 2)),
    "arrow int": ([3, None, 2], "int64[pyarrow]", numbers(3, None, 2)),
    "arrow double": ([1.5, None, 2], "double[pyarrow]", numbers(1.5, None, 2)),
    "bool": ([True, False, True], "bool", logical(1, 0, 1)),
    "boolean": ([True, None, False], "boolean", logical(1, None, 0)),
    "arrow bool": ([True, None, False], "bool[pyarrow]", logical(1, None, 0)),
    "object bool": ([True, None, False], object, logical(1, None, 0)),
    "str": (["b", None, "a"], "str", BA_),
    "string": (["b", None, "a"], "string", BA_),
    "arrow string": (["b", None, "a"], "string[pyarrow]", BA_),
    "object str": (["b", None, "a"], object, BA_),
    "object numbers": ([1, 2.5, None], object, numbers(1, 2.5, None)),
    "decimals": ([Decimal("1.5"), None, Decimal("2")], object, numbers(1.5, None, 2)),
    "category": (
        ["b", None, "a"],
        pd.CategoricalDtype(["b", "a", "z"]),
        factor(["b", None, "a"], ["b", "a", "z"]),
    ),
    "ordered": (
        ["b", None, "a"],
        pd.CategoricalDtype(["b", "a"], ordered=True),
        factor(["b", None, "a"], ["b", "a"], True),
    ),
    "category of numbers": (
        [2, 1, 2],
        pd.CategoricalDtype([2, 1]),
        factor(["2", "1", "2"], ["2", "1"]),
    ),
    "arrow dictionary": (["b", None, "a"], ARROW_CATEGORY, factor(["b", None, "a"], ["b", "a"])),
    "datetime": (
        [pd.Timestamp("2020-01-02"), None, pd.Timestamp("2020-01-01")],
        "datetime64[s]",
        factor(["2020-01-02", None, "2020-01-01"], ["2020-01-01", "2020-01-02"]),
    ),
    "dates": ([DAY, None, DAY], object, factor(["2020-01-02", None, "2020-01-02"], ["2020-01-02"])),
    "nothing": ([None, None, None], object, numbers(None, None, None)),
}


@pytest.mark.parametrize("name", PANDAS)
def test_pandas_column(name: str) -> None:
    values, dtype, expected = PANDAS[name]
    frame = pd.DataFrame({"v": pd.Series(values, dtype=dtype, index=[7, 8, 9])})
    assert summary(column_of(open_frame(frame), "v")) == expected


POLARS = {
    "int": (pl.Series([3, None, 2]), numbers(3, None, 2)),
    "unsigned": (pl.Series([3, 1, 2], dtype=pl.UInt8), numbers(3, 1, 2)),
    "float": (pl.Series([1.5, None, NAN]), numbers(1.5, None, None)),
    "decimal": (pl.Series([Decimal("1.5"), None, Decimal("2")]), numbers(1.5, None, 2)),
    "bool": (pl.Series([True, None, False]), logical(1, None, 0)),
    "string": (pl.Series(["b", None, "a"]), BA_),
    "categorical": (pl.Series(["b", None, "a"], dtype=pl.Categorical), BA_),
    "enum": (
        pl.Series(["b", None, "a"], dtype=pl.Enum(["b", "a", "z"])),
        factor(["b", None, "a"], ["b", "a", "z"]),
    ),
    "date": (
        pl.Series([DAY, None, DAY]),
        factor(["2020-01-02", None, "2020-01-02"], ["2020-01-02"]),
    ),
    "null": (pl.Series([None, None, None]), numbers(None, None, None)),
}


@pytest.mark.parametrize("name", POLARS)
def test_polars_column(name: str) -> None:
    series, expected = POLARS[name]
    assert summary(column_of(open_frame(pl.DataFrame({"v": series})), "v")) == expected


ARROW = {
    "int": (pa.array([3, None, 2]), numbers(3, None, 2)),
    "double": (pa.array([1.5, None, NAN]), numbers(1.5, None, None)),
    "bool": (pa.array([True, None, False]), logical(1, None, 0)),
    "string": (pa.array(["b", None, "a"]), BA_),
    "large string": (pa.array(["b", None, "a"], pa.large_string()), BA_),
    "dictionary": (
        pa.array(["b", None, "a"]).dictionary_encode(),
        factor(["b", None, "a"], ["b", "a"]),
    ),
}


@pytest.mark.parametrize("name", ARROW)
def test_arrow_column(name: str) -> None:
    array, expected = ARROW[name]
    assert summary(column_of(open_frame(pa.table({"v": array})), "v")) == expected


MAPPING = {
    "list": ([3, 1, 2], numbers(3, 1, 2)),
    "tuple": ((True, None, False), logical(1, None, 0)),
    "array": (np.array([1.5, NAN, 2]), numbers(1.5, None, 2)),
    "array of strings": (np.array(["b", "c", "a"]), factor(["b", "c", "a"], ["a", "b", "c"])),
    "pandas": (pd.Series(["b", None, "a"], index=[5, 6, 7]), BA_),
    "categorical": (
        pd.Categorical(["b", None, "a"], ["b", "a"]),
        factor(["b", None, "a"], ["b", "a"]),
    ),
    "polars": (pl.Series(["b", None, "a"]), BA_),
    "arrow": (pa.array([3, None, 2]), numbers(3, None, 2)),
}


@pytest.mark.parametrize("name", MAPPING)
def test_mapping_column(name: str) -> None:
    values, expected = MAPPING[name]
    assert summary(column_of(open_frame({"v": values}), "v")) == expected


NOT_TABLES = [
    (3, "the data must be a table, not int"),
    ("abc", "there is no file abc"),
    (None, "the data must be a table, not NoneType"),
    (np.zeros((3, 2)), "the data must be a table, not ndarray"),
    (pd.Series([1, 2]), "the data must be a table, not Series"),
    (pl.DataFrame({"x": []}).lazy(), "the data has no rows"),
    ({}, "the data has no columns"),
    (pd.DataFrame(), "the data has no columns"),
    ({"x": []}, "the data has no rows"),
    (pd.DataFrame({"x": []}), "the data has no rows"),
    ({"x": [1, 2], "y": [1]}, "the columns differ in length (x: 2, y: 1)"),
    ({"x": 3.0}, "a column must be an array, not 3.0"),
    ({"x": "abc"}, "a column must be an array, not 'abc'"),
    ({"x": np.zeros((2, 2))}, "every column must be one-dimensional, not of shape (2, 2)"),
]


@pytest.mark.parametrize(
    ("data", "problem"), NOT_TABLES, ids=[problem for _, problem in NOT_TABLES]
)
def test_what_is_no_table(data: object, problem: str) -> None:
    with pytest.raises(FormulaDataError) as caught:
        open_frame(data)
    assert caught.value.problem == problem


def test_absent_column_is_named_with_a_suggestion() -> None:
    frame = open_frame({"ratings": [1], "service": [2], "students": [3]})
    place = placed("ratings ~ servce + (1|students)", (10, 16))
    with pytest.raises(ColumnNotFoundError) as caught, place:
        column_of(frame, "servce")
    assert str(caught.value) == (
        "the formula uses 'servce', which is not a column of the data\n"
        "    ratings ~ servce + (1|students)\n"
        "              ^^^^^^\n"
        "Did you mean 'service'? Columns: ratings, service, students."
    )


def test_repeated_column_is_refused_only_where_it_is_used() -> None:
    frame = open_frame(pd.DataFrame([[1, 2, 3]], columns=["x", "x", "y"]))
    assert isinstance(column_of(frame, "y"), Numbers)
    with pytest.raises(FormulaDataError, match="the data has 2 columns named 'x'"):
        column_of(frame, "x")


def test_mixed_column_is_refused_with_its_name() -> None:
    frame = open_frame(pd.DataFrame({"v": [1, "a", None]}))
    with pytest.raises(FormulaDataError, match="column 'v' mixes values of several types"):
        column_of(frame, "v")


@pytest.mark.parametrize("values", [[1j, 2], [[1], [2]], pd.period_range("2020", periods=2)])
def test_column_without_a_meaning_is_refused(values: Any) -> None:
    frame = open_frame(pd.DataFrame({"v": pd.Series(values)}))
    with pytest.raises(FormulaDataError, match="column 'v'"):
        column_of(frame, "v")


def test_unused_columns_are_not_touched() -> None:
    class Untouchable:
        def __array__(self, *arguments: object, **keywords: object) -> None:
            raise AssertionError("an unused column was read")

    frame = pd.DataFrame({"x": [1.0, 2.0], "never": [Untouchable(), Untouchable()]})
    opened = open_frame(frame)
    column = column_of(opened, "x")
    assert set(opened.read) == {"x"}
    assert isinstance(column, Numbers)
    assert np.shares_memory(column.values, frame["x"].to_numpy())


def test_names_are_compared_in_composed_form() -> None:
    decomposed = "gro\u0308\u00dfe"
    frame = open_frame({decomposed: [1.0]})
    assert isinstance(column_of(frame, "gr\u00f6\u00dfe"), Numbers)


def test_decimal_ids_stay_apart() -> None:
    ids = pa.array([Decimal(2**60 + 1), None, Decimal(2**60)], pa.decimal128(20, 0))
    found = column_of(open_frame(pa.table({"g": ids})), "g")
    assert isinstance(found, Numbers)
    assert found.exactly is not None
    assert found.exactly.levels == (str(2**60), str(2**60 + 1))


def test_codes_without_a_sign() -> None:
    codes = pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.uint8()), ["b", "a"])
    found = column_of(open_frame(pa.table({"g": codes})), "g")
    assert summary(found) == factor(["a", None, "b"], ["b", "a"])
