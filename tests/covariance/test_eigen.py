"""LAPACK's own call gives what NumPy's wrapper does, and refuses what that refuses."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.covariance.eigen import symmetric_eigen


@pytest.mark.parametrize("k", [0, 1, 2, 7])
def test_as_numpy(k):
    root = np.random.default_rng(k).normal(size=(k, k))
    values, vectors = symmetric_eigen(root @ root.T)
    assert np.allclose(values, np.linalg.eigvalsh(root @ root.T))
    assert np.allclose((vectors * values) @ vectors.T, root @ root.T)


def test_what_is_not_a_number_is_refused():
    with pytest.raises(np.linalg.LinAlgError):
        symmetric_eigen(np.full((3, 3), np.nan))
