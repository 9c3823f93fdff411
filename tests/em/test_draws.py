"""The coefficients of control variates, on draws whose best ones are known."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.em.draws import Draws, regression_coefficients, with_coefficients


def draws(raw: np.ndarray, controlled: np.ndarray) -> Draws:
    m, _, c = raw.shape
    nothing = np.zeros(1)
    return Draws(
        positions=np.zeros((m, 1, c)),
        excess=np.zeros((m, c)),
        values=np.zeros((m, c)),
        raw=raw,
        controlled=controlled,
        acceptance=np.ones((m, c)),
        divergences=0,
        latents=nothing,
        latent_squares=nothing,
        position=nothing,
        information=np.zeros((1, 1)),
        watched=np.zeros((m, 0)),
    )


# what of the raw score the control variate is -> the coefficient that leaves least, within its limits
COEFFICIENTS = [(1.0, 1.0), (0.8, 1.25), (1.6, 0.625), (0.1, 2.0), (-1.0, 0.0)]


@pytest.mark.parametrize(("part", "coefficient"), COEFFICIENTS)
def test_regression_coefficients(part, coefficient):
    rng = np.random.default_rng(2)
    shared = rng.normal(size=(4000, 1, 2))
    raw = shared + 0.1 * rng.normal(size=shared.shape)
    found = regression_coefficients(draws(raw, raw - part * shared))
    # 0.1 of noise over the root of 8,000 draws, over the part
    assert found == pytest.approx([coefficient], abs=0.006 / abs(part))
    left = with_coefficients(draws(raw, raw - part * shared), found)
    if 0.5 < coefficient < 2:
        assert left.var() == pytest.approx(0.01, rel=0.1)


def test_scores_without_control_variates_keep_their_coefficient():
    raw = np.random.default_rng(1).normal(size=(50, 2, 2))
    assert regression_coefficients(draws(raw, raw)).tolist() == [1.0, 1.0]
    np.testing.assert_array_equal(with_coefficients(draws(raw, raw), np.array([1.0, 7.0])), raw)
