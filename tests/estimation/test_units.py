"""Whether data determine a model depends neither on units nor on origins."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf


def rows(seed: int):
    """Slopes far from their origin: the best covariance is of rank one, its correlation at a bound."""
    rng = np.random.default_rng(seed)
    g, x = np.arange(20) % 5, 100.0 + rng.normal(size=20)
    y = x + rng.normal(size=5)[g] * (x - 100.0) + rng.normal(size=20)
    return {"y": y, "x": x, "g": [f"g{i}" for i in g]}


CHANGES = {
    "y 1e-6": ("y", 1e-6, 0.0),
    "y 1e6": ("y", 1e6, 0.0),
    "x 1e-3": ("x", 1e-3, 0.0),
    "x 1e3": ("x", 1e3, 0.0),
    "x - 90": ("x", 1.0, -90.0),
    "x + 100": ("x", 1.0, 100.0),
}


@pytest.mark.parametrize("seed", [0, 1, 3, 5])
def test_the_ending_depends_on_no_unit_and_no_origin(seed):
    data = rows(seed)
    plain = lf.fit("y ~ x + (x | g)", data)
    assert plain.converged
    assert plain.singular
    for name, (column, unit, shift) in CHANGES.items():
        moved = {**data, column: unit * data[column] + shift}
        fit = lf.fit("y ~ x + (x | g)", moved)
        assert fit.outcome is plain.outcome, name
        scale = unit if column == "y" else 1.0
        assert fit.sigma == pytest.approx(scale * plain.sigma, rel=1e-4), name
        assert fit.param_stderr[-1] == pytest.approx(scale * plain.param_stderr[-1], rel=1e-3), name


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_a_variance_of_nothing_is_zero_whatever_the_origin(shift):
    """Residual groups of a balanced design vary less than chance: the covariance is zero, not nearly so."""
    rng = np.random.default_rng(4)
    g, x = np.repeat(np.arange(8), 6), rng.normal(size=48)
    noise = rng.normal(size=48)
    noise -= (np.bincount(g, noise) / 6)[g]
    fit = lf.fit("y ~ x + (x | g)", {"y": x + noise, "x": x + shift, "g": [f"g{i}" for i in g]})
    assert fit.converged
    assert fit.singular
