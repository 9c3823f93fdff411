"""Rows as real data have them: unbalanced, with empty cells, copies, gaps, tiny groups and odd scales."""

from __future__ import annotations

import numpy as np
import pandas as pd

Rng = np.random.Generator
LETTERS = np.array(list("uvwxyz"))


def rows(rng: Rng, n: int, many_groups: bool = False) -> pd.DataFrame:
    """A data frame of n rows without a response.

    Args:
      rng: random numbers.
      n: rows.
      many_groups: a grouping factor with more than 50 levels.
    Returns:
      data: x, z, v numeric; a, b factors; g, h, k grouping factors; w weights; o an offset.
    """
    g = groups(rng, n, int(rng.integers(51, 80)) if many_groups else _number(rng, n))
    h = rng.integers(0, int(rng.integers(2, 8)), n)
    k = rng.integers(0, int(rng.integers(2, 4)), n)
    x = numbers(rng, g)
    z = numbers(rng, g)
    if rng.uniform() < 0.2:
        z = x + rng.choice([0.01, 0.3]) * x.std() * rng.normal(size=n)
    data = pd.DataFrame(
        {
            "x": x,
            "z": z,
            "v": rng.normal(size=n),
            "a": factor(rng, g),
            "b": factor(rng, g),
            "g": named(rng, g, "s"),
            "h": named(rng, h, "h"),
            "k": named(rng, k, "k"),
            "w": rng.choice([0.1, 0.5, 1.0, 2.0, 10.0], n)
            if rng.uniform() < 0.7
            else rng.gamma(2.0, size=n),
            "o": rng.normal(size=n) * rng.choice([0.3, 1.0, 100.0], p=[0.5, 0.4, 0.1]),
        }
    )
    return data.sample(frac=1.0, random_state=int(rng.integers(2**31))).reset_index(drop=True)


def _number(rng: Rng, n: int) -> int:
    kind = rng.uniform()
    if kind < 0.08:
        return 2
    if kind < 0.2:
        return int(rng.integers(3, 5))
    return int(rng.integers(5, max(6, n // 3)))


def groups(rng: Rng, n: int, levels: int) -> np.ndarray:
    """(n,) codes: balanced, uneven, or with many levels of one row."""
    kind = rng.uniform()
    if kind < 0.4:
        return np.sort(np.arange(n) % levels)
    if kind < 0.8:
        shares = rng.dirichlet(np.full(levels, rng.choice([0.5, 2.0])))
        return np.sort(np.append(np.arange(levels), rng.choice(levels, n - levels, p=shares)))
    return np.sort(np.append(np.arange(levels), rng.choice(max(2, levels // 4), n - levels)))


def numbers(rng: Rng, g: np.ndarray) -> np.ndarray:
    """(n,) a numeric column of one of the kinds that occur."""
    n, levels = len(g), g.max() + 1
    kind = rng.choice(
        ["normal", "binary", "times", "between", "nearly", "tails", "rare", "integers"],
        p=[0.3, 0.12, 0.2, 0.1, 0.06, 0.08, 0.06, 0.08],
    )
    if kind == "binary":
        x = rng.integers(0, 2, n).astype(float)
    elif kind == "times":
        x = pd.Series(np.zeros(n)).groupby(g).cumcount().to_numpy(float)
    elif kind == "between":
        x = rng.normal(size=levels)[g]
    elif kind == "nearly":
        x = rng.normal(size=levels)[g] + 0.02 * rng.normal(size=n)
    elif kind == "tails":
        x = rng.standard_t(2, size=n)
    elif kind == "rare":
        x = (rng.uniform(size=n) < 0.08).astype(float)
    elif kind == "integers":
        x = rng.integers(0, 4, n).astype(float)
    else:
        x = rng.normal(size=n)
    odd = rng.uniform()
    if odd < 0.08:
        x = x + rng.choice([100.0, 2000.0])
    elif odd < 0.16:
        x = x * rng.choice([1e-3, 1e3])
    return x


def factor(rng: Rng, g: np.ndarray) -> np.ndarray | pd.Categorical:
    """A factor of two to four levels: within groups, between them, rare levels, ordered."""
    n, number = len(g), int(rng.integers(2, 5))
    kind = rng.uniform()
    if kind < 0.2:
        codes = rng.integers(0, number, g.max() + 1)[g]
    elif kind < 0.5:
        codes = rng.choice(number, n, p=rng.dirichlet(np.full(number, 0.7)))
    else:
        codes = rng.integers(0, number, n)
    labels = LETTERS[codes]
    if rng.uniform() < 0.25:
        levels = list(LETTERS[:number])
        rng.shuffle(levels)
        return pd.Categorical(labels, levels, ordered=bool(rng.uniform() < 0.5))
    return labels


def named(rng: Rng, codes: np.ndarray, letter: str) -> np.ndarray:
    """Levels as whole numbers or text."""
    if rng.uniform() < 0.5:
        return codes + int(rng.choice([0, 1, 1000]))
    return np.array([f"{letter}{code}" for code in codes])


def with_gaps(rng: Rng, data: pd.DataFrame) -> pd.DataFrame:
    """Some values are missing."""
    data = data.copy()
    for name in rng.choice(["x", "y", "a", "g"], 2, replace=False):
        gone = rng.choice(len(data), int(rng.integers(1, 4)), replace=False)
        if data[name].dtype.kind in "biu":
            data[name] = data[name].astype("Int64") if name == "g" else data[name].astype(float)
        data.loc[data.index[gone], name] = pd.NA if name == "g" else np.nan
    return data
