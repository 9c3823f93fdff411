"""The restricted likelihood by contrasts, against the one with fixed effects and against dense algebra."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.likelihood.gaussian.exact import fit_exact
from lmeformula.likelihood.gaussian.information import observed_information
from lmeformula.likelihood.gaussian.restricted import restricted, restricted_information
from lmeformula.likelihood.gaussian.sums import sums
from tests.likelihood.gaussian.deviances import deviance


def made(seed: int = 1) -> tuple:
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(8), 6), rng.normal(size=48)
    y = rng.normal(size=8)[g] + 0.5 * rng.normal(size=8)[g] * x + rng.normal(size=48) + x
    data = pd.DataFrame({"y": y, "x": x, "g": g, "w": rng.uniform(0.5, 2.0, 48)})
    model = lf.compile(lf.design("y ~ x + (x | g)", data, weights="w"))
    return model, sums(model.design)


@pytest.mark.parametrize("sigma", [None, 0.7])
def test_contrasts_have_the_restricted_likelihood_and_its_derivatives(sigma):
    _, data = made()
    lambdas = (np.array([[0.8, 0.0], [0.3, 0.4]]),)
    contrasts = restricted(data)
    assert contrasts is not None
    right, other = deviance(data, lambdas, sigma, True), deviance(contrasts, lambdas, sigma, False)
    assert other[0] == pytest.approx(right[0], abs=1e-10)
    np.testing.assert_allclose(other[1][0], right[1][0], atol=1e-10)


def test_and_its_information():
    model, data = made()
    found = fit_exact(data, model.space, reml=True)
    psi, contrasts = model.space.to_free(found.params), restricted(data)
    assert contrasts is not None
    free = np.ones(len(psi), bool)
    right = observed_information(data, model.space, psi, free, reml=True)
    other = restricted_information(data, contrasts, model.space, psi, free, lambda factors: factors)
    np.testing.assert_allclose(other, right, atol=1e-6 * np.abs(right).max())


def test_it_keeps_digits_where_an_effect_goes_along_with_fixed_ones():
    # Any effect of k is taken up by the fixed ones: the restricted likelihood is flat in its sd.
    rng = np.random.default_rng(2)
    k, g = np.repeat(np.arange(3), 12), np.tile(np.arange(6), 6)
    data = pd.DataFrame({"k": k, "g": g, "f": np.array(list("uvw"))[k]})
    data["y"] = rng.normal(size=6)[g] + rng.normal(size=36)
    cross = sums(lf.design("y ~ f + (1 | k) + (1 | g)", data))
    contrasts = restricted(cross)
    assert contrasts is not None
    small, large = (
        deviance(contrasts, (sd * np.eye(1), 0.7 * np.eye(1)), None, False)[0] for sd in (0.1, 1e6)
    )
    assert large == pytest.approx(small, abs=1e-9)
