"""Smooths against mgcv, and a Laplace fit against lme4 in the way of gamm4."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf

HERE = Path(__file__).parent
REFERENCES = {
    entry["id"]: entry for entry in json.loads((HERE / "smooths.json").read_text(encoding="utf-8"))
}
GAUSSIAN = [id for id, entry in REFERENCES.items() if entry["family"] == "gaussian"]


@cache
def data() -> pd.DataFrame:
    return pd.read_csv(HERE / "smooths.csv")


@pytest.mark.parametrize("id", GAUSSIAN)
def test_fits_are_mgcvs(id):
    """mgcv's score is the likelihood but for the unit of the fixed columns; it stops at a gradient of 1e-9."""
    reference = REFERENCES[id]
    is_reml = reference["method"] == "REML"
    fit = lf.fit(reference["formula"], data(), reml=is_reml)
    assert fit.converged
    constant = reference["constant"] if is_reml else 0.0
    assert float(fit.loglik) == pytest.approx(reference["score"] + constant, abs=2e-6)
    found = fit.predict(data().head(6), interval="confidence", level=0.95).to_numpy()
    np.testing.assert_allclose(found[:, 0], reference["fit"], atol=5e-5)
    if is_reml:
        # By maximum likelihood mgcv reports another scale than that which maximises it.
        assert fit.sigma == pytest.approx(reference["sigma"], rel=1e-5)
        half = (found[:, 2] - found[:, 1]) / (2.0 * 1.959963984540054)
        np.testing.assert_allclose(half, reference["se"], rtol=2e-4)


def test_a_laplace_fit_is_gamm4s():
    reference = REFERENCES["counts-laplace"]
    fit = lf.fit(reference["formula"], data(), "poisson", method="laplace")
    assert float(fit.loglik) == pytest.approx(reference["logLik"], abs=1e-5)
    np.testing.assert_allclose(fit.predict(kind="link")[:6], reference["fit"], atol=1e-4)
    # mgcv's approximation is at the joint modes of all coefficients, near that maximum and below it.
    near = REFERENCES["counts-joint-modes"]
    assert 0.0 < float(fit.loglik) - near["score"] < 0.1
    np.testing.assert_allclose(fit.predict(kind="link")[:6], near["fit"], atol=0.05)


@pytest.mark.parametrize(
    "id", [id for id in GAUSSIAN if "edf" in REFERENCES[id] and REFERENCES[id]["method"] == "REML"]
)
def test_effective_degrees_of_freedom_are_mgcvs(id):
    """Of curves; random effects stand behind them there, and have another test, as cyclic curves have."""
    reference = REFERENCES[id]
    found = lf.fit(reference["formula"], data(), reml=True).smooths()
    count = len(found)
    np.testing.assert_allclose(found["edf"], reference["edf"][:count], rtol=2e-5)
    if "cc" in id:
        return
    np.testing.assert_allclose(found["ref_df"], reference["ref_df"][:count], rtol=2e-5)
    # mgcv takes one sign of the share of two directions, and here the statistic is the mean of both.
    np.testing.assert_allclose(found["statistic"], reference["statistic"][:count], rtol=0.03)
    small = np.array(reference["p_value"][:count]) < 1e-12
    ratio = found["p_value"].to_numpy()[~small] / np.array(reference["p_value"][:count])[~small]
    assert np.all(np.abs(np.log(ratio)) < 0.5) or "effects" in id
    assert np.all(found["p_value"].to_numpy()[small] < 1e-7)


def test_effective_degrees_of_freedom_of_counts_take_smoothness_for_known():
    """As mgcv's do, whose fit is another approximation's by a little; with errors of variances one was zero."""
    for id in ("counts-by", "counts-joint-modes"):
        reference = REFERENCES[id]
        found = lf.fit(reference["formula"], data(), "poisson", method="laplace").smooths()
        np.testing.assert_allclose(found["edf"], reference["edf"][: len(found)], rtol=0.02)
        np.testing.assert_allclose(
            found["statistic"], reference["statistic"][: len(found)], rtol=0.06
        )
