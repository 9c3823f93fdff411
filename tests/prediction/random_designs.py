"""Random small designs; the degrees of freedom by R are in tests/reference/freedom.json."""

from __future__ import annotations

import numpy as np
import pandas as pd

# name: (formula, how the random-effects sds are, what is odd about it)
FORMULAS = {
    "crossed": "y ~ x + a + (1 | g) + (1 | h)",
    "nested": "y ~ x * a + (1 | g) + (1 | g:h)",
    "slopes": "y ~ x + (x | g)",
    "split": "y ~ x + a + (x || g)",
    "weights": "y ~ x + a + (1 | g) + (1 | h)",
    "three": "y ~ a + (a | g)",
    "dropped": "y ~ x + twice + a + (1 | g)",
    "both": "y ~ x + a + (x | g) + (1 | h)",
}
SEEDS = (1, 2, 3, 4)


def frame(name: str, seed: int) -> pd.DataFrame:
    """90 unbalanced rows; effects are large with odd seeds, small with even ones: many fits are singular."""
    r = np.random.default_rng([seed, *name.encode()])
    n = 90
    g, h = r.integers(0, 9, n), r.integers(0, 6, n)
    a, x = r.integers(0, 3, n), r.normal(size=n).round(3)
    size = 1.0 if seed % 2 else 0.15
    y = 1 + 0.5 * x + 0.3 * a + size * (r.normal(size=9)[g] + 0.6 * x * r.normal(size=9)[g])
    y += size * r.normal(size=6)[h] + 0.7 * size * r.normal(size=(9, 6))[g, h]
    y += size * r.normal(size=(9, 3))[g, a]
    w = r.choice([0.25, 1.0, 4.0], n)
    y += r.normal(size=n) / np.sqrt(w if name == "weights" else 1.0)
    return pd.DataFrame(
        {
            "y": y.round(4),
            "x": x,
            "twice": 2 * x,
            "a": np.array(list("pqr"))[a],
            "g": np.array([f"g{i}" for i in range(9)])[g],
            "h": np.array([f"h{i}" for i in range(6)])[h],
            "w": w,
        }
    )
