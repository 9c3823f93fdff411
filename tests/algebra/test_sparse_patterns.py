"""Matrices of one pattern: as constructed ones, and without a say in each other's elements."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from lmeformula.algebra.sparse_patterns import ordered_by, pattern, with_elements


def test_they_are_as_constructed_ones():
    rng = np.random.default_rng(1)
    dense = sp.csr_array(sp.random_array((7, 5), density=0.4, rng=rng))
    columns, pointers = dense.indices.astype(np.int32), dense.indptr.astype(np.int32)
    places = pattern(columns, pointers, dense.shape)
    first, second = with_elements(places, dense.data), with_elements(places, 2.0 * dense.data)
    right = rng.normal(size=(5, 3))
    np.testing.assert_array_equal(first @ right, dense @ right)
    np.testing.assert_array_equal(second.toarray(), 2.0 * dense.toarray())
    np.testing.assert_array_equal(first.T.toarray(), dense.toarray().T)
    assert len(places.data) == 0


@pytest.mark.parametrize(("n", "count"), [(0, 3), (1, 1), (9, 4), (500, 7), (500, 5000)])
def test_the_order_is_that_of_a_stable_sort(n, count):
    codes = np.random.default_rng(2).integers(count, size=n).astype(np.int32)
    order, starts = ordered_by(codes, count)
    np.testing.assert_array_equal(order, np.argsort(codes, kind="stable"))
    np.testing.assert_array_equal(starts, np.searchsorted(np.sort(codes), np.arange(count + 1)))
