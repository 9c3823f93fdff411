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


@pytest.mark.parametrize("log_sigma", [-1.0, 0.3])
def test_gaussian_density_and_derivatives(log_sigma):
    from scipy.stats import norm

    rng = np.random.default_rng(3)
    eta, y, weights = rng.normal(size=(6, 2)), rng.normal(size=6), rng.uniform(0.5, 2.0, 6)
    own = np.array([log_sigma])
    rule = family("gaussian")
    value, slope = rule.density(eta, (y, weights), own)

    def exact(at, log_sd=log_sigma):
        return norm(at, np.exp(log_sd) / np.sqrt(weights)[:, None]).logpdf(y[:, None])

    np.testing.assert_allclose(value, exact(eta), rtol=1e-12)
    h = 1e-5
    expected = (exact(eta + h) - exact(eta - h)) / (2 * h)
    np.testing.assert_allclose(slope, expected, rtol=1e-7, atol=1e-8)

    def score(at):
        return np.asarray(rule.own_scores(at, (y, weights), own))

    expected = (exact(eta, log_sigma + h) - exact(eta, log_sigma - h)).sum(axis=0) / (2 * h)
    np.testing.assert_allclose(score(eta)[0], expected, rtol=1e-7)
    # own_curvature: the score's second derivative in a row's eta is c times the row's weight.
    h = 1e-3
    for row in range(6):
        shift = np.zeros((6, 1))
        shift[row] = h
        second = (score(eta + shift) - 2 * score(eta) + score(eta - shift)) / h**2
        weight = weights[row] * np.exp(-2 * log_sigma)
        np.testing.assert_allclose(second, rule.own_curvature[0] * weight, rtol=1e-6)
