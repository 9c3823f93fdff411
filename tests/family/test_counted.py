"""Log densities times frequencies, with all their derivatives: sums over the repeated rows."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.family import family as find_family
from lmeformula.family.counted import counted
from lmeformula.likelihood.laplace.rows import stacked_form
from lmeformula.model.stack import mixture
from tests.family.single import CASES, arrays


@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_those_of_the_repeated_rows(name):
    case, family, r = CASES[name], find_family(name), np.random.default_rng(0)
    y = r.choice(case.responses, 9)
    times, eta, own = r.integers(1, 4, 9).astype(float), r.normal(size=9) - 1.0, np.array(case.own)
    response, each = arrays(name, y), np.repeat(np.arange(9), times.astype(int))
    found = stacked_form(family, response, mixture(np.ones(1), 9), times)
    many = tuple(array[each] for array in response)
    expected = stacked_form(family, many, mixture(np.ones(1), len(each)))

    def sums(values: np.ndarray) -> np.ndarray:
        """Over the rows that repeat one."""
        return np.array([values[..., each == row].sum(axis=-1) for row in range(9)]).T

    one, other = found.slopes(eta, response, own), expected.slopes(eta[each], many, own)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, sums(b), rtol=1e-9, atol=1e-11)
    deep, wanted = found.depths(eta, response, own), expected.depths(eta[each], many, own)
    np.testing.assert_allclose(deep.own_own, wanted.own_own, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        deep.third.reshape(-1), sums(wanted.third.reshape(-1)), rtol=1e-8, atol=1e-10
    )
    for part in ("own_each", "own_first", "own_second"):
        a, b = getattr(deep, part), sums(getattr(wanted, part))
        np.testing.assert_allclose(a, b.reshape(a.shape), rtol=1e-8, atol=1e-10)


def test_a_family_is_counted_once():
    family = find_family("poisson")
    assert counted(family) is counted(find_family("poisson"))
    assert counted(family).name == "poisson"
