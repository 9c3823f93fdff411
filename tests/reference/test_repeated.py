"""Repeated measures without a residual against gls of nlme and glmmTMB, by both likelihoods."""

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
    for entry in json.loads((Path(__file__).parent / "repeated.json").read_text(encoding="utf-8"))
}
FORMULAS = {
    "growth": "distance ~ visit * Sex + {}(0 + visit | Subject)",
    "sleep": "Reaction ~ Days + {}(0 + factor(Days) | Subject)",
}


@cache
def table(name: str, rows: str) -> pd.DataFrame:
    """With all visits, or without those that repeated.R leaves out."""
    data = lf.datasets.load({"growth": "Orthodont", "sleep": "sleepstudy"}[name])
    if name == "growth":
        data = data.assign(visit=data["age"].map("{:02.0f}".format))
    return data if rows == "all" else data[(np.arange(len(data)) + 1) % 7 != 3]


@pytest.mark.parametrize("id", REFERENCES)
def test_fits_are_those_of_gls(id):
    """Its optimiser, and glmmTMB's, stop where some six digits of the estimates stand."""
    reference = REFERENCES[id]
    name, rows, kind, _ = id.split("-")
    fit = lf.fit(
        {"mu": FORMULAS[name].format(kind), "sigma": "~ 0"},
        table(name, rows),
        reml=reference["reml"],
    )
    assert fit.converged
    assert fit.sigma == 0.0
    assert fit.loglik.df == reference["df"]
    assert float(fit.loglik) == pytest.approx(reference["logLik"], abs=1e-5)
    distance = (fit.fixef.to_numpy() - reference["fixed"]) / reference["fixed_se"]
    np.testing.assert_allclose(distance, 0.0, atol=1e-3)
    if "gls" in reference["source"]:  # glmmTMB's are of fixed effects and covariances together
        np.testing.assert_allclose(fit.stderr, reference["fixed_se"], rtol=1e-3)
