"""What formulas differ by, as text."""

from __future__ import annotations

import pytest

from lmeformula.formula import parse
from lmeformula.formula.difference import difference

CASES = [
    ("y ~ x + a:b + (x + z | g:h)", "y ~ b:a + x + (z + x | h:g)", ""),
    ("y ~ x", "y ~ 0 + x", "- 1"),
    ("y ~ a * b", "y ~ a + b", "- a:b"),
    ("y ~ x", "y ~ log(x) + offset(w)", "+ log(x) + offset(w) - x"),
    ("y ~ (x || g)", "y ~ (x | g)", "+ (1 + x | g) - (1 | g) - (0 + x | g)"),
    ("y ~ ar1(0 + t | g)", "y ~ cs(0 + t | g)", "+ cs(0 + t | g) - ar1(0 + t | g)"),
    (
        ("y ~ x", "sigma ~ x"),
        ("y ~ x + z", "sigma ~ (1 | g)"),
        "+ z; sigma: + (1 | g) - x",
    ),
    (("y ~ x", "sigma ~ x"), "y ~ x", "sigma: - 1 - x"),
]


@pytest.mark.parametrize(("old", "new", "expected"), CASES)
def test_terms_that_are_added_and_left_out(old, new, expected):
    assert difference(parse(old), parse(new)) == expected
