"""The fits of tests/reference/after_fit.R, and R's numbers about them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import lmeformula as lf

REFERENCE: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "reference" / "after_fit.json").read_text("utf-8")
)

# The optimisers of R are not exact, and Satterthwaite's numbers there are by numerical derivatives.
CLOSE = 2e-5


def without(name: str, rows: list[int]) -> pd.DataFrame:
    """A data set without some rows, counted from 1 as in R."""
    return lf.datasets.load(name).drop(index=np.array(rows) - 1)


@cache
def data(name: str) -> pd.DataFrame:
    """The data of a fit, made unbalanced by leaving rows out."""
    sleep = lf.datasets.load("sleepstudy")
    if name in ("sleep", "sleep_ml", "poly"):
        return sleep
    if name.startswith("thin"):
        return sleep[np.arange(1, 181) % 7 != 0]
    return {
        "machines": lambda: without("Machines", [2, 3, 6, 14, 26, 38]),
        "oats": lambda: without("Oats", [1, 2, 3, 5, 8, 13, 21, 34, 55]),
        "cake": lambda: without("cake", [1, 2, 5, 40, 77, 78, 200]),
        "cbpp": lambda: lf.datasets.load("cbpp"),
        "ticks": lambda: lf.datasets.load("grouseticks"),
    }[name]()


FORMULAS = {
    "sleep": "Reaction ~ Days + (Days | Subject)",
    "sleep_ml": "Reaction ~ Days + (Days | Subject)",
    "thin": "Reaction ~ Days + (Days | Subject)",
    "thin_ml": "Reaction ~ Days + (Days | Subject)",
    "thin_diag": "Reaction ~ Days + (Days || Subject)",
    "machines": "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)",
    "oats": "log(yield) ~ Variety + factor(nitro) + (1 | Block / Variety)",
    "cake": "angle ~ recipe * temp + (1 | recipe:replicate)",
    "poly": "Reaction ~ poly(Days, 2) + (1 | Subject)",
    "cbpp": "cbind(incidence, size - incidence) ~ period + (1 | herd)",
    "ticks": "TICKS ~ YEAR + scale(HEIGHT) + (1 | BROOD) + (1 | LOCATION)",
}
FAMILIES = {"cbpp": "binomial", "ticks": "poisson"}


@cache
def fit_of(name: str) -> lf.Fit:
    """A fit by name: REML for Gaussian ones unless it ends in _ml, Laplace for the others."""
    family = FAMILIES.get(name)
    if family is not None:
        return lf.fit(FORMULAS[name], data(name), family=family, method="laplace")
    return lf.fit(FORMULAS[name], data(name), method="exact", reml=not name.endswith("_ml"))


@cache
def small_fit(formula: str = "y ~ x + (x | g) + (1 | h)", reml: bool = True) -> lf.Fit:
    """A simulated, unbalanced, crossed design of 120 rows, with prior weights."""
    rng = np.random.default_rng(0)
    n = 120
    g, h, x = rng.integers(0, 8, n), rng.integers(0, 5, n), rng.normal(size=n)
    y = 1.0 + x + rng.normal(size=8)[g] + rng.normal(size=8)[g] * x + rng.normal(size=5)[h]
    frame = pd.DataFrame(
        {
            "x": x,
            "a": rng.choice(list("pqr"), n),
            "g": g.astype(str),
            "h": h.astype(str),
            "w": rng.uniform(0.5, 2.0, n),
            "y": y + rng.normal(size=n),
        }
    )
    return lf.fit(formula, frame, weights="w", method="exact", reml=reml)


def dense(fit: lf.Fit) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """X (n, p), Z (n, q), V (n, n) and the (q, q) selectors of each term, written out."""
    design, params = fit.model.design, fit.params
    blocks, covariances = [], []
    for term, covariance in zip(design.terms, params.covariances, strict=True):
        k = len(term.columns)
        block = np.zeros((design.n, len(term.levels) * k))
        for i in range(design.n):
            block[i, term.index[i] * k : (term.index[i] + 1) * k] = term.values[i]
        blocks.append(block)
        covariances.append(block @ np.kron(np.eye(len(term.levels)), covariance) @ block.T)
    weights = np.ones(design.n) if design.weights is None else design.weights
    V = sum(covariances) + np.diag(params.residual_sd**2 / weights)
    return design.X, np.hstack(blocks), V, blocks
