"""What rows take of quadratic forms in the effects, against whole matrices."""

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.algebra import row_forms
from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.row_forms import add_forms, add_level_forms, in_parts


@pytest.fixture(params=["(1 | g)", "(1 + x | g) + (1 | h)", "(1 | g) + (0 + x + z | h)"])
def plan(request):
    rng = np.random.default_rng(0)
    n = 300
    data = pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "z": rng.normal(size=n),
            "g": rng.integers(0, 20, n).astype(str),
            "h": rng.integers(0, 7, n).astype(str),
        }
    )
    return layout(lf.design(f"y ~ x + {request.param}", data).terms)


@pytest.mark.parametrize("num_columns", [1, 5])
def test_forms_are_products_summed_over_columns(plan, num_columns, monkeypatch):
    monkeypatch.setattr(row_forms, "LEAST_ROWS", 7)
    monkeypatch.setattr(row_forms, "AT_HAND", 70)
    rng = np.random.default_rng(1)
    left, right = rng.normal(size=(2, plan.num_effects, num_columns))
    found = np.ones(300)
    add_forms(found, plan, left, right)
    expected = 1.0 + (plan.spread(left) * plan.spread(right)).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_level_forms(plan, monkeypatch):
    monkeypatch.setattr(row_forms, "LEAST_ROWS", 11)
    monkeypatch.setattr(row_forms, "AT_HAND", 11)
    rng = np.random.default_rng(2)
    (levels, k), values = plan.sizes[0], plan.values(0)
    other = rng.normal(size=(300, 2))
    blocks = rng.normal(size=(levels, k, 2))
    found = np.ones(300)
    add_level_forms(found, (plan.level(0), values), blocks, other, -2.0)
    expected = 1.0 - 2.0 * np.einsum("na,nab,nb->n", values, blocks[plan.level(0)], other)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (3, [3]), (12, [12]), (13, [6, 7])])
def test_parts_are_of_about_the_same_size(count, sizes):
    assert [part.stop - part.start for part in in_parts(count, 12)] == sizes
