"""Data of large designs, drawn a block of rows after the other, so that a file of them needs no memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

BLOCK = 1_000_000
# Of MovieLens 25M, which is not shipped: ratings, users and films.
MOVIELENS = (25_000_095, 162_541, 59_047)


class Truth(NamedTuple):
    """What data are drawn of.

    Attributes:
      kind: "crossed" has two factors of rows/25 and rows/60 levels, all equally frequent; "heavy tails" the
        levels and the tails of MovieLens 25M (users lognormal, films by a power law); "nested" rows/25 levels,
        60 of which are in one of the next factor; "many levels" two factors, of rows/10 levels and of 1,000;
        "slopes" is crossed, with a slope of x by the first factor.
      rows: how many.
      family: "gaussian", "bernoulli" or "poisson".
      seed: of the draws.
    """

    kind: str
    rows: int
    family: str
    seed: int

    @property
    def formula(self) -> str:
        """What is fitted."""
        first = "x" if self.kind == "slopes" else "1"
        return f"y ~ x + ({first} | g) + (1 | h)"

    @property
    def fixed(self) -> tuple[float, float]:
        """Intercept and slope."""
        return {"gaussian": 1.0, "bernoulli": -0.5, "poisson": 0.3}[self.family], 0.5

    @property
    def sds(self) -> tuple[float, ...]:
        """Of the effects, in the fit's order."""
        return (0.7, 0.3, 0.4) if self.kind == "slopes" else (0.7, 0.4)

    @property
    def levels(self) -> tuple[int, int]:
        """How many there are of each factor."""
        if self.kind == "heavy tails":
            rows, users, films = MOVIELENS
            return max(users * self.rows // rows, 50), max(films * self.rows // rows, 40)
        if self.kind == "nested":
            return max(self.rows // 25, 60), max(self.rows // 1500, 2)
        if self.kind == "many levels":
            return self.rows // 10, 1000
        return self.rows // 25, self.rows // 60


def blocks(truth: Truth) -> Iterator[dict[str, np.ndarray]]:
    """The rows, a million at a time."""
    rng = np.random.default_rng(truth.seed)
    num_first, num_second = truth.levels
    sds = iter(truth.sds)
    first = next(sds) * rng.normal(size=num_first)
    slope = next(sds) * rng.normal(size=num_first) if truth.kind == "slopes" else None
    second = next(sds) * rng.normal(size=num_second)
    heavy = None
    if truth.kind == "heavy tails":
        users, films = (
            rng.lognormal(0.0, 1.2, num_first),
            1.0 / (np.arange(num_second) + 8.0) ** 1.25,
        )
        heavy = np.cumsum(users) / users.sum(), np.cumsum(films) / films.sum()
    for start in range(0, truth.rows, BLOCK):
        n = min(BLOCK, truth.rows - start)
        if heavy is not None:
            g, h = (
                np.searchsorted(chances[:-1], rng.random(n)).astype(np.int32) for chances in heavy
            )
        else:
            g = rng.integers(0, num_first, n, dtype=np.int32)
            h = (
                g % num_second
                if truth.kind == "nested"
                else rng.integers(0, num_second, n, dtype=np.int32)
            )
        x = rng.normal(size=n)
        eta = truth.fixed[0] + truth.fixed[1] * x + first[g] + second[h]
        if slope is not None:
            eta += slope[g] * x
        yield {"y": _responses(rng, truth.family, eta), "x": x, "g": g, "h": h}


def _responses(rng: np.random.Generator, family: str, eta: np.ndarray) -> np.ndarray:
    if family == "gaussian":
        return eta + rng.normal(size=len(eta))
    if family == "bernoulli":
        return (rng.uniform(size=len(eta)) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
    return rng.poisson(np.exp(eta)).astype(float)


def in_memory(truth: Truth) -> dict[str, np.ndarray]:
    """All rows, as a mapping of arrays."""
    found: dict[str, np.ndarray] = {}
    for start, block in zip(range(0, truth.rows, BLOCK), blocks(truth), strict=True):
        for name, values in block.items():
            found.setdefault(name, np.empty(truth.rows, values.dtype))
            found[name][start : start + len(values)] = values
    return found


def in_parquet(truth: Truth, path: Path) -> None:
    """All rows, as a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for block in blocks(truth):
        table = pa.table(block)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
