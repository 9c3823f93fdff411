"""Rows with what the model says of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

import lmeformula as lf
from lmeformula.errors import FormulaDataError, ModelError
from lmeformula.prediction import requested
from tests.prediction.after_fit import data, dense, fit_of, small_fit


def test_columns_are_those_of_the_methods():
    fit, frame = fit_of("ticks"), data("ticks")
    found = fit.augment(frame)
    assert list(found.columns[: len(frame.columns)]) == list(frame.columns)
    assert found.index.equals(frame.index)
    np.testing.assert_allclose(found[".fitted"], fit.fitted())
    np.testing.assert_allclose(found[".fixed"], fit.predict(re_form="NA"))
    np.testing.assert_allclose(found[".link"], fit.predict(kind="link"))
    np.testing.assert_allclose(found[".resid"], fit.residuals())


def test_leverages_are_the_diagonal_of_the_hat_matrix():
    fit = small_fit(reml=False)
    X, Z, V, _ = dense(fit)
    # y-hat = X b + (V - R) V^-1 (y - X b), with R the residual covariance.
    R = np.diag(fit.params.residual_sd**2 / fit.model.design.weights)
    W = np.linalg.inv(V)
    onto = X @ np.linalg.solve(X.T @ W @ X, X.T @ W)
    hat = onto + (V - R) @ W @ (np.eye(len(X)) - onto)
    assert Z.shape[0] == len(X)
    np.testing.assert_allclose(fit.augment()[".hat"], np.diag(hat), rtol=1e-8)


def test_rows_with_missing_values_are_left_out():
    frame = lf.datasets.load("sleepstudy").copy()
    frame.loc[[4, 9], "Days"] = np.nan
    frame.index = pd.Index([f"r{i}" for i in range(180)])
    fit = lf.fit("Reaction ~ Days + (1 | Subject)", frame)
    found = fit.augment(frame)
    assert len(found) == 178
    assert "r4" not in found.index
    alone = fit.augment()
    assert list(alone.columns[:2]) == ["Reaction", "Subject"]
    np.testing.assert_array_equal(alone["Reaction"], found["Reaction"])
    assert list(alone["Subject"]) == list(found["Subject"].astype(str))
    with pytest.raises(FormulaDataError, match="178 rows, and the fit was made from 180"):
        fit.augment(frame.dropna())
    with pytest.raises(FormulaDataError, match=r"a column '\.hat' already"):
        fit.augment(frame.assign(**{".hat": 0}))


def test_equations_that_are_too_large_have_no_leverages(monkeypatch):
    monkeypatch.setattr("lmeformula.handing.augment.has_normal_posterior", lambda fit: False)
    assert fit_of("cbpp").augment()[".hat"].isna().all()


@pytest.mark.parametrize("kind", ["a path", "a LazyFrame", "a Dataset", "polars", "a dict"])
def test_data_and_new_rows_may_be_anywhere(kind, tmp_path, monkeypatch):
    """Labels that pandas wrote into a file are those of the rows; blocks end within missing rows."""
    data = lf.datasets.load("sleepstudy")
    data.loc[[4, *range(40, 75)], "Days"] = np.nan
    data.loc[[90], "Reaction"] = np.nan
    data.index = pd.Index([f"r{i}" for i in range(180)])
    path, to = tmp_path / "sleep.parquet", tmp_path / "out.parquet"
    data.to_parquet(path)
    fit, expected = lf.fit("Reaction ~ Days + (1 | Subject)", path), {}
    expected["data"] = lf.fit("Reaction ~ Days + (1 | Subject)", data).augment(data)
    expected["newdata"] = fit.augment(newdata=data)
    assert expected["newdata"][".fitted"].notna().sum() == 144
    assert expected["newdata"][".resid"].notna().sum() == 143
    source = {
        "a path": lambda: path,
        "a LazyFrame": lambda: pl.scan_parquet(path),
        "a Dataset": lambda: ds.dataset(path),
        "polars": lambda: pl.from_pandas(data),
        "a dict": lambda: {name: data[name].to_list() for name in data},
    }[kind]()
    monkeypatch.setattr(requested, "BLOCK", 13)
    for name, whole in expected.items():
        columns = [one for one in whole if one.startswith(".")]
        found = fit.augment(**{name: source})
        if kind in ("polars", "a LazyFrame"):
            assert isinstance(found, pl.DataFrame)
            found = found.to_pandas()
        assert list(found.columns)[:3] == ["Reaction", "Days", "Subject"]
        assert found["Subject"].astype(str).tolist() == whole["Subject"].astype(str).tolist()
        np.testing.assert_allclose(found[columns], whole[columns], rtol=1e-10)
        fit.augment(**{name: source}, to=to)
        np.testing.assert_allclose(pd.read_parquet(to)[columns], whole[columns], rtol=1e-10)
    if kind not in ("polars", "a LazyFrame", "a dict"):
        assert list(fit.augment(data=source).index) == list(expected["data"].index)
    assert list(fit.residuals().index) == list(expected["data"].index)


def test_data_in_another_order_are_refused():
    data = lf.datasets.load("sleepstudy")
    fit = lf.fit("Reaction ~ Days + (1 | Subject)", data)
    with pytest.raises(FormulaDataError, match="not those of the fit: Reaction has other values"):
        fit.augment(data.iloc[::-1])
    # What is no column of the formula says nothing of the order, and is taken at its word.
    assert len(fit.augment(data[["Subject"]])) == 180
    with pytest.raises(ModelError, match="data are the rows of the fit"):
        fit.augment(data, newdata=data)
