"""X = Q R of tall matrices, and R alone: by Householder's reflections, or of many columns by Cholesky's method.

Cholesky's method, twice, is matrix products throughout, several times as fast as reflections; its second run
takes away what rounding leaves of the first, as long as the columns are well conditioned on their own scales.
Where they are not, and of few columns, where nothing is gained, there are reflections.

References: Yamamoto, Nakatsukasa, Yanagisawa, Fukaya (2015), Roundoff error analysis of the CholeskyQR2
algorithm, Electronic Transactions on Numerical Analysis 44, 306-326. Demmel, Grigori, Hoemmen, Langou (2012),
Communication-optimal parallel and sequential QR and LU factorizations, SIAM Journal on Scientific Computing 34,
A206-A239.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from lmeformula.arrays import Floats
from lmeformula.rows.mapped import beside

# From so many columns on products are faster.
WIDE = 32
# Rows of more than these are reflected in blocks of so many.
BLOCK_ROWS = 100_000
# Inverse condition numbers of columns of unit length from here on leave the first run half of its digits.
CONDITION = 1e-4


def orthogonal(X: Floats) -> tuple[Floats, Floats]:
    """Q (n, p) with orthogonal columns of unit length, and the upper triangular R (p, p), of X (n, p) = Q R.

    Where n is less than p they are (n, n) and (n, p). Signs of the rows of R are as they come.

    Example:
      >>> Q, R = orthogonal(np.array([[3.0, 1.0], [4.0, 2.0]]))
      >>> bool(np.allclose(Q @ R, [[3.0, 1.0], [4.0, 2.0]]))
      True
    """
    halves = _halves(X)
    if halves is None:
        return _in_blocks(X) if len(X) > max(BLOCK_ROWS, X.shape[1]) else _reflected(X)
    Q, first, second = halves
    return Q @ _inverse(second), second @ first


def _reflected(X: Floats) -> tuple[Floats, Floats]:
    Q, R = np.linalg.qr(X)
    return np.asarray(Q, float), np.asarray(R, float)


def _in_blocks(X: Floats) -> tuple[Floats, Floats]:
    """Q and R of very many rows: blocks of rows by themselves, then what they leave together.

    LAPACK would copy all rows, twice.
    """
    Q = beside(X, X.shape)
    starts = range(0, len(X), BLOCK_ROWS)
    corners = []
    for start in starts:
        rows = slice(start, start + BLOCK_ROWS)
        # A last block of few rows is (m, m) times (m, p).
        left, corner = _reflected(X[rows])
        Q[rows, : left.shape[1]] = left
        corners.append(corner)
    mixed, R = _reflected(np.concatenate(corners))
    place = 0
    for start, corner in zip(starts, corners, strict=True):
        rows, size = slice(start, start + BLOCK_ROWS), len(corner)
        Q[rows] = Q[rows, :size] @ mixed[place : place + size]
        place += size
    return Q, R


def triangle(X: Floats) -> Floats:
    """R alone of X = Q R."""
    halves = _halves(X)
    if halves is None:
        return np.asarray(np.linalg.qr(X, mode="r"), float)
    _, first, second = halves
    return second @ first


def _halves(X: Floats) -> tuple[Floats, Floats, Floats] | None:
    """Nearly orthogonal columns Q, and the factors of both runs; None where reflections are the better way."""
    n, p = X.shape
    if not WIDE <= p <= n:
        return None
    first = _root(X)
    if first is None:
        return None
    Q = X @ _inverse(first)
    second = _root(Q)
    return None if second is None else (Q, first, second)


def _root(X: Floats) -> Floats | None:
    """(p, p) upper factor of X'X, of which the columns are scaled; None where they are badly conditioned."""
    # Numbers that cannot be squared are for those who scale first.
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        gram = X.T @ X
        sizes = np.sqrt(np.diag(gram))
        scaled = gram / np.outer(sizes, sizes)
    if not (sizes.all() and np.isfinite(scaled).all()):
        return None
    # LAPACK works by columns: the lower factor of the transpose is the upper one.
    lower, status = lapack.dpotrf(scaled, lower=1, clean=1)
    if status != 0 or lapack.dtrcon(lower, uplo="L")[0] < CONDITION:
        return None
    return np.asarray(lower.T * sizes)


def _inverse(upper: Floats) -> Floats:
    return np.asarray(lapack.dtrtri(upper)[0])
