"""Designs drawn at random: cells left out, factors nested in others, columns that others determine."""

from __future__ import annotations

import numpy as np
import pandas as pd

FORMULAS = (
    "a * b",
    "a * b + c",
    "a * b * c",
    "a + b + c + a:b + b:c",
    "a + n",
    "a + n + b",
    "c * n + a",
    "a / n",
    "a / b",
    "a / b + c",
    "c * (a / b)",
    "a + a:x",
    "a * x + b",
    "a * b * x",
    "a * b + b:x",
    "0 + a + a:x",
    "0 + a:b",
    "0 + a:b + c",
    "a:b + c",
    "b + same + a",
    "a * same + b",
    "a * b + same",
    "x + z + total + a",
    "a * (x + total)",
    "a * b + total + z + x",
    "x * z + a",
    "a + poly(x, 2) + b",
    "a * poly(x, 2)",
    "a * b + n",
    "b * n",
    "a * b * same",
    "a + b:c",
)
SEEDS = tuple(range(1, 2 * len(FORMULAS) + 1))  # each formula on two designs


def drawn(seed: int) -> tuple[str, pd.DataFrame]:
    """A formula with a random intercept, and 200 rows.

    n is nested in a; same has the levels of b under other names; total is x + z. Some cells of a and b, and in
    some designs of a, b and c, have no rows.
    """
    r = np.random.default_rng([seed, 41])
    n = 200
    sizes = r.integers(2, 4, 3)
    a, b, c = (r.integers(0, size, n) for size in sizes)
    x, z = r.normal(1.0, 1.0, n).round(2), r.normal(0.0, 2.0, n).round(2)
    g = r.integers(0, 12, n)
    y = 0.5 * a + 0.4 * b * (a == 1) - 0.3 * c + 0.3 * x * (b - 1.0) + r.normal(0, 0.7, 12)[g]
    rows = pd.DataFrame(
        {
            "y": (y + r.normal(size=n)).round(3),
            "a": [f"a{i}" for i in a],
            "b": [f"b{i}" for i in b],
            "c": [f"c{i}" for i in c],
            "n": [f"n{i}{j}" for i, j in zip(a, r.integers(0, 2, n), strict=True)],
            "same": [f"s{i}" for i in b],
            "x": x,
            "z": z,
            "total": (x + z).round(2),
            "g": [f"g{i:02d}" for i in g],
        }
    )
    for _ in range(int(r.integers(0, 3))):
        inside = (rows.a == f"a{r.integers(sizes[0])}") & (rows.b == f"b{r.integers(sizes[1])}")
        if r.random() < 0.4:
            inside &= rows.c == f"c{r.integers(sizes[2])}"
        if all(rows[~inside][v].nunique() == rows[v].nunique() for v in "abcn"):
            rows = rows[~inside]
    fixed = FORMULAS[seed % len(FORMULAS)]
    return f"y ~ {fixed} + (1 | g)", rows.reset_index(drop=True)
