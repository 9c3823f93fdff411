"""Columns of random effects in another unit or from another origin: what is said of the fit stays as it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf

# Neither varies, intercepts alone do, both do.
SDS = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0))


def made(seed: int, sds: tuple[float, float]) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(6), 7)
    x, z = rng.normal(size=(2, 42))
    effects = rng.normal(size=(2, 6)) * np.array(sds)[:, None]
    y = 1.0 + x + effects[0, g] + effects[1, g] * x + rng.normal(size=42)
    return pd.DataFrame({"y": y, "x": x, "z": z, "g": g})


def errors(fit: lf.Fit, *names: str) -> list[float]:
    return [float(fit.param_stderr[fit.param_names.index(name)]) for name in names]


@pytest.mark.parametrize("reml", [False, True])
@pytest.mark.parametrize("sds", SDS, ids=str)
def test_another_origin(sds, reml):
    for seed in range(3):
        data = made(seed, sds)
        there = data.assign(x=data["x"] + 2000.0)
        one, other = (lf.fit("y ~ x + (x | g)", each, reml=reml) for each in (data, there))
        assert (other.outcome, other.singular) == (one.outcome, one.singular)
        assert other.loglik.value == pytest.approx(one.loglik.value, abs=1e-6)
        # Of a slope's own standard deviation the origin is no matter, nor is it of sigma.
        names = ("sd(g:x)", "sigma")
        for name in names:
            place = one.param_names.index(name)
            size = max(one.sigma * 1e-3, one.param_values[place])
            assert other.param_values[place] == pytest.approx(
                one.param_values[place], abs=1e-3 * size
            )
        if not one.singular:
            assert errors(other, *names) == pytest.approx(errors(one, *names), rel=1e-3)


@pytest.mark.parametrize("unit", [1e-4, 1e4])
def test_a_standard_deviation_of_zero_has_a_unit(unit):
    """What stands for it is a millionth of what a row has, not of a coefficient of another unit."""
    data = made(7, (0.5, 1.0))
    one = lf.fit("y ~ x + z + (x + z || g)", data)
    other = lf.fit("y ~ x + z + (x + z || g)", data.assign(z=unit * data["z"]))
    assert np.isnan(errors(one, "sd(g.2:z)")).all()
    names = ("sd(g)", "sd(g.1:x)", "sigma")
    assert errors(other, *names) == pytest.approx(errors(one, *names), rel=1e-5)
