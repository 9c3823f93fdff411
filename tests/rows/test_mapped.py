"""Rows that memory does not hold are in files, and give the same designs and fits."""

from __future__ import annotations

import errno
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import lmeformula as lf
import lmeformula.algebra.orthogonal
import lmeformula.algebra.sparseproducts
from lmeformula.design import Design, design
from lmeformula.design.frame import column_of, open_frame
from lmeformula.design.values import Categories
from lmeformula.errors import FormulaDataError
from lmeformula.rows import mapped
from lmeformula.rows.gather import RowBytes
from lmeformula.rows.mapped import is_in_file
from lmeformula.rows.poured import Poured


def table(n: int = 97) -> pa.Table:
    rng = np.random.default_rng(5)
    some = np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n))
    return pa.table(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "z": pa.array(some, from_pandas=True),
            "k": rng.integers(-3, 4, n).astype(np.int8),
            "g": rng.integers(10**12, 10**12 + 9, n),
            "far": rng.choice([3, 10**15, 7, -5], n),
            "h": pa.array(rng.choice(["b", "a", "NAN", "é"], n)),
            "m": pa.array(rng.choice(["v", "u", None], n)).dictionary_encode(),
            "t": pa.array(rng.random(n) < 0.5),
            "w": rng.uniform(1, 2, n),
            "times": rng.integers(0, 3, n),
        }
    )


