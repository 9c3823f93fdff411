"""Identical rows put together give the fit of all rows."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import ibis
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import lmeformula as lf
from lmeformula.errors import ColumnNotFoundError, FormulaDataError
from lmeformula.rows import merged, source_of


def table(n: int = 600) -> pa.Table:
    """Rows of which many are alike; numbers of rows, text, categories, what is missing."""
    rng = np.random.default_rng(3)
    g = rng.integers(0, 6, n)
    x = np.where(rng.random(n) < 0.05, np.nan, rng.integers(0, 2, n))
    a = rng.choice(["u", "v"], n)
    eta = 0.4 * np.nan_to_num(x) + 0.5 * rng.normal(size=6)[g]
    return pa.table(
        {
            "y": (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float),
            "count": rng.poisson(np.exp(eta)),
            "mean": np.round(eta + rng.normal(size=n)),
            "trials": np.full(n, 5),
            "hits": rng.binomial(5, 1 / (1 + np.exp(-eta))),
            "x": pa.array(x, from_pandas=True),
            "a": pa.array(a).dictionary_encode(),
            "g": g,
            "times": rng.integers(0, 3, n),
            "other": rng.normal(size=n),
        }
    )


CASES = [
    ("y ~ x + a + (1 | g)", "bernoulli", "blocks", {}),
    ("hits | trials(trials) ~ a + (1 | g)", "binomial", "lazy frame", {}),
    ("count ~ x + (1 | g)", "poisson", "relation", {"method": "laplace"}),
    ("mean ~ a + (1 | g)", "gaussian", "ibis", {"reml": True}),
    ("y ~ a + (1 | g)", "bernoulli", "relation", {"frequency": "times", "method": "laplace"}),
]


@pytest.mark.parametrize(("formula", "family", "kind", "arguments"), CASES)
def test_the_fit_is_that_of_all_rows(
    formula: str, family: str, kind: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    arguments = (
        {"method": "quadrature", **arguments} if family in ("bernoulli", "binomial") else arguments
    )
    expected = lf.fit(formula, table(), family, **arguments)
    data = sources(table(), tmp_path)[kind]
    found = lf.fit(formula, data, family, merge=True, **arguments)
    np.testing.assert_allclose(found.param_values, expected.param_values, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.param_stderr, expected.param_stderr, rtol=1e-6)
    assert abs(found.loglik.value - expected.loglik.value) < 1e-9 * abs(expected.loglik.value)
    assert found.nobs == expected.nobs
    assert found.model.design.n < expected.model.design.n / 3
    assert (
        f"of {table().num_rows} rows, of which identical ones are merged"
        in found.diagnostics.origin
    )
    assert len(found.by_observation.residuals()) == found.nobs


def keys(rows: pa.Table) -> list[tuple[Any, ...]]:
    return [
        tuple(None if value != value else value for value in row.values())
        for row in rows.to_pylist()
    ]


def sources(whole: pa.Table, folder: Path) -> dict[str, Any]:
    whole.to_pandas().to_csv(folder / "a.csv", index=False)
    connection = duckdb.connect()
    connection.register("given", whole)
    frame = pl.from_arrow(whole)
    assert isinstance(frame, pl.DataFrame)
    return {
        "file": folder / "a.csv",
        "relation": connection.table("given"),
        "lazy frame": frame.lazy(),
        "ibis": ibis.polars.connect().create_table("t", whole),
        "blocks": ds.dataset([whole.slice(start, 70) for start in range(0, whole.num_rows, 70)]),
    }


# Those whose library counts: rows come in the order of their values.
COUNTING = ("relation", "lazy frame", "ibis")


@pytest.mark.parametrize("kind", ["file", "blocks", *COUNTING])
def test_rows_are_counted(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["lmeformula.rows.merged"]
    monkeypatch.setattr(module, "FEWEST", 20)
    monkeypatch.setattr(module, "FIRST", 100)
    names = ["y", "x", "a", "g"]
    whole = table()
    counts: Counter[tuple[Any, ...]] = Counter()
    times: Counter[tuple[Any, ...]] = Counter()
    for key, number in zip(keys(whole.select(names)), whole["times"].to_pylist(), strict=True):
        counts[key] += 1
        times[key] += number
    source = source_of(sources(table(), tmp_path)[kind])
    assert source is not None
    assert (source.counted is not None) == (kind in COUNTING)
    for frequency, expected in ((None, counts), ("times", times)):
        found = merged(source, names, frequency)
        assert found is not None
        rows = keys(pa.concat_tables(found.source.blocks(names)))
        assert dict(zip(rows, found.times.tolist(), strict=True)) == expected
        # Else in the order in which the first of each comes.
        assert rows == (sorted(expected, key=_places) if kind in COUNTING else list(expected))


def _places(row: tuple[Any, ...]) -> list[Any]:
    """What rows are ordered by: what is missing comes last."""
    return [(value is None, value) for value in row]


def test_only_distinct_rows_are_read_of_who_counts() -> None:
    """Columns may be called as patterns or as numbers are, and as each other's places."""
    read = []
    frame = pl.from_arrow(table())
    assert isinstance(frame, pl.DataFrame)
    named = frame.select(pl.col("y").alias("1"), pl.col("g").alias("^0.*$"), pl.col("a").alias("0"))
    for lazy in (named.lazy(), duckdb.from_arrow(named.to_arrow())):
        source = source_of(lazy)
        assert source is not None
        found = merged(replace(source, blocks=_unread), ["1", "^0.*$", "0"])
        assert found is not None
        assert found.times.sum() == 600
        read.append(keys(pa.concat_tables(found.source.blocks(["0", "1"]))))
    assert read[0] == read[1]


