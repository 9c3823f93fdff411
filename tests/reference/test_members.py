"""Rows that have several levels of one factor against lme4, through its modular functions."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import lmeformula as lf
from tests.reference.by_hand import assert_is_that_of_lme4

HERE = Path(__file__).parent
REFERENCES = {
    entry["id"]: entry for entry in json.loads((HERE / "members.json").read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("id", REFERENCES)
def test_fits_are_those_of_lme4(id):
    reference = REFERENCES[id]
    fit = lf.fit(
        reference["formula"],
        pd.read_csv(HERE / "members.csv"),
        reference["family"],
        reml=reference["reml"],
    )
    assert_is_that_of_lme4(fit, reference)
