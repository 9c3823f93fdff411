"""Data sets of the comparison that are simulated: the same for every tool, whoever makes them."""

from __future__ import annotations

import numpy as np
import pandas as pd

# Rows and groups of small problems of one grouping factor.
SIZES = ((100, 10), (500, 50), (2000, 100), (8000, 400))
# Of the cross-validation: rows and regions.
REGIONS = (200_000, 50)


def small(kind: str, num_rows: int, num_groups: int) -> pd.DataFrame:
    """Rows of a binary response or of counts, a covariate, and groups with effects of sd 0.7.

    Args:
      kind: "bernoulli" or "poisson".
      num_rows: of the data.
      num_groups: to which rows belong at random.
    """
    rng = np.random.default_rng([num_rows, num_groups])
    x, g = rng.normal(size=num_rows).round(4), rng.integers(num_groups, size=num_rows)
    eta = 0.3 + 0.5 * x + 0.7 * rng.normal(size=num_groups)[g]
    if kind == "bernoulli":
        y = (rng.random(num_rows) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    else:
        y = rng.poisson(np.exp(eta))
    return pd.DataFrame({"y": y, "x": x, "g": g})


def named(name: str) -> pd.DataFrame:
    """The data set that a case calls "bernoulli-500-50"."""
    kind, num_rows, num_groups = name.split("-")
    return small(kind, int(num_rows), int(num_groups))
