"""The page of a fit: whole, self-contained, and true to the fit."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.views.page import DARK, LIGHT, page, pictures, write_page
from tests.prediction.fakes import DATA, fake_fit, fake_mcem_fit
from tests.store.fits import fitted

VOID = {"meta", "img", "source", "br"}


class Checked(HTMLParser):
    """Collects texts and addresses, and holds tags to be closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.alternatives: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "href"):
                self.addresses.append(value or "")
            if name == "alt":
                self.alternatives.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts.append(data)


def read(text: str) -> Checked:
    checked = Checked()
    checked.feed(text)
    checked.close()
    assert checked.open == []
    return checked


def test_the_page_is_whole_and_holds_everything_itself() -> None:
    found = read(page(fake_mcem_fit()))
    assert all(address.startswith("data:image/png;base64,") for address in found.addresses)
    assert len(found.addresses) == 2 * len(pictures(fake_mcem_fit()))
    assert all(found.alternatives)
    assert "@import" not in page(fake_fit())
    assert "url(" not in page(fake_fit())


def test_the_page_has_the_numbers_of_the_fit() -> None:
    fit = fitted("exact")
    shown = " ".join(read(page(fit)).texts)
    for number in ("251.41", "10.47", "23.78", "5.72", "25.59", "0.08", "-875.97"):  # lme4's
        assert number in shown, number
    assert "Converged" in shown
    assert "Linear mixed model" in shown
    assert "likelihood evaluations" in shown


def test_a_fit_in_doubt_says_so() -> None:
    assert "<p class='fine'>" in page(fake_fit())
    assert "<p class='doubt'>" in page(fake_fit(outcome=lf.Outcome.DRAWS_EXHAUSTED))
    assert "<p class='doubt'>" in page(fake_fit(singular=True))


def test_names_from_the_data_are_text() -> None:
    data = DATA.rename(columns={"x": "<script>alert(1)</script>"})
    data["g"] = data["g"].map(lambda level: f"<b>{level}&")
    name = "`<script>alert(1)</script>`"
    text = page(fake_fit(f"y ~ {name} + ({name} | g) + (1 | h)", data))
    assert "<script>" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;" in text


def test_pictures_are_drawn_for_light_and_dark() -> None:
    import io

    from matplotlib.image import imread

    light, dark = {}, {}
    for source in re.findall(r"(<source [^>]*>|<img [^>]*>)", page(fake_mcem_fit())):
        content = re.search(r"base64,([^\"]+)", source)
        assert content is not None
        image = imread(io.BytesIO(base64.b64decode(content[1])))
        (dark if "dark" in source else light)[len(light if "img" in source else dark)] = image
    assert len(light) == len(dark) == len(pictures(fake_mcem_fit()))
    for chosen, colours in ((light, LIGHT), (dark, DARK)):
        paper = [int(colours["paper"][i : i + 2], 16) / 255 for i in (1, 3, 5)]
        for image in chosen.values():
            assert image[2, 2, :3] == pytest.approx(paper, abs=0.01)
            # Something is drawn, in ink that stands apart from the paper.
            assert abs(image[..., 0] - paper[0]).max() > 0.5


def test_which_pictures() -> None:
    exact = [picture.title for picture in pictures(fake_fit())]
    effects = ["Effects: Intercept by g", "Effects: x by g", "Effects: h"]
    assert exact == ["Residuals", "Calibration", *effects]
    assert [picture.title for picture in pictures(fake_mcem_fit())][
        -1
    ] == "The way to the estimates"


def test_residuals_have_a_normal_curve_only_where_rows_are_normal() -> None:
    assert "normal curve" in pictures(fake_fit())[0].caption
    assert "Quantile residuals" in pictures(fitted("cumulative"))[0].caption


def test_equations_that_are_too_large_have_no_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmeformula.views.page.has_leave_one_out", lambda fit: False)
    assert "Calibration" not in [picture.title for picture in pictures(fake_fit())]


def test_without_rows_residuals_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    loaded = lf.load(fitted("exact").save(tmp_path / "fit.zip"))
    text = write_page(loaded, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "saved without the rows of its data" in text
    assert "<h2>Residuals</h2>" not in text
    assert "<h2>Effects: Days by Subject</h2>" in text


def test_without_matplotlib_there_are_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmeformula.views.page.has_matplotlib", lambda: False)
    assert "<img" not in page(fake_fit())
    assert "Random effects" in page(fake_fit())


def test_it_tells_what_it_draws(tmp_path: Path) -> None:
    told: list[str] = []
    write_page(fake_fit(), tmp_path / "page.html", told.append)
    assert told == [picture.title for picture in pictures(fake_fit())]


def test_the_table_of_intervals_is_tidys() -> None:
    from lmeformula.views.page import interval_table

    table = interval_table(fake_fit().tidy())
    expected = fake_fit().tidy()["conf_low"]
    assert pd.Series(table.columns[4].cells, dtype=float).equals(expected.rename(None))


def test_effects_with_heavy_tails_have_a_page_without_calibration() -> None:
    fit = fake_fit()
    heavy = replace(fit, params=fit.params._replace(freedom=(4.0, float("inf"))))
    titles = [picture.title for picture in pictures(heavy)]
    assert "Residuals" in titles
    assert "Calibration" not in titles
    assert heavy.augment()[".hat"].isna().all()
