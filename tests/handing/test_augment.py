"""Rows with what the model says of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.errors import FormulaDataError
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
