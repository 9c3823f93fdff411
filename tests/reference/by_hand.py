"""Fits whose random-effects matrix was made by hand in R, for lme4's modular functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import lmeformula as lf


def assert_is_that_of_lme4(fit: lf.Fit, reference: Mapping[str, Any]) -> None:
    """Hold a fit with one term of effects to logLik, sds, correlations, fixed effects and modes of lme4's."""
    is_normal = reference["family"] == "gaussian"
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
