"""Matrices of one pattern: as constructed ones, and without a say in each other's elements."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from lmeformula.algebra.sparse_patterns import pattern, with_elements


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
