"""Numbers as text, and one table in four notations."""

from __future__ import annotations

import math

import pytest

from lmeformula.text.numbers import decimals_for, format_column, short
from lmeformula.text.render import to_html, to_latex, to_markdown, to_text
from lmeformula.text.table import Column, Table

NAN = math.nan


@pytest.mark.parametrize(
    ("kind", "cells", "texts"),
    [
        ("number", (251.4051, 10.46729, None), ("251.41", "10.47", "")),
        ("number", (3.28258, -0.0925885), ("3.28258", "-0.09259")),
        ("number", (3.28, -0.0926, 0.3255, 0.0006), ("3.28000", "-0.09260", "0.32550", "0.00060")),
        ("number", (0.0, NAN), ("0.0", "-")),
        ("number", (1.5, 1e-9), ("1.500000", "1.00e-09")),
        ("number", (1e15, 2.0), ("1.00e+15", "2")),
        ("number", (123456.789, 0.5), ("123456.79", "0.50")),
        ("statistic", (2.5, -0.004, NAN, None), ("2.50", "-0.00", "-", "")),
        ("error", (0.00123, 12.3, 0.0, 3e-7, 2e-17), ("0.0012", "12", "0", "3.0e-07", "<1e-9")),
        ("error", (NAN, None), ("-", "")),
        ("count", (73421, 2, None), ("73,421", "2", "")),
        ("text", ("a", None), ("a", "")),
    ],
)
def test_cells_of_each_kind(kind, cells, texts):
    assert format_column(Column("", cells, kind)) == texts


@pytest.mark.parametrize(
    ("values", "decimals"),
    [((), 1), ((NAN, math.inf), 1), ((0.001,), 6), ((1e-8,), 6), ((5e6, 0.1), 1), ((1e9,), 0)],
)
def test_decimals_of_a_column(values, decimals):
    assert decimals_for(values) == decimals


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0"), (12.0, "12.00"), (0.00009, "9e-05"), (-2e10, "-2e+10"), (NAN, "-")],
)
def test_one_number_in_a_line(value, text):
    assert short(value) == text


TABLE = Table(
    "Fixed & random_effects",
    (
        Column("", ("a|b", "x"), "text"),
        Column("estimate", (-1.5, 22.0)),
        Column("z", (NAN, 3.0), "statistic"),
    ),
    ("A note of 100 %.",),
)


def test_text_is_aligned():
    assert to_text(TABLE) == (
        "Fixed & random_effects\n"
        "     estimate     z\n"
        "a|b    -1.500     -\n"
        "x      22.000  3.00\n"
        "A note of 100 %."
    )


def test_text_wider_than_the_terminal_goes_on_below_with_its_first_column():
    assert to_text(TABLE, width=16).splitlines() == [
        "Fixed & random_effects",
        "     estimate",
        "a|b    -1.500",
        "x      22.000",
        "",
        "        z",
        "a|b     -",
        "x    3.00",
        "A note of 100 %.",
    ]


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_no_line_is_wider_than_the_terminal(width):
    columns = tuple(Column(f"column {j}", (1.25, 2.5)) for j in range(9))
    notes = ("A sentence that is a good deal longer than any of the columns above it.",)
    text = to_text(Table("", (Column("", ("x", "y"), "text"), *columns), notes), width)
    assert max(map(len, text.splitlines())) <= width


def test_markdown():
    assert to_markdown(TABLE) == (
        "**Fixed & random\\_effects**\n\n"
        "|  | estimate | z |\n"
        "| :--- | ---: | ---: |\n"
        "| a\\|b | -1.500 | - |\n"
        "| x | 22.000 | 3.00 |\n\n"
        "A note of 100 %."
    )


def test_html_escapes_and_leaves_colours_to_the_page():
    page = to_html(TABLE)
    assert "<caption>Fixed &amp; random_effects</caption>" in page
    assert '<td style="text-align: right">-1.500</td>' in page
    assert page.count("<tr>") == 4  # headings, two rows, notes
    assert "color" not in page
    assert "&lt;b&gt;" in to_html(Table("", (Column("<b>", (1.0,)),)))


def test_latex_escapes_and_uses_booktabs():
    text = to_latex(TABLE)
    assert r"\caption{Fixed \& random\_effects}" in text
    assert r"a\textbar{}b & $-$1.500 & - \\" in text
    assert r"\begin{tabular}{lrr}" in text
    assert "100 \\%." in text
    assert text.count("rule") == 3
    bare = to_latex(Table("", (Column("x", (1.0,)),)))
    assert bare.startswith(r"\begin{tabular}{r}")


def test_an_empty_table_has_its_headings():
    empty = Table("Nothing", (Column("name", (), "text"), Column("estimate", ())))
    assert to_text(empty) == "Nothing\nname  estimate"
    assert "<tbody></tbody>" in to_html(empty)
