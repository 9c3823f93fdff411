"""Designs with empty cells, nesting and dropped columns, whose tests and means by R are in a reference file."""

from __future__ import annotations

import numpy as np
import pandas as pd

FORMULAS = {
    "full": "y ~ a * b + x + (1 | g)",
    "empty": "y ~ a * b + x + (1 | g)",
    "empty_two": "y ~ a * b + (1 | g)",
    "empty_three": "y ~ a * b * c + (1 | g)",
    "dropped": "y ~ a + x + twice + (1 | g)",
    "slopes": "y ~ a + a:x + (1 | g)",
    "both_slopes": "y ~ a * x + (1 | g)",
    "nested": "y ~ a + n + (1 | g)",
    "nested_by_formula": "y ~ a / b + (1 | g)",
    "nested_cross": "y ~ c * n + a + (1 | g)",
    "cells": "y ~ a:b + (1 | g)",
    "no_intercept": "y ~ 0 + a + x + (1 | g)",
}


def frame(name: str) -> pd.DataFrame:
    """240 rows: a and b and c cross, n is nested in a; cells are left out by the design's name."""
    r = np.random.default_rng(11)
    n = 240
    a, b, c = r.integers(0, 3, n), r.integers(0, 3, n), r.integers(0, 2, n)
    x, g = r.normal(2.0, 1.0, n).round(2), np.arange(n) % 20
    y = a + 0.5 * b * (a == 1) + 0.4 * x * (a - 1) + r.normal(size=n) + r.normal(size=20)[g]
    rows = pd.DataFrame(
        {
            "y": y.round(3),
            "a": [f"a{i}" for i in a],
            "b": [f"b{i}" for i in b],
            "c": [f"c{i}" for i in c],
            "n": [f"n{i}{j}" for i, j in zip(a, b, strict=True)],
            "x": x,
            "twice": 2 * x - 1,
            "g": [f"g{i:02d}" for i in g],
        }
    )
    left_out = {
        "empty": [("a2", "b1", None)],
        "empty_two": [("a2", "b1", None), ("a0", "b2", None)],
        "empty_three": [("a1", "b1", "c0"), ("a2", "b2", None)],
        "nested": [("a2", "b2", None)],
        "nested_cross": [("a2", "b2", None)],
    }.get(name, [])
    for cell in left_out:
        inside = (rows.a == cell[0]) & (rows.b == cell[1])
        rows = rows[~(inside if cell[2] is None else inside & (rows.c == cell[2]))]
    return rows.reset_index(drop=True)
