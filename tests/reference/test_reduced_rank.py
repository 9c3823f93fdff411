"""Covariances of reduced rank against glmmTMB: exact Gaussian fits, and Laplace fits of counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lmeformula as lf

REFERENCES = {
    entry["id"]: entry
    for entry in json.loads(
        (Path(__file__).parent / "reduced_rank.json").read_text(encoding="utf-8")
    )
}


@pytest.mark.parametrize("id", REFERENCES)
def test_fits_are_glmmtmbs(id):
    """glmmTMB stops at a relative change of 1e-8: some five digits of the estimates."""
    reference = REFERENCES[id]
    method = "exact" if reference["family"] == "gaussian" else "laplace"
    data = lf.datasets.load(reference["data"])
    fit = lf.fit(
        reference["formula"], data, reference["family"], method=method, reml=reference["reml"]
    )
    assert fit.converged
    assert fit.certificate.holds
    assert fit.loglik.df == reference["df"]
    assert float(fit.loglik) == pytest.approx(reference["logLik"], abs=2e-6)
    distance = (fit.fixef.to_numpy() - reference["fixed"]) / reference["fixed_se"]
    np.testing.assert_allclose(distance, 0.0, atol=2e-3)
    np.testing.assert_allclose(fit.stderr, reference["fixed_se"], rtol=1e-3)
    covariance = fit.params.covariances[0]
    expected = np.reshape(reference["covariance"], covariance.shape)
    np.testing.assert_allclose(covariance, expected, atol=1e-3 * np.abs(expected).max())
    if fit.sigma is not None:
        assert fit.sigma == pytest.approx(reference["sigma"], rel=1e-4)
