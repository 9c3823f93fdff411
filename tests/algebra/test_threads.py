"""BLAS is held to one thread, and let go again."""

from __future__ import annotations

import pytest
import threadpoolctl

from lmeformula.algebra.threads import one_blas_thread


def blas_threads() -> list[int]:
    pools = threadpoolctl.threadpool_info()
    return [pool["num_threads"] for pool in pools if pool["user_api"] == "blas"]


def test_one_thread_inside_and_as_before_outside():
    with one_blas_thread():
        pass  # NumPy's and SciPy's libraries are loaded now
    before = blas_threads()
    assert before
    with one_blas_thread():
        assert set(blas_threads()) == {1}
    assert blas_threads() == before


def test_let_go_after_an_error():
    before = blas_threads()
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        _ = 1 / 0
    assert blas_threads() == before
