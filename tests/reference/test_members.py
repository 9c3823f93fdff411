"""Rows that have several levels of one factor against lme4, through its modular functions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf

HERE = Path(__file__).parent
REFERENCES = {
    entry["id"]: entry for entry in json.loads((HERE / "members.json").read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("id", REFERENCES)
def test_fits_are_those_of_lme4(id):
    reference = REFERENCES[id]
    is_normal = reference["family"] == "gaussian"
    fit = lf.fit(
        reference["formula"],
        pd.read_csv(HERE / "members.csv"),
        reference["family"],
        reml=reference["reml"],
    )
    assert fit.converged
    assert fit.method == ("exact" if is_normal else "laplace")
    # Its optimisers leave the deviance up to a ten thousandth above its minimum.
    assert float(fit.loglik) == pytest.approx(reference["logLik"], abs=1e-5)
    assert float(fit.loglik) >= reference["logLik"] - 1e-8
    k = len(fit.model.design.terms[0].columns)
    covariance = fit.params.covariances[0]
    sds = np.sqrt(np.diag(covariance))
    correlations = (covariance / np.outer(sds, sds))[np.tril_indices(k, -1)]
    np.testing.assert_allclose([*sds, *correlations], reference["sd"], rtol=2e-3)
    distance = (fit.fixef.to_numpy() - reference["fixed"]) / reference["stderr"]
    np.testing.assert_allclose(distance, 0.0, atol=2e-3)
    if is_normal:
        np.testing.assert_allclose(fit.stderr, reference["stderr"], rtol=1e-3)
    modes = fit.modes[0].ravel()
    np.testing.assert_allclose(modes, reference["modes"], atol=2e-3 * np.abs(modes).max())
