"""Correlations that fall with distance against gls of nlme and glmmTMB: exact fits, and one by Laplace."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf

REFERENCES = {
    entry["id"]: entry
    for entry in json.loads((Path(__file__).parent / "positions.json").read_text(encoding="utf-8"))
}


@cache
def table() -> pd.DataFrame:
    """That of positions.R."""
    data = lf.datasets.load("sleepstudy")
    data = data[(np.arange(1, len(data) + 1) * 7) % 5 != 1].reset_index(drop=True)
    slow = data["Reaction"] + 20.0 * np.sin(3.0 * np.arange(1, len(data) + 1)) > 290
    u, v = data["Days"], (data["Days"] * 7) % 5
    return data.assign(u=u, v=v, one="field", slow=slow.astype(int))


@pytest.mark.parametrize("id", REFERENCES)
def test_fits_are_those_of_nlme_and_glmmtmb(id):
    """Their optimisers stop where some six digits of the estimates stand."""
    reference = REFERENCES[id]
    is_normal = reference["family"] == "gaussian"
    fit = lf.fit(
        reference["formula"],
        table(),
        reference["family"],
        method="exact" if is_normal else "laplace",
        reml=reference["reml"],
    )
    assert fit.converged
    # Of effects as large as those of yes and no it is open how near Laplace's approximation is.
    failed = [claim.name for claim in fit.certificate.claims if not claim.holds]
    assert failed == ([] if is_normal else ["approximation"])
    assert float(fit.loglik) == pytest.approx(reference["logLik"], abs=1e-6)
    values = dict(
        zip((name.split("(")[0] for name in fit.param_names), fit.param_values, strict=True)
    )
    names = ["sd", "range", *(["sigma"] if is_normal else [])]
    for name in names + ["smoothness"] * ("smoothness" in reference):
        assert values[name] == pytest.approx(reference[name], rel=1e-4)
    distance = (fit.fixef.to_numpy() - reference["fixed"]) / fit.stderr.to_numpy()
    np.testing.assert_allclose(distance, 0.0, atol=1e-4)
