"""Rows elsewhere are answered for block by block: with the answers of all rows together, wherever they go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import lmeformula as lf
from lmeformula.errors import FormulaDataError
from lmeformula.prediction import requested

ROWS, FEW = 50, 7


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    r = np.random.default_rng(0)
    x, g, h = r.normal(size=300), r.integers(0, 12, 300), r.integers(0, 5, 300)
    frame = pd.DataFrame({"x": x, "g": g.astype(str), "h": h})
    frame["y"] = 0.5 * x + r.normal(size=12)[g] + r.normal(size=300)
    frame["n"] = r.poisson(np.exp(0.2 * x + 0.4 * r.normal(size=12)[g]))
    return frame


@pytest.fixture(scope="module")
def normal(data: pd.DataFrame) -> Any:
    return lf.fit("y ~ x + (1 | g) + (1 | h)", data)


@pytest.fixture(scope="module")
def counts(data: pd.DataFrame) -> Any:
    return lf.fit("n ~ x + (1 | g) + (1 | h)", data, "poisson", method="laplace")


@pytest.fixture(scope="module")
def new() -> pd.DataFrame:
    """With missing values, levels that come back blocks later, and a block without any complete row."""
    r = np.random.default_rng(1)
    g = r.integers(0, 16, ROWS).astype(str).astype(object)
    frame = pd.DataFrame({"x": r.normal(size=ROWS), "g": g, "h": r.integers(0, 8, ROWS)})
    frame["y"], frame["n"] = r.normal(size=ROWS), r.poisson(1.0, size=ROWS)
    frame.loc[3, "x"], frame.loc[30, "g"], frame.loc[40, "y"] = np.nan, None, np.nan
    frame.loc[14:20, "g"] = None
    return frame


@pytest.fixture
def path(new: pd.DataFrame, tmp_path: Path) -> Path:
    found = tmp_path / "new.parquet"
    pq.write_table(pa.Table.from_pandas(new), found, row_group_size=4)
    return found


def numbers(answer: Any) -> np.ndarray:
    return np.asarray(answer, float).reshape(ROWS, -1)


SAYS: dict[str, Callable[..., Any]] = {
    "means": lambda fit, rows, **o: fit.predict(rows, **o),
    "averages": lambda fit, rows, **o: fit.predict(rows, averaged=True, **o),
    "intervals": lambda fit, rows, **o: fit.predict(rows, interval="confidence", **o),
    "draws": lambda fit, rows, **o: fit.predict(rows, kind="draws", num_draws=4, **o),
}
DRAWN: dict[str, Callable[..., Any]] = {
    "responses": lambda fit, rows, **o: fit.simulate(3, newdata=rows, seed=4, **o),
    "their intervals": lambda fit, rows, **o: fit.predict(
        rows, interval="prediction", num_draws=30, **o
    ),
}


@pytest.mark.parametrize("levels", ["population", "sample"])
@pytest.mark.parametrize("kind", ["normal", "counts"])
@pytest.mark.parametrize("says", SAYS)
def test_blocks_of_any_size_have_the_same_answers(
    says: str, kind: str, levels: str, new: pd.DataFrame, path: Path, request: Any, monkeypatch: Any
) -> None:
    fit = request.getfixturevalue(kind)
    whole = numbers(SAYS[says](fit, new, new_levels=levels))
    monkeypatch.setattr(requested, "BLOCK", FEW)
    for rows in (new, path):
        np.testing.assert_allclose(
            numbers(SAYS[says](fit, rows, new_levels=levels)), whole, rtol=1e-10
        )


@pytest.mark.parametrize("kind", ["normal", "counts"])
@pytest.mark.parametrize("says", DRAWN)
def test_draws_hang_on_the_rows_and_not_on_how_they_are_read(
    says: str, kind: str, new: pd.DataFrame, path: Path, request: Any, monkeypatch: Any
) -> None:
    fit = request.getfixturevalue(kind)
    monkeypatch.setattr(requested, "BLOCK", 30)
    whole = numbers(DRAWN[says](fit, new, new_levels="sample"))
    table = pa.Table.from_pandas(new)
    for rows in (path, duckdb.from_arrow(table), pl.from_pandas(new).lazy()):
        np.testing.assert_array_equal(numbers(DRAWN[says](fit, rows, new_levels="sample")), whole)


def test_blocks_share_effects_and_no_errors(normal: Any, monkeypatch: Any) -> None:
    """Two blocks of the same rows: responses differ by their errors alone."""
    one = {"x": [0.0] * FEW, "g": ["0"] * 3 + ["new"] * 4, "h": [1] * FEW}
    rows = pd.DataFrame(one | {"g": one["g"]})
    monkeypatch.setattr(requested, "BLOCK", FEW)
    drawn = normal.simulate(4000, newdata=pd.concat([rows, rows]), new_levels="sample", seed=1)
    first, second = drawn.to_numpy()[:FEW], drawn.to_numpy()[FEW:]
    apart = first - second
    assert (np.abs(apart) > 0).all()
    # Variances of differences of two errors; four standard errors of a variance of 4,000 normal numbers.
    error = 4.0 * np.sqrt(2.0 / 4000)
    np.testing.assert_allclose(apart.var(axis=1) / (2 * normal.sigma**2), 1.0, atol=error)


def test_fitted_rows_have_blocks_as_well(
    normal: Any, counts: Any, data: pd.DataFrame, monkeypatch: Any
) -> None:
    whole = [normal.predict(interval="confidence"), counts.residuals("deviance"), normal.augment()]
    drawn = counts.simulate(2, seed=3)
    monkeypatch.setattr(requested, "BLOCK", 70)
    parts = [normal.predict(interval="confidence"), counts.residuals("deviance"), normal.augment()]
    for one, other in zip(whole, parts, strict=True):
        assert list(one.index) == list(other.index)
        np.testing.assert_allclose(
            one.iloc[:, -3:] if one.ndim > 1 else one, other.iloc[:, -3:] if one.ndim > 1 else other
        )
    again = counts.simulate(2, seed=3)
    # The first block is drawn as it is alone.
    assert not again.equals(drawn)
    pd.testing.assert_frame_equal(again, counts.simulate(2, seed=3, newdata=data))


def lazy(path: Path) -> Any:
    return pl.scan_parquet(path)


SOURCES: dict[str, tuple[Callable[[Path], Any], Callable[[Any], pd.DataFrame]]] = {
    "a path": (Path, pd.read_parquet),
    "a LazyFrame": (lazy, lambda found: found.collect().to_pandas()),
    "a relation": (lambda path: duckdb.connect().read_parquet(str(path)), lambda found: found.df()),
    "a Dataset": (ds.dataset, lambda found: found.to_table().to_pandas()),
    "a Dask frame": (dd.read_parquet, lambda found: found.compute()),
}


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of Dask's own reading
@pytest.mark.parametrize("kind", SOURCES)
def test_what_is_written_is_a_source_of_the_same_kind(
    kind: str, counts: Any, new: pd.DataFrame, path: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(requested, "BLOCK", FEW)
    opened, read = SOURCES[kind]
    source, to = opened(path), tmp_path / "it's [1] out.parquet"
    found = counts.predict(source, interval="confidence", new_levels="population", to=to)
    assert isinstance(found, type(source))
    assert read(found).columns.tolist() == ["estimate", "lower", "upper"]
    whole = counts.predict(new, interval="confidence", new_levels="population")
    np.testing.assert_allclose(read(found), whole, rtol=1e-12)


def test_a_file_keeps_labels_of_rows_in_memory(
    normal: Any, new: pd.DataFrame, tmp_path: Path
) -> None:
    named = new.set_axis([f"r{i}" for i in range(ROWS)])
    to = tmp_path / "out.parquet"
    assert normal.predict(named, new_levels="population", to=to) == to
    found = pd.read_parquet(to)["prediction"]
    pd.testing.assert_series_equal(found, normal.predict(named, new_levels="population"))


@pytest.mark.parametrize("kind", SOURCES)
def test_the_file_behind_the_rows_is_not_replaced(kind: str, normal: Any, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(lf.FormulaDataError, match=r"rows are read from|no answer that was written"):
        normal.predict(SOURCES[kind][0](path), new_levels="population", to=path)
    assert path.read_bytes() == before


def test_a_file_is_there_whole_or_not_at_all(
    normal: Any, new: pd.DataFrame, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(requested, "BLOCK", FEW)
    known = new.assign(g="1", h=1)
    to = tmp_path / "out.parquet"
    normal.predict(known, to=to)
    before = to.read_bytes()
    bad = pl.from_pandas(known.assign(g=["1"] * 49 + ["unknown"])).lazy()
    with pytest.raises(lf.FormulaDataError, match="1 new rows of rows 49 to 49 have levels"):
        normal.predict(bad, to=to)
    assert to.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["out.parquet"]


def test_what_cannot_be_written_is_said(normal: Any, path: Path, tmp_path: Path) -> None:
    with pytest.raises(lf.FormulaDataError, match=r"does not end in \.parquet"):
        normal.predict(path, to="out.csv")
    with pytest.raises(lf.FormulaDataError, match="is a file that the rows are read from"):
        normal.predict(path, to=str(path))
    # What is written would be more rows of the same source.
    for source in (path.parent, path.parent / "*.parquet", path.parent / "**" / "*.parquet"):
        with pytest.raises(lf.FormulaDataError, match="or would be the next time"):
            normal.predict(source, new_levels="population", to=path.parent / "more.parquet")
    assert normal.predict(
        path.parent / "new*.parquet", new_levels="population", to=path.parent / "more.parquet"
    )
    (path.parent / "more.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        normal.predict(path, new_levels="population", to=tmp_path / "nowhere" / "out.parquet")
    with pytest.raises(lf.FormulaDataError, match="the data has no rows"):
        normal.predict(pl.scan_parquet(path).filter(pl.col("x") > 1e9), to=tmp_path / "a.parquet")
    assert not (tmp_path / "a.parquet").exists()


def test_an_answer_that_memory_does_not_hold_is_refused(
    normal: Any, path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(requested, "BLOCK", FEW)
    monkeypatch.setattr("lmeformula.prediction.answers.machine_memory", lambda: 300.0)
    with pytest.raises(lf.ModelError, match="the answer for the first 21 rows"):
        normal.predict(path, new_levels="population")


def test_offsets_are_those_of_the_rows(data: pd.DataFrame, path: Path, monkeypatch: Any) -> None:
    fit = lf.fit("y ~ x + (1 | h)", data, offset=np.zeros(300))
    monkeypatch.setattr(requested, "BLOCK", FEW)
    offset = np.arange(float(ROWS))
    without = fit.predict(path, new_levels="population", offset=0 * offset)
    for given in (offset, offset.tolist(), pd.Series(offset)):
        found = fit.predict(path, new_levels="population", offset=given)
        np.testing.assert_allclose(found - without, np.where(without.isna(), np.nan, offset))
    for wrong in (offset[:-1], np.arange(ROWS + 1.0)):
        with pytest.raises(lf.FormulaDataError, match="the argument offset has"):
            fit.predict(path, new_levels="population", offset=wrong)


@pytest.mark.parametrize("formula", ["y ~ lag(x) + (1 | h)", "y ~ above(x) + (1 | h)"])
def test_what_looks_at_other_rows_gets_all_of_them(
    formula: str, data: pd.DataFrame, new: pd.DataFrame, path: Path, monkeypatch: Any
) -> None:
    functions = {"above": lambda x: x - np.nanmin(x)}
    fit = lf.fit(formula, data, functions=functions)
    whole = fit.predict(new, new_levels="population")
    monkeypatch.setattr(requested, "BLOCK", FEW)
    np.testing.assert_allclose(fit.predict(path, new_levels="population"), whole)


def test_residuals_of_new_rows(
    normal: Any, counts: Any, data: pd.DataFrame, path: Path, new: pd.DataFrame, monkeypatch: Any
) -> None:
    for fit in (normal, counts):
        for kind in ("response", "pearson", "deviance", "quantile"):
            found = fit.residuals(kind, newdata=data, seed=2)
            np.testing.assert_allclose(found, fit.residuals(kind, seed=2), rtol=1e-10, atol=1e-12)
    monkeypatch.setattr(requested, "BLOCK", FEW)
    found = normal.residuals(newdata=path, new_levels="population")
    known = normal.predict(new, new_levels="population")
    np.testing.assert_allclose(found, new["y"] - known)
    one = counts.residuals("quantile", newdata=path, new_levels="population", seed=5)
    other = counts.residuals("quantile", newdata=new, new_levels="population", seed=5)
    np.testing.assert_allclose(one, other)


def test_a_factor_that_is_missing_throughout_a_block(
    data: pd.DataFrame, new: pd.DataFrame, monkeypatch: Any
) -> None:
    fit = lf.fit("y ~ g + (1 | h)", data)
    monkeypatch.setattr(requested, "BLOCK", FEW)
    known = new.assign(g=new["g"].where(new["g"].astype(float) < 12, None), h=1)
    whole = fit.predict(known)
    assert whole[14:21].isna().all()
    np.testing.assert_allclose(fit.predict(dd.from_pandas(known, npartitions=9, sort=False)), whole)


@pytest.mark.parametrize("labels", ["text", "places in another order"])
def test_a_series_is_aligned_by_the_labels_of_the_rows(
    labels: str, data: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requested, "BLOCK", FEW)
    rows = data[["x", "g", "y"]].head(60)
    place = np.random.default_rng(2).permutation(60)
    rows = rows.set_axis(place.astype(str) if labels == "text" else place, axis=0)
    offset = pd.Series(np.random.default_rng(3).normal(size=60), rows.index)
    fit = lf.fit("y ~ x + (1 | g)", rows, offset=offset)
    rows.to_parquet(tmp_path / "rows.parquet")
    plain = rows.reset_index(drop=True)
    expected = fit.predict().to_numpy()
    other = offset.sample(frac=1.0, random_state=4)
    by_count = offset.reset_index(drop=True).sample(frac=1.0, random_state=5)
    for found in (
        fit.predict(rows, offset=other),
        fit.predict(tmp_path / "rows.parquet", offset=other),
        fit.predict(plain, offset=by_count),
        fit.predict(pl.from_pandas(plain).lazy(), offset=by_count),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(FormulaDataError, match="a Series without a value for"):
        fit.predict(pl.from_pandas(plain).lazy(), offset=by_count.set_axis(np.arange(60) + 1))
