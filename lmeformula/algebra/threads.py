"""BLAS on one core: the matrices here are too small to share, and sharing is ruinous on a busy machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import scipy.linalg  # noqa: F401  its BLAS is one of those that are looked for
import threadpoolctl

from lmeformula.algebra.pages import keep_pages


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread while inside; from then on arrays are laid where others have been.

    Measured: with a second process on a two-core machine, a Cholesky factorization and inverse of order 1,142
    took 4 s in two threads, which spin while they wait for each other, and 0.06 s in one.
    """
    keep_pages()
    with _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> threadpoolctl.ThreadpoolController:
    # NumPy's and SciPy's libraries are found once; looking for them takes milliseconds.
    return threadpoolctl.ThreadpoolController()
