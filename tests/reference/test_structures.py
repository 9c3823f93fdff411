"""Covariance structures against glmmTMB: exact Gaussian fits, and Laplace fits of counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lmeformula as lf

REFERENCES = {
    entry["id"]: entry
    for entry in json.loads((Path(__file__).parent / "structures.json").read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("id", REFERENCES)
def test_fits_are_glmmtmbs(id):
    """glmmTMB stops at a relative change of 1e-8: some five digits of the estimates."""
    reference = REFERENCES[id]
    method = "exact" if reference["family"] == "gaussian" else "laplace"
    data = lf.datasets.load(reference["data"])
    fit = lf.fit(reference["formula"], data, reference["family"], method=method)
    assert fit.converged
    assert not fit.singular
    assert fit.loglik.df == reference["df"]
    assert float(fit.loglik) == pytest.approx(reference["logLik"], abs=1e-6)
    distance = (fit.fixef.to_numpy() - reference["fixed"]) / reference["fixed_se"]
    np.testing.assert_allclose(distance, 0.0, atol=1e-3)
    np.testing.assert_allclose(fit.stderr, reference["fixed_se"], rtol=1e-4)
    covariance = fit.params.covariances[0]
    sd = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(sd, reference["sd"], rtol=1e-4)
    values = dict(zip(fit.param_names, fit.param_values, strict=True))
    (correlation,) = [value for name, value in values.items() if name.startswith("cor(")]
    assert correlation == pytest.approx(reference["correlation"], abs=1e-4)
    if fit.sigma is not None:
        assert fit.sigma == pytest.approx(reference["sigma"], rel=1e-4)