def _unread(names: list[str]) -> Any:
    raise AssertionError("the rows themselves are not asked for")


@pytest.mark.parametrize("kind", ["a pyarrow Dataset", "a DuckDB relation"])
def test_rows_that_are_hardly_alike_are_not_merged(kind: str) -> None:
    whole = table()
    data = ds.dataset(whole) if "Dataset" in kind else duckdb.from_arrow(whole)
    found = lf.design("y ~ other + (1 | g)", data, merge=True)
    assert found.frequency is None
    assert found.given.origin.startswith(f"600 of {kind}, not merged, 3 columns")


def test_other_columns_are_known_and_not_there() -> None:
    fit = lf.fit("mean ~ a + (1 | g)", ds.dataset(table()), merge=True)
    with pytest.raises(FormulaDataError, match="agree but in x have been merged"):
        fit.update(". ~ . + x")
    with pytest.raises(ColumnNotFoundError, match="other"):
        lf.design("mean ~ b + (1 | g)", ds.dataset(table()), merge=True)


def of_two_orders() -> ds.Dataset:
    whole, place = table(), table().column_names.index("a")
    parts = []
    for levels in (["u", "v"], ["v", "u"]):
        codes = pa.DictionaryArray.from_arrays([0, 1] * 300, levels, ordered=True)
        parts.append(whole.set_column(place, "a", codes))
    return ds.dataset(parts)


@pytest.mark.parametrize(
    ("data", "arguments", "problem"),
    [
        (table(), {}, "are in memory"),
        (ds.dataset(table()), {"weights": np.ones(600)}, "weights must be the name of a column"),
        (ds.dataset(table()), {"frequency": "other"}, "not all whole numbers"),
        (ds.dataset(table()), {"frequency": "x"}, "not all whole numbers"),
        (ds.dataset(table()), {"frequency": "none"}, "'none'"),
        (of_two_orders(), {}, "'a' has ordered categories that differ"),
    ],
)
def test_what_cannot_be_merged_is_refused(
    data: Any, arguments: dict[str, Any], problem: str
) -> None:
    with pytest.raises(FormulaDataError, match=problem):
        lf.design("y ~ a + (1 | g)", data, merge=True, **arguments)
