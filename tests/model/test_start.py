"""Starting values: least squares, and standard deviations that share half of its residual."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.family import FAMILIES
from lmeformula.model.params import param_space
from lmeformula.model.start import starting_values
from tests.simulate import FORMULAS, SIGMA, dense, frame, make_design


def start_of(design, sigma=None):
    space = param_space(design, SIGMA if sigma is None else SIGMA.held_at({0: sigma}))
    return space, starting_values(design, space, FAMILIES["gaussian"], design.y)


@pytest.mark.parametrize("name", FORMULAS)
def test_fixed_effects_are_weighted_least_squares(name):
    design = make_design(name)
    _, start = start_of(design)
    W = dense(design).W[:, None]
    expected = np.linalg.solve(
        design.X.T @ (W * design.X), design.X.T @ (W[:, 0] * (design.y - design.offset))
    )
    np.testing.assert_allclose(start.beta, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_variances_are_inside_and_of_the_right_size(name):
    design = make_design(name)
    space, start = start_of(design)
    assert np.isfinite(space.to_free(start)).all()
    # On average over the rows the terms make a quarter of the residual variance, sigma most of the rest.
    matrices = dense(design)
    between = matrices.spread(design, start.covariances)
    share = np.einsum("nq,qr,nr->n", matrices.Z, between, matrices.Z).mean()
    root = np.sqrt(matrices.W)
    residual = root * (design.y - design.offset - design.X @ start.beta)
    variance = residual @ residual / (design.n - len(start.beta))
    assert share == pytest.approx(0.25 * variance, rel=1e-10)
    assert start.residual_sd == pytest.approx(0.85 * np.sqrt(variance))


def test_a_fixed_sigma_is_kept():
    assert start_of(make_design("crossed"), sigma=3.0)[1].residual_sd == 3.0


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_follows_the_scale_of_response_and_columns(scale):
    import lmeformula as lf

    data = frame()
    plain = start_of(lf.design("y ~ x + (x | g)", data))[1]
    moved = {**data, "y": data["y"] * scale, "x": data["x"] * scale}
    scaled = start_of(lf.design("y ~ x + (x | g)", moved))[1]
    assert scaled.residual_sd == pytest.approx(scale * plain.residual_sd)
    expected = plain.covariances[0] * np.diag([scale**2, 1.0])
    np.testing.assert_allclose(scaled.covariances[0], expected, rtol=1e-9)
