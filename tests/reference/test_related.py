"""Effects of levels with a known covariance against lme4, through its modular functions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from tests.reference.by_hand import assert_is_that_of_lme4

REFERENCES = {
    entry["id"]: entry
    for entry in json.loads((Path(__file__).parent / "related.json").read_text(encoding="utf-8"))
}


def falling(levels: list[str]) -> pd.DataFrame:
    """The covariance of related.R."""
    places = np.arange(len(levels))
    return pd.DataFrame(np.exp(-np.abs(places[:, None] - places) / 3.0), levels, levels)


@pytest.mark.parametrize("id", REFERENCES)
def test_fits_are_those_of_lme4(id):
    reference = REFERENCES[id]
    is_normal = reference["family"] == "gaussian"
    data = lf.datasets.load("sleepstudy" if is_normal else "cbpp")
    group = "Subject" if is_normal else "herd"
    levels = sorted(set(data[group].astype(str)), key=int)
    fit = lf.fit(
        reference["formula"],
        data,
        reference["family"],
        reml=reference["reml"],
        covariances={"A": falling(levels)},
    )
    assert_is_that_of_lme4(fit, reference)