def set_memory(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    monkeypatch.setattr(sys.modules["lmeformula.rows.gather"], "machine_memory", lambda: size)


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory for columns, and blocks of a few rows."""
    build = sys.modules["lmeformula.design.build"]
    monkeypatch.setattr(build, "row_bytes", lambda _: RowBytes(1e9, 0.0))
    for module in ("rows.mapped", "rows.poured", "algebra.sparseproducts"):
        monkeypatch.setattr(sys.modules[f"lmeformula.{module}"], "TOGETHER", 10)
    monkeypatch.setattr(sys.modules["lmeformula.algebra.orthogonal"], "BLOCK_ROWS", 20)
    set_memory(monkeypatch, 1e6)


def parts(whole: pa.Table) -> Any:
    """A source of blocks, each with its own names of categories."""
    blocks = [
        pa.Table.from_pandas(part.to_pandas()) for part in (whole[:40], whole[40:41], whole[41:])
    ]
    return ds.dataset([block.cast(blocks[0].schema) for block in blocks])


def summary(column: Any) -> tuple[Any, ...]:
    if isinstance(column, Categories):
        labels = np.array([*column.levels, None], dtype=object)[column.codes].tolist()
        return type(column), labels, column.levels, column.ordered, column.is_text
    return type(column), str(column.values.tolist()), column.values.dtype.kind


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("name", table().column_names)
def test_a_column_is_what_it_is_in_memory(name: str) -> None:
    whole = table()
    frame = open_frame(parts(whole), row_bytes=RowBytes(1e9, 0.0))
    column = column_of(frame, name)
    assert is_in_file(column.codes if isinstance(column, Categories) else column.values)
    assert summary(column) == summary(column_of(open_frame(whole), name))
    assert frame.origin.endswith("of files")


FORMULAS = (
    "y ~ x + (1 | g)",
    "y ~ x + k + (1 | g) + (1 | h)",
    "y ~ x * h + (x | g/h)",
    "log(w) ~ scale(x) + poly(k, 2) + t + (1 | far)",
    "y ~ z + m + offset(w) + (0 + z | g) + (1 | m:t)",
    "y | weights(w) ~ bs(x, df=4) + factor(k) + (1 | h)",
    "y ~ 1 + (1 | far) + (1 | k)",
    "y ~ x + I(2 * x) + (1 | g)",
)


def compare(found: Design, expected: Design) -> None:
    assert found.names == expected.names
    assert found.num_missing == expected.num_missing
    assert found.response is not None
    assert expected.response is not None
    for left, right in (
        (found.X, expected.X),
        (found.rows, expected.rows),
        (found.offset, expected.offset),
        (found.response.values, expected.response.values),
        *((a.values, b.values) for a, b in zip(found.terms, expected.terms, strict=True)),
        *((a.index, b.index) for a, b in zip(found.terms, expected.terms, strict=True)),
    ):
        np.testing.assert_allclose(left, right, rtol=1e-13, atol=0)
    assert [term.levels for term in found.terms] == [term.levels for term in expected.terms]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("formula", FORMULAS)
def test_designs_are_those_of_the_table_in_memory(
    formula: str, request: pytest.FixtureRequest
) -> None:
    expected = design(formula, table())
    request.getfixturevalue("small_memory")
    found = design(formula, parts(table()))
    compare(found, expected)
    assert is_in_file(found.X) == (len(found.names) > 1)


@pytest.mark.parametrize(
    ("formula", "arguments"),
    [
        ("y ~ x + (1 | g) + (1 | h)", {"solver": "iterative"}),
        ("y ~ x + z + (x | g)", {}),
        ("y ~ x + (1 | g)", {"frequency": "times"}),
        ("y ~ x + (1 | h)", {"weights": "w"}),
        ("t ~ x + (1 | g)", {"family": "bernoulli", "method": "laplace"}),
    ],
)
def test_fits_are_those_of_the_table_in_memory(
    formula: str, arguments: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    expected = lf.fit(formula, table(), **arguments)
    request.getfixturevalue("small_memory")
    found = lf.fit(formula, parts(table()), **arguments)
    np.testing.assert_allclose(found.param_values, expected.param_values, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.loglik.value, expected.loglik.value, rtol=1e-12)
    np.testing.assert_allclose(found.fitted(), expected.fitted(), rtol=1e-9)
    assert found.outcome is expected.outcome


@pytest.mark.usefixtures("small_memory")
def test_no_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = design("y ~ x + (1 | g)", parts(table()))
    assert is_in_file(made.X)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("small_memory")
def test_a_full_disk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mapped.os, "posix_fallocate", full)
    with pytest.raises(FormulaDataError, match="No space left") as error:
        design("y ~ x + (1 | g)", parts(table()))
    assert "TMPDIR" in error.value.hint


REFUSED = {
    "days": (pa.array(np.array(["2020-01-01", "2020-01-02"], "M8[D]")), "date32"),
    "ids": (pa.array([2**60 + 1, None]), "too large to be exact"),
}


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_read_into_files_is_refused(kind: str) -> None:
    column, problem = REFUSED[kind]
    with pytest.raises(FormulaDataError, match=problem):
        design("~ c", ds.dataset(pa.table({"c": column})))


@pytest.mark.usefixtures("small_memory")
def test_whole_numbers_become_others_in_a_later_block() -> None:
    first, last = pa.table({"x": pa.array([1, 2, 3])}), pa.table({"x": pa.array([0.5, None])})
    source = pl.concat([pl.from_arrow(first).lazy()])
    assert column_of(open_frame(source), "x").values.tolist() == [1, 2, 3]
    with Poured("x") as poured:
        for block in (first, last):
            poured.add(block.column(0))
        found = poured.finish()
    assert str(found.values.tolist()) == "[1.0, 2.0, 3.0, 0.5, nan]"
    text = pa.chunked_array([pa.array(["u"]).dictionary_encode()])
    with Poured("x") as poured:
        poured.add(first.column(0))
        with pytest.raises(FormulaDataError, match="changes its type"):
            poured.add(text)


@pytest.mark.parametrize("earlier", [[None, 1], [None, None]])
def test_long_ids_after_missing_ones_are_not_merged(earlier: list[int | None]) -> None:
    with Poured("g") as poured:
        poured.add(pa.chunked_array([pa.array(earlier, pa.int64())]))
        with pytest.raises(FormulaDataError, match="too large to be exact"):
            poured.add(pa.chunked_array([pa.array([2**60, 2**60 + 1])]))


def test_long_ids_without_a_sign_are_as_they_are() -> None:
    ids = [2**63, 2**63 + 1]
    with Poured("g") as poured:
        poured.add(pa.chunked_array([pa.array(ids, pa.uint64())]))
        assert poured.finish().values.tolist() == ids


def test_what_even_files_do_not_help_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    set_memory(monkeypatch, 1000.0)
    with pytest.raises(FormulaDataError, match=r"a fit of 40 or more rows .* takes about") as error:
        design("y ~ x + (1 | g) + (1 | h)", parts(table()))
    assert "cluster" in error.value.hint
