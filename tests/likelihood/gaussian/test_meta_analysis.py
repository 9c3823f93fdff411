"""One row a group with a known residual variance, a meta-analysis: held to metafor.

Figures: metafor 3.8-1, R 4.2.2, rma(y, v, mods = ~ 1 or ~ x, method = "ML" or "REML"): tau, the coefficients,
their standard errors, and the log-likelihood of ML.
"""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf

V = (0.364, 0.055, 0.279, 0.205, 0.281, 0.045, 0.049, 0.095, 0.392, 0.142, 0.248, 0.394)
DATA = {
    "y": [-0.007, -0.131, -0.415, -0.248, 0.962, 0.438, 0.001, -0.149, -0.378, 0.387, 0.888, 0.001],
    "x": [-0.6, 0.66, 0.44, -1.75, 0.6, -0.59, -0.25, -0.6, -0.43, 0.07, 0.1, -1.56],
    "precision": [1.0 / v for v in V],
    "study": [f"s{i}" for i in range(12)],
}
CASES = [
    ("1", False, 0.08985780094, [0.11494103522], [0.10437234117], -6.26162082145),
    ("x", False, 0.11369041617, [0.12549227639, 0.04676945911], [0.11431279168, 0.16792297464], -6.22945693966),
    ("1", True, 0.1396012552, [0.1143077031], [0.1112575777], None),
    ("x", True, 0.19835500693, [0.13429236223, 0.08239642839], [0.12967429049, 0.18459429408], None),
]  # fmt: skip


@pytest.mark.parametrize(("fixed", "reml", "tau", "beta", "stderr", "loglik"), CASES)
def test_it_is_that_of_metafor(fixed, reml, tau, beta, stderr, loglik):
    fit = lf.fit(f"y ~ {fixed} + (1 | study)", DATA, weights="precision", sigma=1.0, reml=reml)
    assert fit.converged
    # metafor stops at a change of 1e-5 in tau squared.
    assert fit.varcorr.terms[0].sd[0] ** 2 == pytest.approx(tau**2, abs=2e-5)
    np.testing.assert_allclose(fit.fixef, beta, atol=2e-5)
    np.testing.assert_allclose(fit.stderr, stderr, atol=2e-5)
    if loglik is not None:
        assert fit.loglik.value == pytest.approx(loglik, abs=1e-6)
