"""Names that people and programs give columns and groups, wherever a fit is shown or written."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.text.names import file_names
from lmeformula.views.page import page
from lmeformula.views.report import write_report

NAMES = (
    "rev_$/cost_$",
    r"50% \ $a\b$ 3",
    "two\nlines",
    "<script>alert(1)</script>",
    "quote\"s 'and' |bars| *stars* [x](y)",
    "x" * 400,
    "?!",
    "tab\tand\rreturn",
    "\U0001f389 \u05e2\u05d1\u200f",
)


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:16])
def test_a_name_survives_reports_pages_and_tables(name, tmp_path):
    r = np.random.default_rng(0)
    g = np.arange(60) % 6
    levels = [f"{name} {i}" for i in range(6)]
    data = pd.DataFrame(
        {"y": r.normal(size=60) + r.normal(size=6)[g], name: np.array(levels, object)[g]}
    )
    data["x y"] = r.normal(size=60)
    fit = lf.fit(f"y ~ `x y` + (1 | `{name}`)", data) if "\n" not in name else None
    if fit is None:
        # A name in backticks ends with the line.
        fit = lf.fit("y ~ `x y` + (1 | g)", data.rename(columns={name: "g"}))
    paths = write_report(fit, tmp_path / "report")
    assert all(path.stat().st_size > 100 for path in paths)
    assert "<script>alert" not in page(fit)
    shown = fit.summary()
    for text in (shown.to_markdown(), shown.to_latex(), str(shown)):
        assert "\t" not in text
    markdown = shown.to_markdown()
    assert "<script>" not in markdown
    for line in markdown.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_groups_of_like_names_have_files_of_their_own():
    found = file_names(["a b", "a-b", "A b", "g" * 400, "g" * 401, "é"])
    assert len({name.lower() for name in found.values()}) == 6
    assert all(len(name) < 80 and name.isascii() for name in found.values())
