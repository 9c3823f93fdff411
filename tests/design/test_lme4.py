"""The designs of several hundred formulas, held against what lme4 makes of them (see lme4/cases.json)."""

from __future__ import annotations

import json
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmeformula.design import Design, design
from lmeformula.errors import LmeFormulaError

FOLDER = Path(__file__).parent / "lme4"
CASES = json.loads((FOLDER / "cases.json").read_text())["cases"]


def read(name: str) -> pd.DataFrame:
    frame = pd.read_csv(FOLDER / name)
    for column in json.loads((FOLDER / "schema.json").read_text())["columns"]:
        key, kind = column["name"], column["dtype"]
        if kind in ("factor", "ordered"):
            frame[key] = pd.Categorical(frame[key], column["levels"], ordered=kind == "ordered")
        elif kind == "logical":
            frame[key] = frame[key].astype("boolean")
    return frame


DATA = {"": read("data.csv"), "na": read("data_na.csv")}


def orthonormal(matrix: Any) -> Any:
    if matrix.shape[1] == 0:
        return matrix
    lengths = np.linalg.norm(matrix, axis=0)
    u, s, _ = np.linalg.svd(matrix / np.where(lengths > 0, lengths, 1), full_matrices=False)
    return u[:, s > 1e-7 * max(s[0], 1)]


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_design_is_lme4s(case: dict[str, Any]) -> None:
    data = DATA[case.get("data", "")]
    data = data[case["select"]] if "select" in case else data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = design(case["formula"], data)
        except LmeFormulaError:
            if case["policy"] == "optional":
                pytest.skip("a function outside the table")
            raise
    assert made.n == case["nobs"]
    if "rank" in case:
        basis = orthonormal(made.X)
        rows = np.arange(1, made.n + 1)
        probes = np.stack([np.cos(k * rows * 1.7 + k) for k in (1, 2, 3)], axis=1)
        assert made.X.shape[1] == basis.shape[1] == case["rank"]
        np.testing.assert_allclose(((basis.T @ probes) ** 2).sum(axis=0), case["space"], atol=2e-6)
    check_terms(made, case, data)
    if "response_sum" in case:
        assert made.y is not None
        np.testing.assert_allclose(made.y.sum(), case["response_sum"], rtol=1e-6)


def check_terms(made: Design, case: dict[str, Any], data: pd.DataFrame) -> None:
    # lme4 expands nesting and double bars in another order; within one grouping factor the order is the same.
    ours = sorted(made.terms, key=lambda term: sorted(term.factors))
    theirs = sorted(
        zip(case["random"], case["lhs"], strict=True), key=lambda term: sorted(term[0][0])
    )
    for term, ((group, num_columns, num_levels), lhs) in zip(ours, theirs, strict=True):
        assert set(term.factors) == set(group)
        assert len(term.levels) == num_levels
        if lhs and not any(map(is_numeric, lhs)):
            # R keeps the redundant columns of factors whose margins are absent; here they are left out.
            num_columns = min(num_columns, len(data[lhs].dropna().drop_duplicates()))
        assert len(term.columns) == num_columns or "redundant" in case
        if term.group in case["levels"]:
            names = [{"False": "FALSE", "True": "TRUE"}.get(name, name) for name in term.levels]
            found = zlib.crc32("\n".join(names).encode())
            assert found == case["levels"][term.group], term.levels


def is_numeric(name: str) -> bool:
    frame = DATA[""]
    if name not in frame or frame[name].dtype == "boolean":
        return name not in frame
    return bool(pd.api.types.is_numeric_dtype(frame[name].dtype))


def test_most_cases_have_a_group_whose_levels_are_compared() -> None:
    assert sum(bool(case["levels"]) for case in CASES) > 300
    assert sum("rank" in case for case in CASES) > 300
