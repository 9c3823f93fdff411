"""Response families: the table, the responses they take, their densities."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.model.family import FAMILIES, family
from tests.simulate import frame


def test_by_name_and_as_a_record():
    gaussian = family("gaussian")
    assert family(gaussian) is gaussian
    assert all(name == record.name for name, record in FAMILIES.items())


def test_unknown():
    with pytest.raises(ModelError) as caught:
        family("gausian")
    assert str(caught.value) == (
        "there is no family 'gausian'\nFamilies that can be fitted: " + ", ".join(FAMILIES) + "."
    )


REFUSED = {
    "text": ("y ~ x + (1 | g)", {"y": np.where(frame()["y"] > 2, "a", "b")}, "is categorical"),
    "matrix": ("cbind(x, z) ~ 1 + (1 | g)", {}, "is matrix"),
    "trials": (
        "k | trials(t) ~ x + (1 | g)",
        {"k": frame()["g"], "t": np.full(72, 20)},
        "gaussian",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_gaussian_refuses(case):
    formula, columns, says = REFUSED[case]
    design = lf.design(formula, {**frame(), **columns})
    with pytest.raises(ModelError, match=says) as caught:
        lf.compile(design)
    assert caught.value.hint


@pytest.mark.parametrize("logical", [False, True])
def test_gaussian_response_is_numbers_and_weights(logical):
    data = frame()
    data["y"] = data["y"] > 2 if logical else data["y"]
    y, weights = family("gaussian").response(lf.design("y ~ x + (1 | g)", data))
    np.testing.assert_array_equal(y, data["y"].astype(float))
    np.testing.assert_array_equal(weights, np.ones(72))
    _, weights = family("gaussian").response(lf.design("y ~ x + (1 | g)", data, weights="w"))
    np.testing.assert_array_equal(weights, data["w"])


