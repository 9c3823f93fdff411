"""Small simulated data, a design for each shape of model, and their matrices written out densely."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import block_diag
from scipy.stats import multivariate_normal

import lmeformula as lf
from lmeformula.design.design import Design
from lmeformula.family.own import positive
from lmeformula.model.params import Params, ParamSpace


def frame(seed: int = 20240611) -> dict[str, np.ndarray]:
    """72 rows: g (12 levels) crossed with h (4 levels), c (3 levels) nested in h, numbers, weights.

    g, h, c and w carry effects, so that no variance of the designs below is estimated as zero; those of c
    within g on v are correlated, the less the farther apart.
    """
    rng = np.random.default_rng(seed)
    n = 72
    g, h = np.arange(n) % 12, np.arange(n) // 18
    c = np.arange(n) // 6 % 3
    x, z = rng.normal(size=(2, n))
    w = rng.uniform(0.5, 2.0, n)
    intercepts, slopes = rng.normal(size=12), 0.8 * rng.normal(size=12)
    curves = 0.7 * rng.normal(size=12)
    of_h, slopes_h = rng.normal(size=4), 0.9 * rng.normal(size=4)
    of_c = 0.8 * rng.normal(size=12)
    y = 2.0 + 0.5 * x + intercepts[g] + slopes[g] * x + curves[g] * z + of_h[h] + slopes_h[h] * x
    y += of_c[3 * h + c] + 0.6 * rng.normal(size=n) / np.sqrt(w)
    o = rng.normal(size=n)
    correlated = np.linalg.cholesky(0.5 ** np.abs(np.subtract.outer(np.arange(3), np.arange(3))))
    of_gc = rng.normal(size=(12, 3)) @ correlated.T * np.array([1.2, 1.5, 1.0])
    v = 1.0 - 0.5 * x + of_gc[g, c] + 0.5 * rng.normal(size=n) + of_h[h]
    return {"y": y, "x": x, "z": z, "g": g, "h": h, "c": c, "w": w, "o": o, "v": v}


# The own parameter of Gaussian models.
SIGMA = positive("sigma", 1.0)
# Terms of one, two and three coefficients, each as the lead term of the elimination (the one with the most
# effects) and among the rest.
FORMULAS = {
    "one term": "y ~ x + (1 | g)",
    "crossed": "y ~ x + (1 | g) + (1 | h)",
    "crossed, lead last": "y ~ x + (1 | h) + (1 | g)",
    "nested": "y ~ x + (1 | h / c)",
    "two columns": "y ~ x + (x | g)",
    "three columns": "y ~ x + (x + z | g)",
    "two columns lead": "y ~ x + (1 | h) + (x | g)",
    "two columns rest": "y ~ x + (z | g) + (x | h)",
    "three columns rest": "y ~ x + (x + z | h) + (z | g)",
    "three columns lead": "y ~ x + (x + z | g) + (x | h) + (1 | c:h)",
    "slopes apart": "y ~ x + (x || g) + (1 | h)",
    "slope only": "y ~ 1 + (0 + x | g)",
    "diagonal": "y ~ x + diag(x | g) + (1 | h)",
    "one variance": "y ~ x + diag(x | g, hom = TRUE)",
    "one correlation": "y ~ x + cs(x + z | g)",
    "one correlation, one variance": "v ~ x + cs(0 + factor(c) | g, hom = TRUE) + (1 | h)",
    "autoregressive": "v ~ x + (1 | h) + ar1(0 + factor(c) | g)",
    "autoregressive, three variances": "v ~ x + ar1(0 + factor(c) | g, hom = FALSE)",
    "no fixed effects": "y ~ 0 + (1 | g) + (1 | h)",
    "weights": "y | weights(w) ~ x + (x | g) + (1 | h)",
    "offset": "y ~ x + offset(o) + (1 | g) + (1 | h)",
}


def make_design(name: str) -> Design:
    """The design of that name over `frame()`."""
    return lf.design(FORMULAS[name], frame())


def random_lambdas(design: Design, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """A lower-triangular (k, k) factor of full rank for each term."""
    found = []
    for term in design.terms:
        k = len(term.columns)
        found.append(np.tril(rng.normal(size=(k, k)), -1) + np.diag(rng.uniform(0.5, 1.5, k)))
    return tuple(found)


def random_psi(space: ParamSpace, rng: np.random.Generator) -> np.ndarray:
    """An unconstrained parameter vector of moderate size."""
    return rng.uniform(-0.8, 0.8, space.size)


class Dense(NamedTuple):
    """The matrices of a design in formula order: effects level by level within a term."""

    Z: np.ndarray  # (n, q)
    W: np.ndarray  # (n,)

    def spread(self, design: Design, factors: tuple[np.ndarray, ...]) -> np.ndarray:
        """(q, q) block-diagonal matrix with each term's (k, k) factor once for each of its levels."""
        return block_diag(
            *(
                np.kron(np.eye(len(term.levels)), factor)
                for term, factor in zip(design.terms, factors, strict=True)
            )
        )


def dense(design: Design) -> Dense:
    """Write the random-effects model matrix out."""
    parts = []
    for term in design.terms:
        k, levels = len(term.columns), len(term.levels)
        part = np.zeros((design.n, levels * k))
        for row, level in enumerate(term.index):
            part[row, level * k : (level + 1) * k] = term.values[row]
        parts.append(part)
    weights = np.ones(design.n) if design.weights is None else design.weights
    return Dense(np.column_stack(parts), weights)


def marginal_covariance(design: Design, params: Params) -> np.ndarray:
    """(n, n) Z Sigma Z' + sigma^2 W^-1."""
    matrices = dense(design)
    between = matrices.spread(design, params.covariances)
    return matrices.Z @ between @ matrices.Z.T + params.residual_sd**2 * np.diag(1.0 / matrices.W)


def dense_log_likelihood(design: Design, params: Params) -> float:
    """The Gaussian marginal log-likelihood by the definition."""
    mean = design.X @ params.beta + design.offset
    return float(multivariate_normal(mean, marginal_covariance(design, params)).logpdf(design.y))


def differences(function, at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of a scalar or array function, one (first axis) for each element of `at`."""
    rows = []
    for j in range(len(at)):
        shift = np.zeros(len(at))
        shift[j] = step
        rows.append(
            (np.asarray(function(at + shift)) - np.asarray(function(at - shift))) / (2 * step)
        )
    return np.array(rows)
