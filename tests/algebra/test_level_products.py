"""Traces of products over levels: with all products of two elements, and one change after the other."""

from __future__ import annotations

import numpy as np

from lmeformula.algebra import complement


def test_many_coefficients_have_the_same_traces(monkeypatch):
    rng = np.random.default_rng(1)
    left, right, change = (rng.normal(size=(count, 5, 5)) for count in (3, 3, 4))
    few = complement._level_products(left, right, change)
    monkeypatch.setattr(complement, "MOST_NUMBERS", 1)
    np.testing.assert_allclose(complement._level_products(left, right, change), few, rtol=1e-12)
    expected = sum(
        np.trace(change[1] @ left[level] @ change[2] @ right[level]) for level in range(3)
    )
    assert abs(few[1, 2] - expected) < 1e-12 * np.abs(few).max()
