"""Formulas in plain words, and their variance parameters."""

from __future__ import annotations

import pytest

from lmeformula.formula import parse
from lmeformula.formula.explain import num_parameters

MEANINGS = [
    ("(1|g)", "intercepts varying over g"),
    ("(x|g)", "intercepts and slopes of x varying over g, correlated"),
    ("(0 + x|g)", "slopes of x varying over g"),
    ("(x||g)", "intercepts varying over g, and independently slopes of x"),
    ("(1|a/b)", "intercepts varying over a, and over b within a"),
    ("(1|a/b/c)", "intercepts varying over a, and over b within a, and over c within b within a"),
    ("(1|a:b)", "intercepts varying over the combinations of a and b"),
    ("(1|a*b)", "intercepts varying over a, and over b, and over the combinations of a and b"),
    (
        "diag(x + z|g)",
        "intercepts and slopes of x and z varying over g, independently of each other",
    ),
    (
        "cs(0 + a|g, hom = TRUE)",
        "slopes of a varying over g, all equally correlated, with one variance",
    ),
    (
        "toep(0 + a|g)",
        "slopes of a varying over g, with a correlation for each distance in time",
    ),
    (
        "rr(0 + a|g)",
        "slopes of a varying over g, combinations of 2 factors that vary",
    ),
    (
        "propto(0 + a|g, A)",
        "slopes of a varying over g, with A times a variance for their covariance",
    ),
    ("equalto(0 + a|g, A)", "slopes of a varying over g, with A for their covariance"),
    (
        "ou(0 + t|g)",
        "effects at each position of t varying over g, correlated the less the longer the time between them, "
        "with one variance",
    ),
]


@pytest.mark.parametrize(("term", "meaning"), MEANINGS)
def test_says_what_a_term_means(term: str, meaning: str) -> None:
    assert f"  {term}: {meaning}\n" in parse(f"y ~ x + {term}").explain()


def test_shows_itself_as_text() -> None:
    explanation = parse("y ~ x + offset(w) + . + (1|g);".replace(" + offset(w)", "")).explain()
    assert repr(explanation) == str(explanation)
    assert "W_TRAILING_SEMICOLON" in explanation
    assert "every column but the response" in explanation


def test_counts_the_parameters_of_linked_terms_together() -> None:
    lines = parse("y ~ (1|p|g) + (1|h) + (0 + x|p|g)").explain().splitlines()
    assert lines[4:] == [
        "  (1|p|g): intercepts varying over g, correlated with the other terms labelled p",
        "    1 | p | g  in the block p",
        "  (1|h): intercepts varying over h",
        "    1 | h  1 variance parameter",
        "  (0 + x|p|g): slopes of x varying over g, correlated with the other terms labelled p",
        "    0 + x | p | g  in the block p",
        "  Linked by p: (1 + x | g), 3 variance parameters if x is numeric; "
        "k(k + 1)/2 for the k columns in all of a factor",
    ]


@pytest.mark.parametrize(
    ("kind", "homogeneous", "counts"),
    [
        ("us", None, (1, 3, 6, 10)),
        ("diag", False, (1, 2, 3, 4)),
        ("diag", True, (1, 1, 1, 1)),
        ("cs", False, (1, 3, 4, 5)),
        ("cs", True, (1, 2, 2, 2)),
        ("ar1", True, (1, 2, 2, 2)),
        ("ar1", False, (1, 3, 4, 5)),
    ],
)
def test_counts_parameters_as_glmmtmb_does(
    kind: str, homogeneous: bool | None, counts: tuple[int, ...]
) -> None:
    assert tuple(num_parameters(kind, homogeneous, k) for k in (1, 2, 3, 4)) == counts


def test_has_no_count_for_what_cannot_be_fitted() -> None:
    assert num_parameters("rr", None, 3, 2) == 5
    assert "not available for fitting" in parse("y ~ (1|mm(g, h, by = a))").explain()
